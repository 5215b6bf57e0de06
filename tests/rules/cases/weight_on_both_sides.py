from tests.rules.cases import Case
from tests.rules.cases.over_corrected import batches

CASES = [
    Case("the ratio as weight", "sick", "bce", batches(12.8), "info", {"weight": [19.0]}),
    Case("half of it, for each of two labels", "sick", "bce", batches([12.8, 128.0]), "info",
         {"weight": [10.0, 10.0]}),
    Case("a third of it", "borderline", "bce", batches(12.8), None, {"weight": [6.0]}),
    Case("a factor on one of several losses", "borderline", "bce", batches(12.8), None, {"weight": [0.5]}),
    Case("a factor of 2 at a rate of 30 %", "borderline", "bce", batches(76.8), None, {"weight": [2.0]}),
    Case("weights of labels, against each other", "borderline", "bce", batches([12.8, 12.8]), None,
         {"weight": [19.0, 1.0]}),
    Case("pos_weight as well", "borderline", "bce", batches(12.8), None,
         {"weight": [19.0], "pos_weight": [19.0]}),
    Case("too few positives to tell", "borderline", "bce", batches(0.2), None, {"weight": [1279.0]}),
    Case("as a warmup", "borderline", "bce", {**batches(12.8), "phase": 0}, None, {"weight": [19.0]}),
    Case("the ratio as pos_weight", "healthy", "bce", batches(12.8), None, {"pos_weight": [19.0]}),
    Case("plain BCE", "healthy", "bce", batches(12.8), None),
]  # fmt: skip
