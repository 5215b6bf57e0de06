from tests.rules.cases import QUEUE, Case, counts

AT = {**QUEUE, "quantile": 0.05}


def recall(above: object, loss: float, positives: float = 25) -> dict[str, object]:
    return counts(positives=positives, per_class_loss=loss, above_threshold_count=above)


CASES = [
    Case("all above", "sick", "recall_at_quantile", recall(25, 0.004), "info", AT),
    Case("all above, barely", "borderline", "recall_at_quantile", recall(25, 0.3), None, AT),
    Case("one below", "borderline", "recall_at_quantile", recall(24, 0.01), None, AT),
    Case(
        "one below, once",
        "borderline",
        "recall_at_quantile",
        recall(lambda n: 25 - (n == 15), 0.01),
        "info",
        AT,
    ),
    Case("all three above", "borderline", "recall_at_quantile", recall(3, 0.0, positives=3), None, AT),
    Case("half above", "healthy", "recall_at_quantile", recall(12, 0.5), None, AT),
]
