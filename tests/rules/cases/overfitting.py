from tests.rules.cases import Case, counts


def case(
    name: str,
    sort: str,
    values: object,
    expect: str | None,
    pool: float = 0.99,
    auroc: float = 0.8,
    many: int = 20,
) -> Case:
    return Case(
        name,
        sort,  # type: ignore[arg-type]
        "smooth_ap",
        {"pool_auroc": pool},
        expect,  # type: ignore[arg-type]
        evals={"average_precision": values, "auroc": auroc},
        evaluations=many,
        classes=(None,),
    )


def peak(fall: float) -> object:
    return lambda n: 0.1 * n if n < 7 else max(0.6 - 0.02 * (n - 7), 0.6 - fall)


def shaking(n: int) -> float:
    return 0.6 + 0.1 * (-1) ** n - 0.004 * n


def gap(
    name: str,
    sort: str,
    expect: str | None,
    auroc: object,
    pool: object = 0.99,
    classes: tuple[int | None, ...] = (None,),
    many: int = 3,
    seen: int = 200,
) -> Case:
    """Validation whose precision never falls, and its AUROC beside the pool's."""
    width = len(pool) if isinstance(pool, list) else 1
    each = (lambda value: [value] * width) if width > 1 else (lambda value: value)
    return Case(
        name,
        sort,  # type: ignore[arg-type]
        "bce",
        counts(positives=each(20), live=each(20), pool_auroc=pool),
        expect,  # type: ignore[arg-type]
        evals={"average_precision": each(0.3), "auroc": auroc, "positives": each(seen)},
        evaluations=many,
        eval_every=90,
        classes=classes,
    )


CASES = [
    gap("memorised from the start", "sick", "warning", 0.7),
    gap("learnt in training only, and not well yet", "sick", "warning", 0.5, 0.75),
    gap("at chance, and the pool within three errors of it", "borderline", None, 0.5, 0.65),
    gap("one class of three", "sick", "warning", [0.98, 0.6, 0.98], [0.99, 0.99, 0.99], (1,)),
    gap("two classes of three", "sick", "warning", [0.7, 0.6, 0.98], [0.99, 0.99, 0.99]),
    gap("nearly as good", "borderline", None, 0.9),
    gap("few positives in validation", "borderline", None, 0.8, seen=5),
    gap("two evaluations", "borderline", None, 0.7, many=2),
    gap("still on its way", "borderline", None, lambda n: 0.6 + 0.1 * n),
    gap("training is no better", "borderline", None, 0.55, 0.7),
    gap("generalises", "healthy", None, 0.98),
    case("past its peak", "sick", peak(0.2), "warning"),
    case("hardly lower", "borderline", peak(0.03), None),
    case("the pool is no better", "borderline", peak(0.2), None, pool=0.82),
    case("all noise", "borderline", shaking, None),
    case("nine evaluations", "borderline", lambda n: 0.6 - 0.05 * n, None, many=9),
    case("ten evaluations", "borderline", lambda n: 0.6 - 0.05 * n, "warning", many=10),
    case("unknown", "borderline", float("nan"), None),
    case("rises", "healthy", lambda n: 0.04 * n, None),
]
