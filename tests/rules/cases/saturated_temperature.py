from tests.rules.cases import Case, counts


def spread(
    iqr: float, carrying: float, loss: float = 0.6, live: float = 5, auroc: float = 0.9
) -> dict[str, object]:
    return counts(
        positives=25,
        live=live,
        per_class_loss=loss,
        grad_pos_count=carrying,
        tau_eff=0.01,
        score_iqr=iqr,
        score_std=iqr,
        pool_auroc=auroc,
    )


RAW = {"queue_size": 1024, "temperature": 0.01, "tau_scale": None}

CASES = [
    Case(
        "none carries any",
        "sick",
        "smooth_ap",
        spread(50.0, 0),
        "error",
        RAW,
        prescribes={"parameter": "temperature", "from": 0.01, "to": 5.0},
    ),
    Case("few carry any", "sick", "recall_at_quantile", spread(20.0, 0.05), "warning", RAW),
    Case("2 % carry", "borderline", "recall_at_quantile", spread(20.0, 0.1), None, RAW),
    Case("wide, though positives carry", "sick", "smooth_ap", spread(10.1, 2), "warning", RAW),
    Case("wide, but in order", "borderline", "smooth_ap", spread(20.0, 2, auroc=0.98), None, RAW),
    Case("far too wide", "borderline", "smooth_ap", spread(50.0, 2, auroc=0.98), "warning", RAW),
    Case("a thousand temperatures", "borderline", "smooth_ap", spread(9.9, 0), None, RAW),
    Case("dead because solved", "borderline", "smooth_ap", spread(50.0, 0, loss=0.02), None, RAW),
    Case("narrow", "borderline", "smooth_ap", spread(1.0, 0), None, RAW),
    Case("too few positives to tell", "borderline", "smooth_ap", spread(50.0, 0, live=0.5), None, RAW),
    Case("most carry", "healthy", "smooth_ap", spread(0.3, 4.5), None, RAW),
]
