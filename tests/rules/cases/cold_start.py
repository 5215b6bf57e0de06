from tests.rules.cases import Case

SWITCHED = {"phase": lambda n: 0 if n < 8 else 2, "main_weight": 1.0, "temperature": 0.05, "loss": 0.5}
CONFIG = {"warmup_steps": 80, "final_main_weight": 1.0}


def case(
    name: str, sort: str, values: object, expect: str | None, positives: float = 400, **more: object
) -> Case:
    return Case(
        name,
        sort,  # type: ignore[arg-type]
        "warmup_wrapper",
        SWITCHED,
        expect,  # type: ignore[arg-type]
        {**CONFIG, **more},
        evals={"average_precision": values, "positives": positives},
        evaluations=20,
        classes=(None,),
        prescribes={"parameter": "final_main_weight", "to": 0.25 if more else 0.5} if expect else None,
    )


def after(value: float, before: float = 0.8) -> object:
    return lambda n: before if n < 8 else value


CASES = [
    case("falls and stays", "sick", after(0.5), "warning"),
    case("half the weight already", "sick", after(0.5), "warning", final_main_weight=0.5),
    case("rises, then falls", "sick", lambda n: 0.45 if n < 8 else 0.6 if n < 12 else 0.4, "warning"),
    case("one high evaluation", "borderline", lambda n: 0.6 if n == 10 else 0.45, None),
    case("had little to lose", "sick", after(0.05, before=0.12), "warning"),
    case("lost a little of it", "borderline", after(0.09, before=0.12), None),
    case("a little lower", "borderline", after(0.76), None),
    case("within the noise of 20 positives", "borderline", after(0.65), None, positives=20),
    case("on its way back", "borderline", lambda n: 0.8 if n < 8 else 0.3 + 0.03 * (n - 8), None),
    case("dips and recovers", "borderline", lambda n: 0.5 if 8 <= n < 17 else 0.8, None),
    case("fell for three evaluations", "borderline", lambda n: 0.8 if n < 17 else 0.5, None),
    case("fell before the switch", "borderline", lambda n: 0.9 if n < 4 else 0.6, None),
    case("unknown", "borderline", float("nan"), None),
    case("goes on rising", "healthy", lambda n: min(0.9, 0.1 * n), None),
]
