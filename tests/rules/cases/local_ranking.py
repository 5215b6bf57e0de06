from tests.rules.cases import Case

APART = {"gather_distributed": False}

CASES = [
    Case(
        "four shards",
        "sick",
        "smooth_ap",
        {"loss": 0.4},
        "error",
        APART,
        run={"world_size": 4},
        classes=(None,),
        records=1,
        prescribes={"parameter": "gather_distributed", "to": True},
    ),
    Case("one process", "borderline", "smooth_ap", {"loss": 0.4}, None, APART),
    Case(
        "gathers by itself",
        "healthy",
        "smooth_ap",
        {"loss": 0.4},
        None,
        {"gather_distributed": None},
        run={"world_size": 4},
    ),
]
