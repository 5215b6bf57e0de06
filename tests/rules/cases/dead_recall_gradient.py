from tests.rules.cases import Case, counts

RAW = {"queue_size": 1024, "temperature": 0.01, "tau_scale": None}


def recall(above: float, carrying: object, live: float = 5, median: float = -2.0) -> dict[str, object]:
    return counts(
        positives=25,
        live=live,
        above_threshold_count=above,
        grad_pos_count=carrying,
        tau_eff=0.01,
        threshold=1.0,
        pos_score_quantiles=[[median + level for level in range(-4, 5)]],
    )


CASES = [
    Case(
        "half missed, none carries",
        "sick",
        "recall_at_quantile",
        recall(12, 0),
        "error",
        RAW,
        prescribes={"parameter": "temperature", "from": 0.01, "to": 1.0},
    ),
    Case(
        "too few quantiles to measure the distance",
        "sick",
        "recall_at_quantile",
        recall(12, 0, median=3.0),
        "error",
        RAW,
    ),
    Case(
        "one of a hundred carries",
        "borderline",
        "recall_at_quantile",
        recall(12, lambda n: n == 3),
        "error",
        RAW,
    ),
    Case(
        "five of a hundred carry",
        "borderline",
        "recall_at_quantile",
        recall(12, lambda n: n % 4 == 0),
        None,
        RAW,
    ),
    Case(
        "five of a hundred carry, scores spread over thousands of temperatures",
        "borderline",
        "recall_at_quantile",
        {**recall(15, lambda n: n % 4 == 0), "score_iqr": 40.0, "score_std": 40.0},
        "error",
        RAW,
    ),
    Case("met", "borderline", "recall_at_quantile", recall(24, 0), None, RAW),
    Case("too few to tell", "borderline", "recall_at_quantile", recall(12, 0, live=0.9), None, RAW),
    Case("alive", "healthy", "recall_at_quantile", recall(12, 2, median=0.9), None, RAW),
]
