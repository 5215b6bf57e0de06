from tests.rules.cases import Case


def evaluated(error: float, probability: float, rate: float = 0.05, rows: int = 2000) -> dict[str, object]:
    return {
        "calibration_error": error,
        "mean_probability": probability,
        "positive_rate": rate,
        "rows": rows,
    }


ONE = {"loss": 0.1}

CASES = [
    Case(
        "three times the rate", "sick", "sigmoid_focal", ONE, "info",
        evals=evaluated(0.1, 0.15), evaluations=3,
    ),
    Case(
        "unbiased, yet far off", "sick", "sigmoid_focal", ONE, "info",
        evals=evaluated(0.18, 0.31, rate=0.3), evaluations=3,
    ),
    Case(
        "the first evaluation", "borderline", "sigmoid_focal", ONE, None,
        evals=evaluated(0.1, 0.15), evaluations=1,
    ),
    Case(
        "within the noise of few rows", "borderline", "sigmoid_focal", ONE, None,
        evals=evaluated(0.03, 0.08, rows=200), evaluations=3,
    ),
    Case(
        "half as much again", "borderline", "sigmoid_focal", ONE, None,
        evals=evaluated(0.025, 0.074), evaluations=3,
    ),
    Case(
        "a class without positives", "borderline", "softmax_focal", ONE, None,
        evals=evaluated(0.01, 0.01, rate=0.0), evaluations=3,
    ),
    Case(
        "as a warmup", "borderline", "sigmoid_focal", {"loss": 0.1, "phase": 0}, None,
        evals=evaluated(0.1, 0.15), evaluations=3,
    ),
    Case(
        "calibrated", "healthy", "sigmoid_focal", ONE, None,
        evals=evaluated(0.01, 0.052), evaluations=3,
    ),
]  # fmt: skip
