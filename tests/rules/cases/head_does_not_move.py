from tests.rules.cases import Case, counts


def noise(number: int, size: float) -> float:
    """What repeats every 7 records, so that no line through it rises."""
    return size * ((3 * number % 7) - 3) / 3


def head(
    loss: object = lambda n: 0.69 + noise(n, 0.004),
    negative: object = lambda n: 0.5 + noise(n, 0.003),
    spread: object = lambda n: 0.1 + noise(n, 0.005),
    gradient: float = 0.04,
) -> dict[str, object]:
    return counts(
        positives=1, live=1, batch=128, loss=loss, mean_p_true_neg=negative, score_std=spread,
        pos_grad_norm=gradient / 10, neg_grad_norm=gradient,
    )  # fmt: skip


HALF = {"total_steps": 600}


def case(name: str, sort: str, stats: dict[str, object], expect: str | None, **others: object) -> Case:
    given = {"records": 35, "run": HALF, "classes": (None,), **others}
    return Case(name, sort, "bce", stats, expect, **given)  # type: ignore[arg-type]


CASES = [
    case("still at its start", "sick", head(), "warning"),
    case("the same rows at each step", "sick", head(0.69, 0.5, 0.1), "warning"),
    case("its length unknown", "sick", head(), "warning", run={}, records=52),
    case("half of it is to come", "borderline", head(), "skipped", records=29),
    case("its length unknown, and early", "borderline", head(), "skipped", run={}),
    case("the spread grows", "borderline", head(spread=lambda n: 0.1 + 0.001 * n + noise(n, 0.005)), None),
    case("the bias moves", "borderline",
         head(negative=lambda n: 0.5 + 0.0003 * n + noise(n, 0.003)), None),
    case("batches too small to tell", "borderline", head(spread=lambda n: 0.1 + noise(n, 0.05)), None),
    case("no gradient", "borderline", head(gradient=0.0), None),
    case("trained before", "borderline", head(loss=0.03), None),
    case("the start is out of sight", "borderline", head(), None, records=260),
    case("constant scores", "borderline", head(spread=0.0), None),
    case("learns", "healthy",
         head(lambda n: 0.69 / (1 + n), lambda n: 1 - 0.5 / (1 + n), lambda n: 0.1 * (1 + n)), None),
]  # fmt: skip
