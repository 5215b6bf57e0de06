from tests.rules.cases import QUEUE, Case, counts

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
    Case("ninety per cent", "healthy", "smooth_ap", counts(positives=1152, live=230), None, QUEUE),
]
