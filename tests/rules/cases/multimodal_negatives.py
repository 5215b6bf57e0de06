from itertools import pairwise
from math import exp

from tests.rules.cases import Case


def hills(apart: float, lower: float = 0.5, rows: float = 1000) -> dict[str, object]:
    """Two hills of unit width, with the centres this far apart, over 40 bins from -3 to 3 + apart."""
    edges = [-3.0 + (6.0 + apart) * number / 40 for number in range(41)]

    def height(x: float) -> float:
        return lower * exp(-x * x / 2) + (1 - lower) * exp(-((x - apart) ** 2) / 2)

    bins = [height((a + b) / 2) for a, b in pairwise(edges)]
    return {
        "neg_score_hist": [[rows * value / sum(bins) for value in bins]],
        "score_hist_edges": [edges],
    }


CASES = [
    Case("six widths apart", "sick", "smooth_ap", hills(6.0), "info"),
    Case("a shoulder", "borderline", "smooth_ap", hills(2.5), None),
    Case("a small second hill", "borderline", "smooth_ap", hills(6.0, lower=0.05), None),
    Case("too few rows", "borderline", "bce", hills(6.0, rows=100), None),
    Case("the first histogram", "borderline", "bce", hills(6.0), None, records=1),
    Case("one hill", "healthy", "smooth_ap", hills(0.0), None),
]
