from tests.rules.cases import QUEUE, Case, counts

RARE = {"population_positive_rate": 0.005}
VALIDATED = {"positive_rate": 0.02, "positives": 40}


def batches(live: object) -> dict[str, object]:
    """What a likelihood loss counts: it has no pool."""
    stats = counts(positives=0, live=live, batch=64)
    return {name: stats[name] for name in ("live_pos_count", "live_neg_count")}


CASES = [
    Case("never one", "sick", "smooth_ap", counts(positives=0, live=0), "error", QUEUE, records=5),
    Case(
        "class 2 of 3 absent",
        "sick",
        "pauc_at_budget",
        counts(positives=[640, 640, 0], live=[128, 128, 0]),
        "error",
        QUEUE,
        classes=(2,),
    ),
    Case(
        "absent in four of five of many records",
        "borderline",
        "smooth_ap",
        counts(positives=lambda n: n % 5 == 0, live=lambda n: n % 5 == 0),
        "error",
        QUEUE,
        prescribes={"parameter": "queue_size", "from": 1024},
    ),
    Case(
        "absent in half, as luck would have it",
        "borderline",
        "smooth_ap",
        counts(positives=lambda n: n % 2, live=lambda n: n % 2),
        None,
        QUEUE,
    ),
    Case(
        "absent in less than half",
        "borderline",
        "smooth_ap",
        counts(positives=lambda n: 0 if n % 3 == 0 else 1, live=0),
        None,
        QUEUE,
    ),
    Case(
        "queue not half full yet",
        "borderline",
        "smooth_ap",
        counts(positives=0, live=0, pool=lambda n: 256 + 10 * n),
        None,
        QUEUE,
    ),
    Case(
        "declared rate says it is the loader",
        "sick",
        "smooth_ap",
        counts(positives=0, live=0),
        "error",
        QUEUE,
        run={"population_positive_rate": 0.05},
    ),
    Case(
        "absent in four of five",
        "borderline",
        "smooth_ap",
        counts(positives=lambda n: n == 2, live=0),
        None,
        QUEUE,
        records=5,
    ),
    Case(
        "in stretches, though enough of them", "sick", "smooth_ap",
        counts(positives=lambda n: 120 * (n % 5 == 0), live=lambda n: 25 * (n % 5 == 0)), "error", QUEUE,
    ),
    Case(
        "validation data says it is the loader", "borderline", "smooth_ap", counts(positives=0, live=0),
        "error", QUEUE, evals={"positive_rate": 0.02, "positives": 40}, evaluations=1,
    ),
    Case("no label, declared", "sick", "bce", batches(0), "error", run={"population_positive_rate": 0.05}),
    Case("rarer than that, declared", "borderline", "bce", batches(0), None, run=RARE),
    Case("no label, validated", "sick", "bce", batches(0), "warning", evals=VALIDATED, evaluations=1),
    Case(
        "no label in many rows, validated", "sick", "sigmoid_focal", batches(0), "error", evals=VALIDATED,
        evaluations=1, records=100,
    ),
    Case("no label, nothing known", "sick", "bce", batches(0), "warning", records=100),
    Case("no label in few rows", "borderline", "bce", batches(0), None),
    Case("one label", "borderline", "bce", batches(lambda n: n == 7), None, records=100),
    Case(
        "one of three classes", "sick", "cross_entropy", batches([40, 24, 0]), "warning", classes=(2,),
        evals={"positive_rate": [0.6, 0.35, 0.05], "positives": [600, 350, 50]}, evaluations=1,
    ),
    Case("one of three, not known", "borderline", "cross_entropy", batches([40, 24, 0]), None, records=100),
    Case("plenty", "healthy", "smooth_ap", counts(positives=25, live=5), None, QUEUE),
]  # fmt: skip
