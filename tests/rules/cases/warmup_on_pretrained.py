from tests.rules.cases import Case

WARMING = {"phase": 0, "main_weight": 0.0, "temperature": 0.05, "loss": 0.1}


def precision(first: float, later: float = 0.85) -> dict[str, object]:
    return {
        "average_precision": lambda n: first if n == 0 else later,
        "positive_rate": 0.02,
        "positives": 200,
    }


CASES = [
    Case(
        "trained",
        "sick",
        "warmup_wrapper",
        WARMING,
        "info",
        evals=precision(0.8),
        evaluations=2,
        classes=(None,),
        records=2,
    ),
    Case(
        "good after the first steps",
        "borderline",
        "warmup_wrapper",
        WARMING,
        None,
        evals=precision(0.3),
        evaluations=2,
    ),
    Case(
        "new, and learns at once",
        "borderline",
        "warmup_wrapper",
        WARMING,
        None,
        evals=precision(0.6),
        evaluations=2,
    ),
    Case(
        "one evaluation",
        "borderline",
        "warmup_wrapper",
        WARMING,
        None,
        evals=precision(0.8),
        evaluations=1,
    ),
    Case(
        "no early evaluation",
        "borderline",
        "warmup_wrapper",
        WARMING,
        None,
        run={"start_step": -100},
        evals=precision(0.8),
        evaluations=2,
    ),
    Case(
        "no warmup any more",
        "borderline",
        "warmup_wrapper",
        {**WARMING, "phase": 2},
        None,
        evals=precision(0.8),
        evaluations=2,
    ),
    Case("new", "healthy", "warmup_wrapper", WARMING, None, evals=precision(0.03), evaluations=2),
]
