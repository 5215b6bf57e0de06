from tests.rules.cases import Case

DECAY = {"warmup_steps": 50, "temp_start": 0.1, "temp_end": 0.01, "temp_decay_steps": 1000}


def schedule(temperature: object, phase: object = 2) -> dict[str, object]:
    return {"phase": phase, "temperature": temperature, "main_weight": 1.0, "loss": 0.5}


CASES = [
    Case(
        "falls, jumps, falls",
        "sick",
        "warmup_wrapper",
        schedule(lambda n: 0.1 * 0.95 ** (n if n < 12 else n - 12)),
        "info",
        DECAY,
        classes=(None,),
    ),
    Case(
        "a jump it has come down from",
        "borderline",
        "warmup_wrapper",
        schedule(lambda n: 0.1 * 0.9 ** (n if n < 5 else n - 3)),
        None,
        DECAY,
    ),
    Case(
        "back in its warmup",
        "sick",
        "warmup_wrapper",
        schedule(lambda n: 0.1 * 0.9**n if n < 12 else 0.1, lambda n: 2 if n < 12 else 0),
        "info",
        DECAY,
        classes=(None,),
    ),
    Case(
        "back in its blend, without a temperature",
        "sick",
        "warmup_wrapper",
        {"phase": lambda n: 2 if n < 12 else 1, "main_weight": 1.0, "loss": 0.5},
        "info",
        DECAY,
        classes=(None,),
    ),
    Case(
        "back, and forward again",
        "borderline",
        "warmup_wrapper",
        schedule(0.05, lambda n: 0 if n in (12, 13) else 2),
        None,
        DECAY,
    ),
    Case(
        "a schedule that rises",
        "borderline",
        "warmup_wrapper",
        schedule(lambda n: 0.01 * 1.1**n),
        None,
        {**DECAY, "temp_start": 0.01, "temp_end": 0.1},
    ),
    Case("falls", "healthy", "warmup_wrapper", schedule(lambda n: 0.1 * 0.95**n), None, DECAY),
]
