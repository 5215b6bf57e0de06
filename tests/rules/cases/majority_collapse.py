from tests.rules.cases import Case


def decisions(
    found: object, live: float = 2, predicted: object = 0, p_pos: object = 0.01, p_neg: float = 0.008
) -> dict[str, object]:
    return {
        "live_pos_count": live,
        "live_neg_count": 256 - live,
        "predicted_pos_count": predicted,
        "true_pos_count": found,
        "mean_p_true_pos": p_pos,
        "mean_p_true_neg": 1 - p_neg,
    }


#: A run of 320 steps, and one that is over half of it by its end.
OVER = {"records": 32, "run": {"total_steps": 320}}


def judged(
    recall: object, auroc: object, precision: object = 0.1, positives: object = 60
) -> dict[str, object]:
    return {
        "recall_at_default": recall,
        "auroc": auroc,
        "average_precision": precision,
        "positives": positives,
    }


def settled(precision: object, probability: float = 0.05) -> dict[str, object]:
    """Validation of 5,000 rows, 5 % of them positive, with an AUROC of 0.75 and a recall of 0."""
    others = {"mean_probability": probability, "positive_rate": 0.05, "rows": 5000}
    return judged(0.0, 0.75, precision, positives=250) | others | {"accuracy_at_default": 0.95}


CASES = [
    Case("none found, half of the run over", "sick", "bce", decisions(0), "error", **OVER),
    Case("none found, and the run may still leave", "borderline", "bce", decisions(0), "info"),
    Case("none found after 1,000 steps", "sick", "bce", decisions(0), "error", records=110),
    Case("one of the newest 26", "borderline", "bce", decisions(lambda n: n == 25), None, **OVER),
    Case("one of forty, long ago", "borderline", "bce", decisions(lambda n: n == 11), "error", **OVER),
    Case("a tenth found", "borderline", "bce", decisions(lambda n: n % 5 == 0), None, **OVER),
    Case("too few positives to tell", "borderline", "bce", decisions(0, live=0.5), "skipped"),
    Case(
        "too few positives for ten classes",
        "borderline",
        "bce",
        decisions([0.0] * 10, predicted=[0.0] * 10)
        | {"live_pos_count": [1.5] * 10, "live_neg_count": [254.5] * 10},
        "skipped",
        **OVER,
    ),
    Case("first steps", "borderline", "bce", decisions(0), "skipped", records=10),
    Case("separating more and more", "borderline", "bce", decisions(0, p_pos=lambda n: 0.005 * 1.1**n), None),
    Case(
        "still separating when the run is half over",
        "borderline",
        "bce",
        decisions(0, p_pos=lambda n: 0.005 * 1.1**n),
        "error",
        **OVER,
    ),
    Case(
        "order of the scores improves",
        "borderline",
        "bce",
        {**decisions(0), "pool_auroc": lambda n: 0.5 + 0.03 * n},
        None,
    ),
    Case("ranked, not found", "sick", "bce", {**decisions(0), "pool_auroc": 0.85}, "warning", **OVER),
    Case(
        "ranked on validation data",
        "sick",
        "cross_entropy",
        decisions([0.0, 0.0], predicted=[256, 0]) | {"live_pos_count": [254, 2], "live_neg_count": [2, 254]},
        "warning",
        evals=judged([0.99, 0.0], [0.8, 0.8], [0.99, 0.1], [900, 60]),
        evaluations=5,
        classes=(1,),
        **OVER,
    ),
    Case("not ranked on validation data", "sick", "bce", {**decisions(0), "pool_auroc": 0.9}, "error",
         evals=judged(0.0, 0.52), evaluations=5, **OVER),
    Case("found on validation data", "borderline", "bce", decisions(0), None,
         evals=judged(0.3, 0.9), evaluations=5, **OVER),
    Case("found in the newest of two evaluations", "borderline", "bce", decisions(0), None,
         evals=judged(lambda n: 0.2 * (n == 1), 0.9), evaluations=2, **OVER),
    Case("missed on validation data, too few live to tell", "sick", "bce", decisions(0, live=0.2), "error",
         evals=judged(0.0, 0.5), evaluations=5, **OVER),
    Case("validation holds too few to tell", "borderline", "bce", decisions(0), "error",
         evals=judged(0.5, 0.5, positives=4), evaluations=5, **OVER),
    Case("ranked as well as it can be, and calibrated", "borderline", "bce", decisions(0), "info",
         evals=settled(0.175), evaluations=5, **OVER),
    Case("ranked, calibrated, and fallen from its best", "sick", "bce", decisions(0), "warning",
         evals=settled(lambda n: 0.5 if n == 2 else 0.175), evaluations=5, **OVER),
    Case("ranked, and its probabilities far below the rate", "sick", "bce", decisions(0), "warning",
         evals=settled(0.175, probability=1e-6), evaluations=5, **OVER),
    Case("ranked and calibrated, in too few evaluations to tell", "sick", "bce", decisions(0), "warning",
         evals=settled(0.175), evaluations=2, **OVER),
    Case("positives weigh as much as all negatives, and are missed", "sick", "bce", decisions(0), "warning",
         {"pos_weight": [127.0]}, evals=settled(0.175), evaluations=5, **OVER),
    Case("slow, and still rising", "borderline", "bce", decisions(0), "info",
         evals=judged(0.0, 0.8, lambda n: 0.05 + 0.1 * n), evaluations=6, **OVER),
    Case("about to be found", "borderline", "bce", decisions(0, p_pos=0.2), None),
    Case("not yet away from the start", "borderline", "bce", decisions(0, p_pos=0.4, p_neg=0.4), None),
    Case("common classes", "borderline", "bce", decisions(0, live=64), None),
    Case("warmup of a wrapper", "borderline", "bce", {**decisions(0), "phase": 0}, "skipped"),
    Case("half found", "healthy", "sigmoid_focal", decisions(1, predicted=1), None),
]  # fmt: skip
