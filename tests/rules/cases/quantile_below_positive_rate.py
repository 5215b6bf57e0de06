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
        "just under half of the rate",
        "borderline",
        "recall_at_quantile",
        counts(positives=64, live=13),
        "warning",
        {**QUEUE, "quantile": 0.0249},
    ),
    Case(
        "at half of the rate",
        "borderline",
        "recall_at_quantile",
        counts(positives=64, live=13),
        "info",
        {**QUEUE, "quantile": 0.025},
    ),
    Case(
        "at nine tenths",
        "borderline",
        "recall_at_quantile",
        counts(positives=64, live=13),
        None,
        {**QUEUE, "quantile": 0.046},
    ),
    Case(
        "a sampler",
        "sick",
        "recall_at_quantile",
        counts(positives=384, live=77),
        "warning",
        {**QUEUE, "quantile": 0.02},
        run={"population_positive_rate": 0.005},
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
