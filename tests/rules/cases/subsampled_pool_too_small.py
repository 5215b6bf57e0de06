from tests.rules.cases import Case, counts

CAPPED = {"queue_size": 2048, "max_pool_size": 64}


def capped(positives: object, live: object = 2.56, pool: float = 64) -> dict[str, object]:
    return counts(positives=positives, pool=pool, live=live, batch=128, queue_fill=1.0)


CASES = [
    Case(
        "four of forty", "sick", "smooth_ap", capped(4), "error", CAPPED, classes=(None,),
        prescribes={"parameter": "max_pool_size", "from": 64, "to": None},
    ),
    Case("sixteen of forty", "sick", "smooth_ap", capped(16), "warning", CAPPED, classes=(None,)),
    Case(
        "a threshold", "borderline", "recall_at_quantile", capped(16), "info", {**CAPPED, "quantile": 0.2},
        classes=(None,),
    ),
    Case("twenty", "borderline", "smooth_ap", capped(20), None, CAPPED),
    Case("rare, not capped away", "borderline", "smooth_ap", capped(4, live=0.3), None, CAPPED),
    Case(
        "one poor class of three", "borderline", "smooth_ap",
        capped([10, 25, 29], live=[30, 40, 58]), "warning", CAPPED, classes=(None,),
    ),
    Case(
        "band of two", "sick", "pauc_at_budget", {**capped(33, pool=128), "band_neg_count": 2.2}, "warning",
        {"queue_size": 4096, "max_pool_size": 128, "beta": 0.02}, classes=(None,),
        prescribes={"parameter": "max_pool_size", "from": 128, "to": None},
    ),
    Case(
        "four above the quantile", "sick", "recall_at_quantile", capped(33, pool=128), "warning",
        {"queue_size": 4096, "max_pool_size": 128, "quantile": 0.03}, classes=(None,),
    ),
    Case("no cap", "healthy", "smooth_ap", capped(4, pool=2176), None, {"queue_size": 2048}),
]  # fmt: skip
