from tests.rules.cases import Case
from tests.rules.cases.suspected_label_noise import scores


def loss(low: float) -> dict[str, object]:
    return {"loss": 0.1, **scores(low, 0.9)}


CASES = [
    Case("gamma 5 on noisy labels", "sick", "sigmoid_focal", loss(-0.7), "warning", {"gamma": 5.0}, 30),
    Case(
        "gamma 5 alone", "borderline", "sigmoid_focal", {"loss": 0.1}, "info", {"gamma": 5.0}, classes=(None,)
    ),
    Case("exactly 3", "borderline", "softmax_focal", {"loss": 0.1}, None, {"gamma": 3.0}),
    Case("noisy labels, gamma 2", "healthy", "sigmoid_focal", loss(-0.7), None, {"gamma": 2.0}, 30),
]
