from tests.rules.cases import Case, counts


def evals(precision: object, auroc: object = 0.5) -> dict[str, object]:
    return {"average_precision": precision, "auroc": auroc, "positive_rate": 0.05, "positives": 200}


def ranked(loss: object, pool_auroc: float = 0.99, saturation: float = 0.0) -> dict[str, object]:
    return counts(positives=60, per_class_loss=loss, pool_auroc=pool_auroc, saturation=saturation)


def case(
    name: str, sort: str, kind: str, stats: object, expect: str | None, given: object, many: int = 5
) -> Case:
    return Case(name, sort, kind, stats, expect, evals=given, evaluations=many)  # type: ignore[arg-type]


def likely(positives: object, negatives: object, pool_auroc: float = 0.99) -> dict[str, object]:
    return {"mean_p_true_pos": positives, "mean_p_true_neg": negatives, "pool_auroc": pool_auroc}


CASES = [
    case("memorised", "sick", "smooth_ap", ranked(0.05), "error", evals(0.06)),
    case("saturated", "sick", "pauc_at_budget", ranked(0.05, 0.5, 0.95), "error", evals(0.06)),
    case("met without an order", "sick", "recall_at_quantile", ranked(0.05, 0.5), "error", evals(0.06)),
    case("sure of it", "sick", "bce", likely(0.95, 0.98), "error", evals(0.06)),
    case("positive to everything", "borderline", "bce", likely(1.0, 0.01, 0.5), None, evals(0.06)),
    case("the majority of a softmax", "borderline", "cross_entropy", likely(0.96, 0.05), None, evals(0.06)),
    case("not there yet", "borderline", "smooth_ap", ranked(0.4), None, evals(0.06)),
    case("low, and better than chance", "borderline", "smooth_ap", ranked(0.05), None, evals(0.2)),
    case("ranked, though not precisely", "borderline", "smooth_ap", ranked(0.05), None, evals(0.06, 0.7)),
    case("two evaluations", "borderline", "smooth_ap", ranked(0.05), None, evals(0.06), many=2),
    case("no loss by class", "borderline", "bce", {"pool_auroc": 0.99}, None, evals(0.06)),
    case("unknown", "borderline", "smooth_ap", ranked(float("nan")), None, evals(0.06)),
    case("both good", "healthy", "smooth_ap", ranked(0.05), None, evals(0.9, 0.99)),
]
