from tests.rules.cases import QUEUE, Case, counts


def batches(live: object, batch: float = 64) -> dict[str, object]:
    """What a likelihood loss counts: it has no pool."""
    stats = counts(positives=0, live=live, batch=batch)
    return {name: stats[name] for name in ("live_pos_count", "live_neg_count")}


CASES = [
    Case("only positives", "sick", "smooth_ap", counts(positives=1280, live=256), "error", QUEUE),
    Case(
        "in half of the records",
        "borderline",
        "smooth_ap",
        counts(positives=lambda n: 1280 - n % 2, live=255),
        "error",
        QUEUE,
    ),
    Case(
        "in a third",
        "borderline",
        "smooth_ap",
        counts(positives=lambda n: 1280 - (n % 3 > 0), live=255),
        None,
        QUEUE,
    ),
    Case("all labels are 1", "sick", "bce", batches(64), "error"),
    Case("all labels are 1, few rows", "borderline", "bce", batches(64), None, records=10),
    Case("sorted", "sick", "bce", batches(lambda n: 64 * (n < 2)), "warning", records=60),
    Case("one full batch", "borderline", "bce", batches(lambda n: 64 * (n < 1)), "warning", records=60),
    Case(
        "ten sorted classes", "sick", "cross_entropy",
        batches(lambda n: [64.0 * (n // 6 == c) for c in range(10)]), "warning", records=60, classes=(None,),
    ),
    Case(
        "one full batch beside mixed ones", "borderline", "bce", batches(lambda n: 64 if n < 1 else 2), None,
        records=60,
    ),
    Case("batches of one row", "borderline", "bce", batches(lambda n: n % 3 == 0, 1), None, records=60),
    Case("common, small batches", "borderline", "bce", batches(lambda n: 4 - n % 2, 4), None, records=60),
    Case("mixed", "healthy", "bce", batches(lambda n: n % 3), None, records=60),
    Case("ninety per cent", "healthy", "smooth_ap", counts(positives=1152, live=230), None, QUEUE),
]  # fmt: skip
