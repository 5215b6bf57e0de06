from tests.rules.cases import Case


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


CASES = [
    case("past its peak", "sick", peak(0.2), "warning"),
    case("hardly lower", "borderline", peak(0.03), None),
    case("the pool is no better", "borderline", peak(0.2), None, pool=0.82),
    case("all noise", "borderline", shaking, None),
    case("nine evaluations", "borderline", lambda n: 0.6 - 0.05 * n, None, many=9),
    case("ten evaluations", "borderline", lambda n: 0.6 - 0.05 * n, "warning", many=10),
    case("unknown", "borderline", float("nan"), None),
    case("rises", "healthy", lambda n: 0.04 * n, None),
]
