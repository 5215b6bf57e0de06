from tests.rules.cases import Case, counts

BUDGET = {"queue_size": 1024, "alpha": 0.0, "beta": 0.005}


def band(negatives: float, iid: float = 1260, **others: object) -> dict[str, object]:
    return counts(positives=20, live=4, band_neg_count=negatives, iid_neg_count=iid, **others)


CASES = [
    Case(
        "one negative",
        "sick",
        "pauc_at_budget",
        band(1, iid=200, pool=256, batch=64),
        "error",
        {**BUDGET, "queue_size": 192},
        prescribes={"parameter": "queue_size", "from": 192},
    ),
    Case("six negatives", "sick", "pauc_at_budget", band(6), "warning", BUDGET),
    Case("exactly ten", "borderline", "pauc_at_budget", band(10), None, BUDGET),
    Case("filling", "borderline", "pauc_at_budget", band(2, iid=400, pool=420), None, BUDGET),
    Case("twenty", "healthy", "pauc_at_budget", band(20), None, {**BUDGET, "beta": 0.016}),
]
