from tests.rules.cases import QUEUE, Case, counts

CASES = [
    Case(
        "the maximum decides",
        "sick",
        "recall_at_quantile",
        counts(positives=12),
        "error",
        {**QUEUE, "quantile": 0.0005},
        prescribes={"parameter": "queue_size", "from": 1024, "to": 40000},
    ),
    Case(
        "six rows",
        "sick",
        "recall_at_quantile",
        counts(positives=12),
        "warning",
        {**QUEUE, "quantile": 0.005},
    ),
    Case(
        "ten rows",
        "borderline",
        "recall_at_quantile",
        counts(positives=12),
        None,
        {"queue_size": 1744, "quantile": 0.005},
    ),
    Case(
        "ten rows once the queue is full",
        "borderline",
        "recall_at_quantile",
        counts(positives=3, pool=256),
        None,
        {"queue_size": 1744, "quantile": 0.005},
        records=1,
    ),
    Case(
        "under a cap", "sick", "recall_at_quantile", counts(positives=40, pool=128, live=2.5), "warning",
        {"queue_size": 4096, "quantile": 0.03, "max_pool_size": 128},
        prescribes={"parameter": "max_pool_size", "from": 128, "to": None},
    ),
    Case("64 rows", "healthy", "recall_at_quantile", counts(positives=30), None, {**QUEUE, "quantile": 0.05}),
]  # fmt: skip
