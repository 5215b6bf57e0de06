from tests.rules.cases import QUEUE, Case, counts

CASES = [
    Case(
        "capped at a tenth",
        "sick",
        "recall_at_quantile",
        counts(positives=64, live=13),
        "warning",
        {**QUEUE, "quantile": 0.005},
    ),
    Case(
        "just under the cap",
        "borderline",
        "recall_at_quantile",
        counts(positives=64, live=13),
        "warning",
        {**QUEUE, "quantile": 0.0249},
    ),
    Case(
        "at the cap",
        "borderline",
        "recall_at_quantile",
        counts(positives=64, live=13),
        None,
        {**QUEUE, "quantile": 0.025},
    ),
    Case(
        "above the rate",
        "healthy",
        "recall_at_quantile",
        counts(positives=64, live=13),
        None,
        {**QUEUE, "quantile": 0.1},
    ),
]
