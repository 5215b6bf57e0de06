from tests.rules.cases import Case

SCHEDULE = {"phase": 0, "main_weight": 0.0, "temperature": 0.05, "loss": 0.1}
FAST = {"warmup_steps": 100, "temp_start": 0.05, "temp_end": 0.005, "temp_decay_steps": 100}
LENGTH = {"total_steps": 1100}

CASES = [
    Case(
        "a tenth",
        "sick",
        "warmup_wrapper",
        SCHEDULE,
        "info",
        FAST,
        run=LENGTH,
        classes=(None,),
        prescribes={"parameter": "temp_decay_steps", "from": 100, "to": 600},
    ),
    Case(
        "exactly half",
        "borderline",
        "warmup_wrapper",
        SCHEDULE,
        None,
        {**FAST, "temp_decay_steps": 500},
        run=LENGTH,
    ),
    Case("less than twofold", "borderline", "warmup_wrapper", SCHEDULE, None, {**FAST, "temp_end": 0.03}),
    Case("of unknown length", "borderline", "warmup_wrapper", SCHEDULE, "skipped", FAST),
    Case(
        "warmup in epochs",
        "borderline",
        "warmup_wrapper",
        SCHEDULE,
        None,
        {**FAST, "warmup_steps": None},
        run=LENGTH,
    ),
    Case(
        "warmup in epochs, over",
        "borderline",
        "warmup_wrapper",
        {**SCHEDULE, "phase": lambda n: 0 if n < 10 else 2},
        "info",
        {**FAST, "warmup_steps": None},
        run=LENGTH,
        classes=(None,),
    ),
    Case(
        "60 per cent",
        "healthy",
        "warmup_wrapper",
        SCHEDULE,
        None,
        {**FAST, "temp_decay_steps": 600},
        run=LENGTH,
    ),
]
