from tests.rules.cases import QUEUE, Case, counts


def waves(height: float, positives: float, drop: float = 0.0) -> dict[str, object]:
    heights = (0, 2, 1, 3, 0, 1, 3, 1, 2, 0)
    return counts(
        positives=positives,
        per_class_loss=lambda number: 0.4 + height * heights[number % 10] / 3 - drop * number,
    )


CASES = [
    Case(
        "five positives", "sick", "smooth_ap", waves(0.45, 5), "info", QUEUE,
        prescribes={"parameter": "queue_size", "from": 1024, "to": 25000},
    ),
    Case("more than the sample explains", "sick", "smooth_ap", waves(0.5, 600), "info", QUEUE),
    Case(
        "validation falls and recovers", "sick", "smooth_ap", waves(0.1, 100), "warning", QUEUE,
        evals={"average_precision": lambda n: (0.3, 0.5, 0.6, 0.2, 0.5, 0.1)[n], "positives": 200},
        evaluations=6, eval_every=30,
    ),
    Case(
        "validation of few positives", "borderline", "smooth_ap", waves(0.1, 100), None, QUEUE,
        evals={"average_precision": lambda n: (0.3, 0.5, 0.6, 0.45, 0.5, 0.4)[n], "positives": 5},
        evaluations=6, eval_every=30,
    ),
    Case("a pool that is no small sample", "borderline", "smooth_ap", waves(0.3, 60), None, QUEUE),
    Case(
        "a cap leaves few rows", "borderline", "smooth_ap", waves(0.45, 5), None,
        {**QUEUE, "max_pool_size": 640},
    ),
    Case("small waves", "borderline", "smooth_ap", waves(0.15, 5), None, QUEUE),
    Case("first records", "borderline", "smooth_ap", waves(0.45, 5), None, QUEUE, records=10),
    Case("a falling loss", "healthy", "smooth_ap", waves(0.02, 25, drop=0.02), None, QUEUE),
]  # fmt: skip
