from tests.rules.cases import QUEUE, Case, counts

CASES = [
    Case(
        "one and a half",
        "sick",
        "smooth_ap",
        counts(positives=1.5),
        "warning",
        QUEUE,
        prescribes={"parameter": "queue_size", "from": 1024, "to": 17000},
    ),
    Case("four", "sick", "smooth_ap", counts(positives=4), "warning", QUEUE),
    Case("seven", "borderline", "smooth_ap", counts(positives=7), "info", QUEUE),
    Case("exactly ten", "borderline", "smooth_ap", counts(positives=10), None, QUEUE),
    Case("exactly five", "borderline", "smooth_ap", counts(positives=5), "info", QUEUE),
    Case("exactly two", "borderline", "smooth_ap", counts(positives=2), "warning", QUEUE),
    Case(
        "few because the queue is filling",
        "borderline",
        "smooth_ap",
        counts(positives=4, pool=384, batch=128),
        None,
        QUEUE,
        records=5,
    ),
    Case(
        "so few that a full queue cannot help",
        "borderline",
        "smooth_ap",
        counts(positives=0, pool=900, batch=128, live=0),
        "warning",
        QUEUE,
        records=2,
    ),
    Case(
        "none at all is another rule's", "borderline", "smooth_ap", counts(positives=0, live=0), None, QUEUE
    ),
    Case(
        "one class of three",
        "sick",
        "recall_at_quantile",
        counts(positives=[700, 577, 3], live=[130, 125, 1]),
        "warning",
        QUEUE,
        classes=(2,),
    ),
    Case(
        "the cap's doing", "sick", "smooth_ap", counts(positives=4, pool=64, live=5), "warning",
        {**QUEUE, "max_pool_size": 64}, prescribes={"parameter": "max_pool_size", "from": 64, "to": None},
    ),
    Case(
        "capped, and few in all", "borderline", "smooth_ap", counts(positives=4, pool=64, live=0.8),
        "warning", {**QUEUE, "max_pool_size": 64}, prescribes={"parameter": "queue_size", "from": 1024},
    ),
    Case(
        "fewer than declared", "borderline", "smooth_ap", counts(positives=4), "warning", QUEUE,
        run={"population_positive_rate": 0.05},
    ),
    Case("twenty", "healthy", "smooth_ap", counts(positives=20), None, QUEUE),
]  # fmt: skip
