from tests.rules.cases import QUEUE, Case, counts

BAND = {**QUEUE, "beta": 0.05}


def negatives(count: float) -> dict[str, object]:
    return counts(positives=20, live=4, iid_neg_count=count)


CASES = [
    Case(
        "one above",
        "sick",
        "pauc_at_budget",
        negatives(1260),
        "info",
        {**BAND, "alpha": 0.001},
        prescribes={"parameter": "queue_size", "from": 1024},
    ),
    Case("exactly five", "borderline", "pauc_at_budget", negatives(500), None, {**BAND, "alpha": 0.01}),
    Case("under five", "borderline", "pauc_at_budget", negatives(490), "info", {**BAND, "alpha": 0.01}),
    Case(
        "alpha 0 means the maximum",
        "borderline",
        "pauc_at_budget",
        negatives(100),
        None,
        {**BAND, "alpha": 0.0},
    ),
    Case("25 above", "healthy", "pauc_at_budget", negatives(1260), None, {**BAND, "alpha": 0.02}),
]
