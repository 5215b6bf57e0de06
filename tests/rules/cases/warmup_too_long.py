from tests.rules.cases import Case

WARMING = {"phase": 0, "main_weight": 0.0, "temperature": 0.05, "loss": 0.1}
CONFIG = {"warmup_steps": 1000}


def case(name: str, sort: str, values: object, expect: str | None, phase: object = 0) -> Case:
    return Case(
        name,
        sort,  # type: ignore[arg-type]
        "warmup_wrapper",
        {**WARMING, "phase": phase},
        expect,  # type: ignore[arg-type]
        CONFIG,
        evals={"average_precision": values, "positive_rate": 0.02, "positives": 200},
        evaluations=20,
        classes=(None,),
    )


CASES = [
    case("flat since step 60", "sick", lambda n: min(0.8, 0.13 * n), "info"),
    Case(
        "as long as the run",
        "sick",
        "warmup_wrapper",
        WARMING,
        "error",
        CONFIG,
        run={"total_steps": 1000},
        classes=(None,),
    ),
    Case(
        "one step shorter",
        "borderline",
        "warmup_wrapper",
        WARMING,
        "skipped",
        CONFIG,
        run={"total_steps": 1001},
    ),
    Case(
        "in epochs, at the last step",
        "sick",
        "warmup_wrapper",
        WARMING,
        "error",
        {"warmup_steps": None, "warmup_epochs": 4},
        run={"total_steps": 191},
        classes=(None,),
    ),
    case("flat for less than half", "borderline", lambda n: min(0.8, 0.07 * n), None),
    case("flat near chance", "borderline", 0.05, None),
    case("creeps up", "borderline", lambda n: 0.5 + 0.01 * n, None),
    case("the warmup is over", "borderline", 0.8, None, phase=2),
    case("unknown", "borderline", float("nan"), None),
    case("rises", "healthy", lambda n: 0.04 * n, None),
]
