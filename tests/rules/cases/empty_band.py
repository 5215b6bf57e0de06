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
    Case(
        "under a cap", "sick", "pauc_at_budget", band(2.2, iid=102, pool=128), "warning",
        {"queue_size": 4096, "beta": 0.02, "max_pool_size": 128},
        prescribes={"parameter": "max_pool_size", "from": 128, "to": None},
    ),
    Case(
        "filled by positives", "sick", "pauc_at_budget", band(0.7, iid=3050, pool=4352), "error",
        {"queue_size": 4096, "beta": 0.02, "budget_basis": "population"},
    ),
    Case("twenty", "healthy", "pauc_at_budget", band(20), None, {**BUDGET, "beta": 0.016}),
]  # fmt: skip
