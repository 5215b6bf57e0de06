from tests.rules.cases import Case
from tests.rules.cases.over_corrected import batches, judged

#: A population of which one row in twenty is positive.
RARE = {"population_positive_rate": 0.05}

CASES = [
    Case("a balanced sampler and the ratio", "sick", "bce", batches(128, alarms=0.2), "info",
         {"pos_weight": [19.0]}, run=RARE),
    Case("the same, on data that hardly separate", "borderline", "bce", batches(128, alarms=0.6), "info",
         {"pos_weight": [19.0]}, run=RARE),
    Case("a hundred times balance, a quarter of the negatives called positive", "sick", "bce",
         batches(128, alarms=0.3), "warning", {"pos_weight": [99.0]}, run={"population_positive_rate": 0.01}),
    Case("the rate known from validation", "sick", "sigmoid_focal", batches(128), "info", {"alpha": 0.95},
         evals=judged(0.3), evaluations=2),
    Case("everything positive in validation", "sick", "bce", batches(128), "warning", {"pos_weight": [99.0]},
         evals=judged(0.05), evaluations=2),
    Case("the rate of the population unknown", "borderline", "bce", batches(128, alarms=0.9), None,
         {"pos_weight": [19.0]}),
    Case("too few validation positives to know it", "borderline", "bce", batches(128), None,
         {"pos_weight": [19.0]}, evals=judged(0.3, rows=400), evaluations=2),
    Case("a mild sampler and a mild weight", "borderline", "bce", batches(40), None, {"pos_weight": [3.0]},
         run=RARE),
    Case("batches as the population", "borderline", "bce", batches(12.8, alarms=0.9), None,
         {"pos_weight": [1e4]}, run=RARE),
    Case("as a warmup", "borderline", "bce", {**batches(128), "phase": 0}, None, {"pos_weight": [19.0]},
         run=RARE),
    Case("the sampler alone", "healthy", "bce", batches(128), None, run=RARE),
    Case("the weight alone", "healthy", "bce", batches(12.8), None, {"pos_weight": [19.0]}, run=RARE),
]  # fmt: skip
