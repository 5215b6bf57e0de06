from tests.rules.cases import QUEUE, Case, counts

CASES = [
    Case("half", "sick", "smooth_ap", counts(positives=640, live=128), "info", QUEUE),
    Case("exactly a fifth", "borderline", "smooth_ap", counts(positives=256, live=51.2), None, QUEUE),
    Case(
        "one class of three",
        "borderline",
        "smooth_ap",
        counts(positives=[600, 20, 20], live=[100, 4, 4]),
        "info",
        QUEUE,
    ),
    Case("by chance", "borderline", "smooth_ap", counts(positives=270, live=54), None, QUEUE),
    Case("a cap draws more", "borderline", "smooth_ap", counts(positives=20, pool=64, live=5), None, QUEUE),
    Case("rare", "healthy", "smooth_ap", counts(positives=25, live=5), None, QUEUE),
]
