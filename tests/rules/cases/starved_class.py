from tests.rules.cases import Case

WEIGHTED = {"alpha": [0.5, 200.0]}


def third(live: object) -> dict[str, object]:
    return {"live_pos_count": lambda n: [60, live(n) if callable(live) else live]}


CASES = [
    Case("never in 60 records", "sick", "softmax_focal", third(0), "warning", WEIGHTED, 60, classes=(1,)),
    Case("never in 30 records", "borderline", "softmax_focal", third(0), None, WEIGHTED, 30),
    Case("one batch in ten", "borderline", "softmax_focal", third(lambda n: n % 10 == 0), None, WEIGHTED, 60),
    Case("without weights", "borderline", "softmax_focal", third(0), None, {"alpha": None}, 60),
    Case("a binary alpha", "borderline", "sigmoid_focal", {"live_pos_count": 0}, None, {"alpha": 0.25}, 60),
    Case("in each batch", "healthy", "softmax_focal", third(2), None, WEIGHTED, 60),
]
