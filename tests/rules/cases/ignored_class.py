from tests.rules.cases import Case

#: Four classes of which the loss ignores the first.
ROWS = {"live_pos_count": [0.0, 10.0, 10.0, 5.0], "live_neg_count": [25.0, 15.0, 15.0, 20.0]}
NAMES = {"class_names": ("O", "PER", "LOC", "ORG")}
JUDGED = {"ignored_rows": [3800, 0, 0, 0], "rows": [200] * 4}

CASES = [
    Case("a class that validation holds", "sick", "cross_entropy", ROWS, "warning", {"ignore_index": 0},
         run=NAMES, evals=JUDGED, evaluations=1),
    Case("a focal loss", "sick", "softmax_focal", ROWS, "warning", {"ignore_index": 0}, run=NAMES,
         evals=JUDGED, evaluations=1),
    Case("settings alone", "borderline", "cross_entropy", ROWS, "info", {"ignore_index": 0}, records=1),
    Case("a class without a name", "borderline", "cross_entropy", ROWS, "info", {"ignore_index": 0},
         evals=JUDGED, evaluations=1),
    Case("padding by its name", "borderline", "cross_entropy", ROWS, "info", {"ignore_index": 0},
         run={"class_names": ("<pad>", "a", "b", "c")}, evals=JUDGED, evaluations=1),
    Case("a name, but no row of it in validation", "borderline", "cross_entropy", ROWS, "info",
         {"ignore_index": 0}, run=NAMES, evals={"rows": [200] * 4}, evaluations=1),
    Case("labels of 0 that are left out", "borderline", "smooth_ap",
         {"live_pos_count": [10.0, 5.0], "live_neg_count": [0.0, 0.0]}, None, {"ignore_index": 0}),
    Case("labels of 1 that are left out", "borderline", "smooth_ap",
         {"live_pos_count": [0.0, 0.0], "live_neg_count": [10.0, 5.0]}, None, {"ignore_index": 1}),
    Case("an id beyond the classes", "healthy", "cross_entropy", ROWS, None, {"ignore_index": 255}),
    Case("padding with -100", "healthy", "cross_entropy", ROWS, None, {"ignore_index": -100}, run=NAMES),
]  # fmt: skip
