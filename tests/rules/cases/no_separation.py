from tests.rules.cases import QUEUE, Case, counts


def order(auroc: object, **others: object) -> dict[str, object]:
    return counts(positives=64, live=13, pool_auroc=auroc, **others)


LONG = {"total_steps": 600}

CASES = [
    Case("random after 500 steps", "sick", "smooth_ap", order(0.51), "warning", QUEUE, 51, run=LONG),
    Case(
        "random by its own validation too", "sick", "bce", order(0.5), "warning",
        records=51, evals={"auroc": 0.5}, evaluations=3,
    ),
    Case("half of it is to come", "borderline", "smooth_ap", order(0.51), "skipped", QUEUE, 29, run=LONG),
    Case(
        "on its way", "borderline", "smooth_ap", order(lambda n: 0.5 + 0.0018 * n), None, QUEUE, 51, run=LONG
    ),
    Case(
        "too few positives to tell", "borderline", "smooth_ap",
        counts(positives=2, live=0, pool_auroc=0.55), None, QUEUE, 51, run=LONG,
    ),
    Case(
        "told apart on validation data", "borderline", "smooth_ap", order(0.55), None, QUEUE, 51,
        run=LONG, evals={"auroc": 0.8}, evaluations=3,
    ),
    Case(
        "too few positives, but validation proves it", "sick", "bce",
        counts(positives=1, live=1, pool_auroc=0.55), "warning", records=51, run=LONG,
        evals={"auroc": 0.51, "positives": 300, "rows": 6000}, evaluations=5, eval_every=100,
    ),
    Case(
        "too few positives, and validation rises", "borderline", "bce",
        counts(positives=1, live=1, pool_auroc=0.55), None, records=51, run=LONG,
        evals={"auroc": lambda n: 0.45 + 0.03 * n, "positives": 300, "rows": 6000},
        evaluations=5, eval_every=100,
    ),
    Case(
        "one look at one positive", "sick", "bce",
        counts(positives=lambda n: 1 + 19 * (n % 2), live=lambda n: 1 + 19 * (n % 2),
               pool_auroc=lambda n: 0.5 + 0.45 * (n % 2 == 0)),
        "warning", records=51, run=LONG,
    ),
    Case(
        "learnt in training and not in validation", "borderline", "bce",
        counts(positives=4, live=4, pool_auroc=0.64), None, records=51, run=LONG,
        evals={"auroc": 0.49, "positives": 120, "rows": 2000}, evaluations=5, eval_every=100,
    ),
    Case(
        "a weak order", "borderline", "bce", order(lambda n: 0.55), None, records=51, run=LONG,
    ),
    Case("unknown in every record", "borderline", "bce", order(float("nan")), None, records=51),
    Case("separated", "healthy", "smooth_ap", order(0.9), None, QUEUE, 51, run=LONG),
]  # fmt: skip
