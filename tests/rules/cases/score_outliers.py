from tests.rules.cases import Case


def negatives(most: object, iqr: float = 1.0) -> dict[str, object]:
    def quantiles(number: int) -> list[list[float]]:
        largest = most(number) if callable(most) else most
        return [[-3.0, -2.0, -1.5, -iqr / 2, 0.0, iqr / 2, 1.5, 2.0, largest]]

    return {"neg_score_quantiles": quantiles}


def collapsed(number: int) -> list[list[float]]:
    """All scores within a hundredth of a logit."""
    return [[score / 1e5 for score in (-3.0, -2.0, -1.5, -0.5, 0.0, 0.5, 1.5, 2.0, 500.0)]]


CASES = [
    Case("a row at 500", "sick", "smooth_ap", negatives(500.0), "info"),
    Case("a row at 500 under BCE", "sick", "bce", negatives(500.0), "warning"),
    Case("one record only", "borderline", "bce", negatives(lambda n: 500.0 if n == 19 else 3.0), None),
    Case("just below", "borderline", "bce", negatives(21.4), None),
    Case("tied but for one", "borderline", "bce", negatives(500.0, iqr=0.0), None),
    Case("collapsed", "borderline", "bce", {"neg_score_quantiles": collapsed}, None),
    Case("in units of their own", "borderline", "smooth_ap", {"neg_score_quantiles": collapsed}, "info"),
    Case("ordinary", "healthy", "smooth_ap", negatives(4.0), None),
]
