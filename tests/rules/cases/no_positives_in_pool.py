from tests.rules.cases import QUEUE, Case, counts

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
        "absent in half of the records",
        "borderline",
        "smooth_ap",
        counts(positives=lambda n: n % 2, live=lambda n: n % 2),
        "error",
        QUEUE,
        prescribes={"parameter": "queue_size", "from": 1024},
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
    Case("plenty", "healthy", "smooth_ap", counts(positives=25, live=5), None, QUEUE),
]
