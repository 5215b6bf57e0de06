from tests.rules.cases import QUEUE, Case, counts

CASES = [
    Case("half", "sick", "smooth_ap", counts(positives=640), "info", QUEUE),
    Case("exactly a fifth", "borderline", "smooth_ap", counts(positives=256), None, QUEUE),
    Case(
        "one class of three",
        "borderline",
        "smooth_ap",
        counts(positives=[600, 20, 20], live=[100, 4, 4]),
        "info",
        QUEUE,
    ),
    Case("rare", "healthy", "smooth_ap", counts(positives=25), None, QUEUE),
]
