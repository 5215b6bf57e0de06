from tests.rules.cases import Case

TWO = {"world_size": 2}

CASES = [
    Case(
        "one apart", "sick", "smooth_ap", {"ranks_apart": 1}, "warning", run=TWO, classes=(None,), records=1
    ),
    Case("unknown", "borderline", "smooth_ap", {"ranks_apart": float("nan")}, None, run=TWO),
    Case("once, and no more", "borderline", "smooth_ap", {"ranks_apart": lambda n: n == 5}, None, run=TWO),
    Case(
        "since the last look",
        "borderline",
        "smooth_ap",
        {"ranks_apart": lambda n: n == 16},
        "warning",
        run=TWO,
        classes=(None,),
    ),
    Case("equal", "healthy", "smooth_ap", {"ranks_apart": 0}, None, run=TWO),
]
