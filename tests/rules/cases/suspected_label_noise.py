from tests.rules.cases import QUEUE, Case, counts

NEGATIVES = [-3.5, -2.3, -1.6, -0.7, 0.0, 0.7, 1.6, 2.3, 3.5]


def scores(
    low: float, quarter: float = 3.0, middle: float = 4.0, last: float | None = None
) -> dict[str, object]:
    """Positives with these 5, 25 and 50 % quantiles; `last` is where the first ends up."""

    def positives(number: int) -> list[list[float]]:
        lowest = low if last is None else low + (last - low) * number / 29
        return [[-2.5, -2.0, lowest, quarter, middle, 5.0, 6.0, 7.0, 8.0]]

    return counts(
        positives=64,
        live=13,
        pos_score_quantiles=positives,
        neg_score_quantiles=lambda number: [NEGATIVES],
    )


CASES = [
    Case("one in five like negatives", "sick", "smooth_ap", scores(-0.7, 0.9), "warning", QUEUE, 30),
    Case("one in ten", "borderline", "smooth_ap", scores(-0.2, 3.0), "info", QUEUE, 30),
    Case("a slope and no second hill", "borderline", "smooth_ap", scores(0.1, 1.5), None, QUEUE, 30),
    Case("the rest is not separated", "borderline", "smooth_ap", scores(-0.7, 0.9, 1.0), None, QUEUE, 30),
    Case("still learning", "borderline", "smooth_ap", scores(-0.7, 0.9, last=1.6), None, QUEUE, 30),
    Case("first steps", "borderline", "smooth_ap", scores(-0.7, 0.9), "skipped", QUEUE, 11),
    Case("separated", "healthy", "smooth_ap", scores(2.0), None, QUEUE, 30),
]
