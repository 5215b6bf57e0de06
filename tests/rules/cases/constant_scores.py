import math

from tests.rules.cases import Case


def scores(*classes: object, positives: float = 8, rows: float = 256, **others: object) -> dict[str, object]:
    """The smallest and the largest score of each class; functions of the record's number, or pairs."""

    def quantiles(number: int) -> list[list[float]]:
        pairs = [each(number) if callable(each) else each for each in classes]
        return [[low, *[low] * 7, high] for low, high in pairs]  # type: ignore[misc]

    count = len(classes)
    return {
        "live_score_quantiles": quantiles,
        "live_pos_count": [positives] * count,
        "live_neg_count": [rows - positives] * count,
        **others,
    }


def dying(at: int) -> object:
    """Scores that differ up to a record, and no longer."""
    return lambda number: (-3.0, -3.0 if number >= at else 1.0)


ROUNDING = (-6.0, -6.0 + 5e-7)
TIED = {"auroc": 0.5, "average_precision": 0.03, "positive_rate": 0.03}

CASES = [
    Case("one live row of a pool that was drawn down", "borderline", "smooth_ap",
         scores((-1.25, -1.25), pool_size=32), None, {"max_pool_size": 32}),
    Case("a cap that does not bite", "sick", "smooth_ap",
         scores((-1.25, -1.25), pool_size=300), "error", {"max_pool_size": 4096}, classes=(None,)),
    Case("units died", "sick", "bce", scores(dying(5)), "error", classes=(None,)),
    Case("constant from the start", "sick", "bce", scores((0.0, 0.0)), "error", classes=(None,)),
    Case("equal to rounding", "sick", "sigmoid_focal", scores(ROUNDING), "error", classes=(None,)),
    Case("all classes of a softmax", "sick", "cross_entropy", scores(*[dying(5)] * 3), "error",
         classes=(None,)),
    Case("one label of two", "sick", "bce", scores((-5.0, 1.0), (-3.0, -3.0)), "error", classes=(1,)),
    Case("a ranking loss", "sick", "smooth_ap", scores(dying(5)), "error", classes=(None,)),
    Case("in validation alone", "sick", "bce", scores((-5.0, 1.0)), "error", evals=TIED, evaluations=3,
         classes=(None,)),
    Case("a run of 30 steps", "sick", "bce", scores(dying(1)), "error", records=3, run={"total_steps": 30},
         evals=TIED, evaluations=1, classes=(None,)),
    Case("two records and an evaluation", "sick", "bce", scores(dying(18)), "error", evals=TIED,
         evaluations=1, classes=(None,)),
    Case("two records", "borderline", "bce", scores(dying(18)), None),
    Case("two evaluations", "borderline", "bce", scores((-5.0, 1.0)), None, evals=TIED, evaluations=2),
    Case("it was constant and is no longer", "borderline", "bce",
         scores(lambda n: (0.0, 0.0 if n < 19 else 0.1)), None),
    Case("random order, no ties", "borderline", "bce", scores((-5.0, 1.0)), None,
         evals={**TIED, "average_precision": 0.031}, evaluations=5),
    Case("a spread of a thousandth", "borderline", "bce", scores((-3.0, -2.999)), None),
    Case("a head of zeros in its first steps", "borderline", "bce", scores((0.0, 0.0)), "skipped", records=4),
    Case("one row in each batch", "borderline", "bce", scores((-3.0, -3.0), positives=1, rows=1), "skipped"),
    Case("logits that are not finite", "borderline", "bce", scores((0.0, 0.0), nonfinite_count=256.0),
         "skipped"),
    Case("no scores of a label", "borderline", "bce", scores((-5.0, 1.0), (math.nan, math.nan)), None),
    Case("ordinary scores", "healthy", "bce", scores((-8.0, 2.0)), None,
         evals={"auroc": 0.9, "average_precision": 0.4, "positive_rate": 0.03}, evaluations=5),
]  # fmt: skip
