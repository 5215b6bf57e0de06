from tests.rules.cases import Case


def batches(live: object, rows: float = 256, alarms: object = None) -> dict[str, object]:
    """Live rows; with `alarms`, the share of negatives called positive, and all positives found."""
    negatives = [rows - each for each in live] if isinstance(live, list) else rows - live  # type: ignore[operator]
    stats: dict[str, object] = {"live_pos_count": live, "live_neg_count": negatives}
    if alarms is not None:
        stats |= {"predicted_pos_count": live + alarms * negatives, "true_pos_count": live}  # type: ignore[operator]
    return stats


def judged(precision: object, recall: object = 1.0, rows: float = 2000) -> dict[str, object]:
    """Validation with this precision and recall of the default decision."""
    counts = {"positives": 0.05 * rows, "rows": rows, "positive_rate": 0.05}
    return {"precision_at_default": precision, "recall_at_default": recall, **counts}


CASES = [
    Case("pos_weight 10,000", "sick", "bce", batches(12.8, alarms=0.9), "warning", {"pos_weight": [1e4]}),
    Case("everything positive in validation", "sick", "bce", batches(12.8), "warning", {"pos_weight": [1e4]},
         evals=judged(0.053), evaluations=2),
    Case("alpha of 0.999", "sick", "sigmoid_focal", batches(12.8, alarms=0.5), "warning", {"alpha": 0.999}),
    Case("a class weight for another unit", "sick", "cross_entropy",
         batches([243, 13], 256) | {"predicted_pos_count": [56, 200], "true_pos_count": [50, 13]}, "warning",
         {"weight": [1.0, 1e4]}, classes=(1,)),
    Case("everything positive in the first of two evaluations", "borderline", "bce", batches(12.8), "info",
         {"pos_weight": [1e3]}, evals=judged(lambda n: 0.05 + 0.3 * n), evaluations=2),
    Case("nothing positive yet", "borderline", "bce", batches(12.8), "info", {"pos_weight": [1e3]},
         evals=judged(float("nan"), 0.0), evaluations=2),
    Case("the first records", "borderline", "bce", batches(12.8, alarms=0.9), "info", {"pos_weight": [1e4]},
         records=19),
    Case("ten times balance, few false alarms", "borderline", "bce", batches(12.8, alarms=0.2), "info",
         {"pos_weight": [190.0]}),
    Case("a hundred times balance, few false alarms", "borderline", "bce", batches(12.8, alarms=0.2), "info",
         {"pos_weight": [1900.0]}),
    Case("nothing but counts", "borderline", "bce", batches(128), "info", {"pos_weight": [19]}),
    Case("ten times balance, on data that hardly separate", "borderline", "bce", batches(12.8, alarms=0.8),
         "info", {"pos_weight": [190.0]}),
    Case("four times balance", "borderline", "bce", batches(12.8, alarms=0.9), None, {"pos_weight": [76.0]}),
    Case("too few positives to tell", "borderline", "bce", batches(0.2), None, {"pos_weight": [1e5]}),
    Case("a common class without a weight", "borderline", "bce", batches(240, alarms=0.9), None),
    Case("weighed by frequency, which drowns the others", "borderline", "cross_entropy",
         batches([240, 13, 3], 256), None, {"weight": [0.94, 0.05, 0.01]}),
    Case("corrected twice", "borderline", "bce", batches(128, alarms=0.9), None, {"pos_weight": [19.0]},
         run={"population_positive_rate": 0.05}),
    Case("a sampler that leaves no negatives", "sick", "bce", batches(250, alarms=0.9), "warning",
         run={"population_positive_rate": 0.05}),
    Case("as a warmup", "borderline", "bce", {**batches(12.8, alarms=0.9), "phase": 0}, None,
         {"pos_weight": [1e4]}),
    Case("one pos_weight for labels of two rates", "borderline", "bce", batches([12.8, 128.0]), "info",
         {"pos_weight": [19.0]}, classes=(1,)),
    Case("balance, on data that hardly separate", "healthy", "bce", batches(12.8, alarms=0.4), None,
         {"pos_weight": [19.0]}, evals=judged(0.08), evaluations=4),
    Case("balanced class weights", "healthy", "cross_entropy", batches([243, 13], 256), None,
         {"weight": [0.53, 9.8]}),
    Case("plain BCE", "healthy", "bce", batches(12.8, alarms=0.0), None),
]  # fmt: skip
