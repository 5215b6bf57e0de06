from tests.rules.cases import Case


def batches(live: object, classes: int = 1) -> dict[str, object]:
    return {"live_pos_count": live, "live_neg_count": [250.0] * classes}


CASES = [
    Case("one batch in five", "sick", "sigmoid_focal", batches(lambda n: n % 5 == 0), "info"),
    Case("none at all", "sick", "sigmoid_focal", batches(0), "warning"),
    Case("two thirds, in twenty records", "borderline", "sigmoid_focal", batches(lambda n: n % 3 > 0), None),
    Case("one in each", "borderline", "sigmoid_focal", batches(1), None),
    Case(
        "one rare class of three", "borderline", "softmax_focal", batches([60, 60, 0], 3), "warning",
        classes=(2,),
    ),
    Case("a thousand balanced classes", "borderline", "softmax_focal", batches([0.25] * 1000, 1000), None),
    Case("as a warmup", "borderline", "sigmoid_focal", {**batches(0), "phase": 0}, None),
    Case("enough", "healthy", "sigmoid_focal", batches(12), None),
]  # fmt: skip
