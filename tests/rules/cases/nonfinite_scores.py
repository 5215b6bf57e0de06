from tests.rules.cases import Case

NAN = float("nan")

CASES = [
    Case(
        "logits are NaN",
        "sick",
        "smooth_ap",
        {"loss": NAN, "nonfinite_count": 256},
        "error",
        classes=(None,),
        records=1,
    ),
    Case("loss overflowed", "sick", "other", {"loss": float("inf")}, "error", classes=(None,), records=3),
    Case(
        "one NaN logit",
        "borderline",
        "bce",
        {"loss": 0.3, "nonfinite_count": 1},
        "error",
        classes=(None,),
        records=1,
    ),
    Case(
        "over before the newest record",
        "borderline",
        "bce",
        {"loss": lambda n: NAN if n < 10 else 0.3, "nonfinite_count": lambda n: 5 if n < 10 else 0},
        None,
    ),
    Case(
        "no class was valid under reduction none",
        "borderline",
        "smooth_ap",
        {"loss": NAN, "nonfinite_count": 0, "valid": 0},
        None,
    ),
    Case(
        "no label of a plain loss is a number",
        "borderline",
        "bce",
        {"loss": NAN, "nonfinite_count": 0, "valid": 0},
        "error",
        classes=(None,),
        records=1,
    ),
    Case(
        "a batch of ignored targets has no loss",
        "borderline",
        "cross_entropy",
        {"loss": lambda n: None if n == 19 else 0.3, "nonfinite_count": 0, "valid": 0},
        None,
    ),
    Case("finite", "healthy", "smooth_ap", {"loss": 0.4, "nonfinite_count": 0}, None),
]
