from tests.rules.cases import Case


def batches(live: object, rows: float = 256) -> dict[str, object]:
    others = [rows - each for each in live] if isinstance(live, list) else rows - live  # type: ignore[operator]
    return {"live_pos_count": live, "live_neg_count": others}


CASES = [
    Case("alpha at the rate", "sick", "sigmoid_focal", batches(2.56), "warning", {"alpha": 0.01}),
    Case("the default at 1 %", "borderline", "sigmoid_focal", batches(2.56), "info", {"alpha": 0.25}),
    Case("the default at 5 %", "borderline", "sigmoid_focal", batches(12.8), None, {"alpha": 0.25}),
    Case("no weight", "borderline", "sigmoid_focal", batches(0.3), None, {"alpha": -1}),
    Case("weights equal, only rare", "borderline", "softmax_focal", batches([127, 128, 1], 256), None,
         {"alpha": [1.0, 1.0, 1.0]}),
    Case("weighed by its frequency", "borderline", "softmax_focal", batches([127, 128, 1], 256), "warning",
         {"alpha": [0.5, 0.5, 0.004]}, classes=(2,)),
    Case("too few positives to tell", "borderline", "sigmoid_focal", batches(0.2), None, {"alpha": 0.01}),
    Case("as a warmup", "borderline", "sigmoid_focal", {**batches(2.56), "phase": 0}, None, {"alpha": 0.01}),
    Case("pos_weight at the rate", "sick", "bce", batches(2.56), "warning", {"pos_weight": [0.01]}),
    Case("a pos_weight of 0.33", "borderline", "bce", batches(2.56), "info", {"pos_weight": [0.33]}),
    Case("one pos_weight for each class", "borderline", "bce", batches([25.6, 2.56]), "warning",
         {"pos_weight": [0.01, 0.02]}, classes=(0, 1)),
    Case("a pos_weight of another shape", "borderline", "bce", batches([2.56, 2.56]), None,
         {"pos_weight": [0.01] * 3}),
    Case("plain BCE", "healthy", "bce", batches(2.56), None),
    Case("cross-entropy weighed by frequency", "sick", "cross_entropy", batches([253, 3]), "warning",
         {"weight": [0.99, 0.01]}, classes=(1,)),
    Case("a majority beside a class that weighs too much", "borderline", "cross_entropy", batches([243, 13]),
         None, {"weight": [1.0, 1e4]}),
    Case("cross-entropy weighed by its inverse", "healthy", "cross_entropy", batches([253, 3]), None,
         {"weight": [0.5, 42.0]}),
    Case("a pos_weight makes up for alpha", "healthy", "sigmoid_focal", batches(2.56), None,
         {"alpha": 0.25, "pos_weight": [30.0]}),
    Case("a pos_weight alone, at the rate", "sick", "sigmoid_focal", batches(2.56), "warning",
         {"alpha": -1, "pos_weight": [0.01]}),
    Case("balanced weights", "healthy", "sigmoid_focal", batches(2.56), None, {"alpha": 0.75}),
]  # fmt: skip
