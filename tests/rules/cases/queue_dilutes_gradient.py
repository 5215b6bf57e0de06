from tests.rules.cases import Case, counts

POOLED = {"queue_size": 16_384, "surrogate": "trapezoid", "pos_numerator": "pool"}

CASES = [
    Case(
        "one in forty",
        "sick",
        "pauc_at_budget",
        counts(positives=200, live=5),
        "info",
        POOLED,
        prescribes={"parameter": "pos_numerator", "to": "live"},
    ),
    Case("one in twenty", "borderline", "pauc_at_budget", counts(positives=100, live=5), None, POOLED),
    Case("no live positive", "borderline", "pauc_at_budget", counts(positives=100, live=0), None, POOLED),
    Case(
        "two classes of three",
        "borderline",
        "pauc_at_budget",
        counts(positives=[200, 50, 200], live=[5, 5, 4]),
        "info",
        POOLED,
        classes=(0, 2),
    ),
    Case(
        "live numerator",
        "healthy",
        "pauc_at_budget",
        counts(positives=200, live=5),
        None,
        {**POOLED, "pos_numerator": "live"},
    ),
    Case(
        "pairwise, queue of the size that it needs",
        "healthy",
        "pauc_at_budget",
        counts(positives=60, live=1),
        None,
        {"surrogate": "pairwise", "queue_size": 1024, "beta": 0.02},
    ),
    Case(
        "Smooth-AP, queue of eight times the size that it needs",
        "sick",
        "smooth_ap",
        counts(positives=400, live=3, pool=16_640),
        "info",
        {"queue_size": 16_384},
    ),
    Case(
        "recall, rare quantile",
        "borderline",
        "recall_at_quantile",
        counts(positives=400, live=3, pool=16_640),
        None,
        {"queue_size": 16_384, "quantile": 0.001},
    ),
]
