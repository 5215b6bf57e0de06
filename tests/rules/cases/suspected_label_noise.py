from tests.rules.cases import QUEUE, Case, counts

NEGATIVES = [-3.5, -2.3, -1.6, -0.7, 0.0, 0.7, 1.6, 2.3, 3.5]


def scores(
    low: float,
    quarter: float = 3.0,
    middle: float = 4.0,
    last: float | None = None,
    auroc: object = 0.9,
    live: float = 13,
    positives_in_pool: float = 64,
    scale: float = 1.0,
) -> dict[str, object]:
    """Positives with these 5, 25 and 50 % quantiles; `last` is where the first ends up."""

    def positives(number: int) -> list[list[float]]:
        lowest = low if last is None else low + (last - low) * number / 29
        return [[scale * score for score in (-2.5, -2.0, lowest, quarter, middle, 5.0, 6.0, 7.0, 8.0)]]

    return counts(
        positives=positives_in_pool,
        live=live,
        pool_auroc=auroc,
        pos_score_quantiles=positives,
        neg_score_quantiles=lambda number: [[scale * score for score in NEGATIVES]],
    )


CASES = [
    Case("one in five like negatives", "sick", "smooth_ap", scores(-0.7, 0.9), "warning", QUEUE, 30),
    Case("one in ten", "borderline", "smooth_ap", scores(-0.2, 3.0), "info", QUEUE, 30),
    Case("a slope and no second hill", "borderline", "smooth_ap", scores(0.1, 1.5), None, QUEUE, 30),
    Case("the rest is not separated", "borderline", "smooth_ap", scores(-0.7, 0.9, 1.0), None, QUEUE, 30),
    Case("still learning", "borderline", "smooth_ap", scores(-0.7, 0.9, last=1.6), None, QUEUE, 30),
    Case("AUROC rises", "borderline", "smooth_ap",
         scores(-0.7, 0.9, auroc=lambda n: 0.7 + 0.01 * n), None, QUEUE, 30),
    Case("validation rises", "borderline", "smooth_ap", scores(-0.7, 0.9), None, QUEUE, 30,
         evals={"average_precision": lambda n: 0.3 + 0.05 * n}, evaluations=10, eval_every=30),
    Case("too few positives to tell", "borderline", "bce",
         scores(-0.7, 0.9, live=1, positives_in_pool=1), None, {}, 30),
    Case("all scores within a thousandth", "borderline", "bce", scores(-0.7, 0.9, scale=1e-3), None, {}, 30),
    Case("first steps", "borderline", "smooth_ap", scores(-0.7, 0.9), "skipped", QUEUE, 11),
    Case("separated", "healthy", "smooth_ap", scores(2.0), None, QUEUE, 30),
]  # fmt: skip
