from tests.rules.cases import Case

STEPS = {"warmup_steps": 100, "temp_start": 0.05, "temp_end": 0.005, "temp_decay_steps": 10_000}


def schedule(phase: object, temperature: object = 0.05) -> dict[str, object]:
    return {"phase": phase, "temperature": temperature, "main_weight": 1.0, "loss": 0.5}


CASES = [
    Case("never leaves its warmup", "sick", "warmup_wrapper", schedule(0), "error", STEPS, classes=(None,)),
    Case("temperature stands still", "sick", "warmup_wrapper", schedule(2), "error", STEPS, classes=(None,)),
    Case(
        "still in its warmup",
        "borderline",
        "warmup_wrapper",
        schedule(0),
        None,
        {**STEPS, "warmup_steps": 200},
    ),
    Case("four records late", "borderline", "warmup_wrapper", schedule(0), None, STEPS, records=15),
    Case(
        "five records late",
        "borderline",
        "warmup_wrapper",
        schedule(0),
        "error",
        STEPS,
        records=16,
        classes=(None,),
    ),
    Case("at its end", "borderline", "warmup_wrapper", schedule(2, 0.005), None, STEPS),
    Case("no decay wanted", "borderline", "warmup_wrapper", schedule(2), None, {**STEPS, "temp_end": 0.05}),
    Case(
        "epochs, in warmup",
        "borderline",
        "warmup_wrapper",
        schedule(0),
        "skipped",
        {**STEPS, "warmup_steps": None},
    ),
    Case(
        "never leaves its blend",
        "sick",
        "warmup_wrapper",
        schedule(1),
        "error",
        {**STEPS, "warmup_steps": None, "blend_steps": 100},
        classes=(None,),
    ),
    Case("blends", "borderline", "warmup_wrapper", schedule(1), None, {**STEPS, "blend_steps": 100}),
    Case(
        "begins again at each epoch",
        "sick",
        "warmup_wrapper",
        schedule(lambda n: 0 if n % 8 < 4 else 2),
        "error",
        {**STEPS, "warmup_steps": 40},
        classes=(None,),
    ),
    Case(
        "began again once",
        "borderline",
        "warmup_wrapper",
        schedule(lambda n: 0 if n < 4 or 10 < n < 14 else 2, lambda n: 0.05 * 0.99**n),
        None,
        {**STEPS, "warmup_steps": 40},
    ),
    Case(
        "moves",
        "healthy",
        "warmup_wrapper",
        schedule(lambda n: 0 if n < 10 else 2, lambda n: 0.05 * 0.998 ** max(0, n - 10)),
        None,
        STEPS,
    ),
]
