from tests.rules.cases import QUEUE, Case, counts

BASE = [-3.0, -2.5, -1.5, -0.5, 0.0, 0.5, 1.5, 2.5, 3.0]


def apart(by: float, *, batch: float = 256, fill: float = 1.0, scale: float = 1.0) -> dict[str, object]:
    return counts(
        positives=25,
        batch=batch,
        queue_fill=fill,
        queue_age=16,
        live_score_quantiles=[[scale * score + by for score in BASE]],
        queue_score_quantiles=[[scale * score for score in BASE]],
    )


CASES = [
    Case("ten ranges apart", "sick", "smooth_ap", apart(10.0), "info", QUEUE),
    Case("within the error of four rows", "borderline", "smooth_ap", apart(2.9, batch=4), None, QUEUE),
    Case("just over two", "borderline", "pauc_at_budget", apart(2.2), "info", QUEUE),
    Case("a queue that has hardly begun", "borderline", "smooth_ap", apart(10.0, fill=0.1), None, QUEUE),
    Case("no spread at all", "borderline", "smooth_ap", apart(1.0, scale=0.0), None, QUEUE),
    Case("one distribution", "healthy", "smooth_ap", apart(0.2), None, QUEUE),
]
