import math

from tests.rules.cases import Case

LEVELS = (0.0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)


def scores(
    *classes: tuple[float, float, float], positives: object = 12.8, rows: float = 256
) -> dict[str, object]:
    """Evenly spread scores of each class from the first to the last, the middle half at the second."""
    shares = positives if isinstance(positives, list) else [positives]
    quantiles = [
        [low if q < 0.25 else high if q > 0.75 else middle for q in LEVELS] for low, middle, high in classes
    ]
    return {
        "live_score_quantiles": quantiles,
        "live_pos_count": shares,
        "live_neg_count": [rows - each for each in shares],
    }


#: Validation in which every row is called positive.
ALL_POSITIVE = {"recall_at_default": 1.0, "precision_at_default": 0.05, "positive_rate": 0.05}


def simplex(classes: int) -> tuple[float, float]:
    """Log-odds of a class whose row is one-hot: where another class has all, and where it has all itself."""
    others = (classes - 2) + math.e
    return -math.log(others), 1.0 - math.log(classes - 1)


LOW2, HIGH2 = simplex(2)
LOW4, HIGH4 = simplex(4)

CASES = [
    Case("a sigmoid at a rate of 5 %", "sick", "bce", scores((0.0, 0.01, 0.6)), "warning", classes=(None,)),
    Case("every row positive in validation too", "sick", "bce", scores((0.0, 0.01, 0.6)), "error",
         evals=ALL_POSITIVE, evaluations=2, classes=(None,)),
    Case("a sigmoid before a focal loss", "sick", "sigmoid_focal", scores((0.0, 0.01, 0.6)), "warning",
         {"alpha": 0.25}, classes=(None,)),
    Case("a sigmoid at a rate of 90 %", "sick", "bce", scores((0.5, 0.99, 1.0), positives=230), "warning",
         classes=(None,)),
    Case("a sigmoid on classes in balance", "sick", "bce", scores((0.0, 0.5, 1.0), positives=128), "warning",
         classes=(None,), records=30),
    Case("several labels", "sick", "bce", scores((0.0, 0.01, 0.6), (0.2, 0.4, 0.7), positives=[5, 90]),
         "warning", classes=(None,)),
    Case("a softmax over two classes", "sick", "cross_entropy",
         scores((LOW2, 0.9, HIGH2), (-HIGH2, -0.97, -LOW2), positives=[243, 13]), "warning",
         classes=(None,)),
    Case("a softmax over four classes", "sick", "softmax_focal",
         scores(*[(LOW4, -1.0, HIGH4)] * 4, positives=[64] * 4), "warning", classes=(None,), records=30),
    Case("a softmax in bfloat16", "sick", "cross_entropy",
         scores(*[(LOW2 - 0.004, 0.0, HIGH2 + 0.004)] * 2, positives=[128] * 2), "warning",
         classes=(None,), records=30),
    Case("one score beyond 1", "borderline", "bce", scores((0.0, 0.01, 1.001)), None),
    Case("one score below 0", "borderline", "bce", scores((-1e-6, 0.01, 0.6)), None),
    Case("outside in one early record", "borderline", "bce",
         {**scores((0.0, 0.01, 0.6)),
          "live_score_quantiles": lambda n: [[-0.1 * (n == 1), *[0.01] * 7, 0.6]]}, None),
    Case("on its way down", "borderline", "bce", scores((0.2, 0.3, 0.6)), None),
    Case("positives weigh as much as negatives", "borderline", "bce", scores((0.01, 0.3, 0.6)), None,
         {"pos_weight": [19.0]}),
    Case("a balanced class near both ends", "borderline", "bce", scores((0.01, 0.5, 0.99), positives=128),
         None, records=30),
    Case("a softmax of logits that just leave the simplex", "borderline", "cross_entropy",
         scores(*[(LOW4, -1.0, HIGH4 + 0.02)] * 4, positives=[64] * 4), None, records=30),
    Case("a head of zeros", "borderline", "bce", scores((0.0, 0.0, 0.0)), None),
    Case("the first 50 steps", "borderline", "bce", scores((0.0, 0.01, 0.6)), "skipped", records=5),
    Case("too few rows", "borderline", "bce", scores((0.0, 0.01, 0.6), positives=0.2, rows=4), None),
    Case("one column under a softmax", "borderline", "cross_entropy", scores((0.0, 0.01, 0.6)), None),
    Case("logits", "healthy", "bce", scores((-8.0, -3.0, 2.0)), None),
    Case("logits of four classes", "healthy", "cross_entropy",
         scores(*[(-5.0, -1.0, 4.0)] * 4, positives=[64] * 4), None),
]  # fmt: skip
