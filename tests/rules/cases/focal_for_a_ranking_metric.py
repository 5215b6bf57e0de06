from tests.rules.cases import Case

CASES = [
    Case(
        "for average precision",
        "sick",
        "sigmoid_focal",
        {"live_pos_count": 12},
        "info",
        run={"target_metric": "average_precision"},
        classes=(None,),
    ),
    Case(
        "for recall at a budget",
        "sick",
        "softmax_focal",
        {"live_pos_count": 12},
        "info",
        run={"target_metric": "recall_at_budget"},
        classes=(None,),
    ),
    Case(
        "as a warmup",
        "borderline",
        "sigmoid_focal",
        {"live_pos_count": 12, "phase": 0},
        None,
        run={"target_metric": "average_precision"},
    ),
    Case("nothing declared", "borderline", "sigmoid_focal", {"live_pos_count": 12}, None),
    Case(
        "for calibration", "healthy", "sigmoid_focal", {"live_pos_count": 12}, None,
        run={"target_metric": "calibration_error"},
    ),
]  # fmt: skip
