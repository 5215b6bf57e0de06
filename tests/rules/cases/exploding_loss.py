from tests.rules.cases import Case

CASES = [
    Case("doubles at each record", "sick", "bce", {"loss": lambda n: 0.7 * 2.0**n}, "error", classes=(None,)),
    Case(
        "twelvefold",
        "borderline",
        "bce",
        {"loss": lambda n: 0.7 if n < 10 else 8.4},
        "error",
        classes=(None,),
    ),
    Case("ninefold", "borderline", "bce", {"loss": lambda n: 0.7 if n < 10 else 6.3}, None),
    Case("one spike", "borderline", "bce", {"loss": lambda n: 70.0 if n == 18 else 0.7}, None),
    Case("falls", "healthy", "sigmoid_focal", {"loss": lambda n: 0.05 / (1 + n)}, None),
]
