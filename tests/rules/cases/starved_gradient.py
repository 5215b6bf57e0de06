from tests.rules.cases import QUEUE, Case, counts

TRAPEZOID = {**QUEUE, "surrogate": "trapezoid", "pos_numerator": "pool"}

CASES = [
    Case(
        "a positive every third batch",
        "sick",
        "pauc_at_budget",
        counts(positives=20, live=lambda n: n % 3 == 0, grad_pos_count=lambda n: n % 3 == 0),
        "warning",
        TRAPEZOID,
    ),
    Case(
        "recall at quantile",
        "sick",
        "recall_at_quantile",
        counts(positives=20, live=lambda n: n % 3 == 0, grad_pos_count=lambda n: n % 3 == 0),
        "warning",
        QUEUE,
    ),
    Case(
        "two in three batches",
        "borderline",
        "pauc_at_budget",
        counts(positives=20, live=lambda n: n % 3 > 0, grad_pos_count=lambda n: n % 3 > 0),
        "info",
        TRAPEZOID,
    ),
    Case(
        "one on average",
        "borderline",
        "pauc_at_budget",
        counts(positives=20, live=1, grad_pos_count=1),
        None,
        TRAPEZOID,
    ),
    Case(
        "saturated, not starved",
        "borderline",
        "pauc_at_budget",
        counts(positives=20, live=4, grad_pos_count=0),
        None,
        TRAPEZOID,
    ),
    Case(
        "pairwise pushes negatives too",
        "borderline",
        "pauc_at_budget",
        counts(positives=20, live=lambda n: n % 3 == 0, grad_pos_count=lambda n: n % 3 == 0),
        None,
        {**TRAPEZOID, "surrogate": "pairwise"},
    ),
    Case(
        "five", "healthy", "pauc_at_budget", counts(positives=20, live=5, grad_pos_count=3), None, TRAPEZOID
    ),
]
