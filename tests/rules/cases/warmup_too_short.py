from tests.rules.cases import Case

SWITCHED = {"phase": lambda n: 0 if n < 5 else 2, "main_weight": 1.0, "temperature": 0.05, "loss": 0.5}
CONFIG = {"warmup_steps": 50}


def precision(values: object, rate: float = 0.02) -> dict[str, object]:
    return {"average_precision": values, "positive_rate": rate, "positives": 200}


CASES = [
    Case(
        "at chance at the switch and after",
        "sick",
        "warmup_wrapper",
        SWITCHED,
        "info",
        CONFIG,
        evals=precision(0.04),
        evaluations=20,
        classes=(None,),
    ),
    Case(
        "good again, soon after the switch",
        "borderline",
        "warmup_wrapper",
        SWITCHED,
        "info",
        CONFIG,
        records=8,
        evals=precision(lambda n: 0.1 * n if n > 4 else 0.1),
        evaluations=8,
        classes=(None,),
    ),
    Case(
        "good by now",
        "borderline",
        "warmup_wrapper",
        SWITCHED,
        None,
        CONFIG,
        evals=precision(lambda n: 0.04 * n),
        evaluations=20,
    ),
    Case(
        "exactly ready",
        "borderline",
        "warmup_wrapper",
        SWITCHED,
        None,
        CONFIG,
        evals=precision(0.3, rate=0.0),
        evaluations=20,
    ),
    Case(
        "precise only because positives are common",
        "borderline",
        "warmup_wrapper",
        SWITCHED,
        "info",
        CONFIG,
        evals=precision(0.29, rate=0.25),
        evaluations=20,
        classes=(None,),
    ),
    Case(
        "no evaluation before the switch",
        "borderline",
        "warmup_wrapper",
        SWITCHED,
        None,
        CONFIG,
        evals=precision(0.04),
        evaluations=0,
    ),
    Case(
        "still in its warmup",
        "borderline",
        "warmup_wrapper",
        {**SWITCHED, "phase": 0},
        None,
        CONFIG,
        evals=precision(0.04),
        evaluations=20,
    ),
    Case(
        "good at the switch",
        "healthy",
        "warmup_wrapper",
        SWITCHED,
        None,
        CONFIG,
        evals=precision(0.7),
        evaluations=20,
    ),
]
