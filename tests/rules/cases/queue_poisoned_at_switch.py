from tests.rules.cases import Case, counts

QUEUE = {"queue_size": 8192}


def scores(middle: float, width: float = 1.0) -> list[list[float]]:
    return [[middle + width * z for z in (-3, -2, -1.5, -0.5, 0, 0.5, 1.5, 2, 3)]]


def at_start(fill: object, queue: object, **others: object) -> dict[str, object]:
    return counts(
        positives=20, live=2, batch=64, queue_fill=fill, live_score_quantiles=scores(-4.0),
        queue_score_quantiles=queue, **others,
    )  # fmt: skip


def paused(n: int) -> float | None:
    return 1.0 if n < 3 else None


CASES = [
    Case("full from the start", "sick", "smooth_ap", at_start(1.0, scores(0.0)), "info", QUEUE, records=2),
    Case(
        "takes over later",
        "sick",
        "smooth_ap",
        at_start(1.0, scores(0.0), queue_age=128),
        "info",
        QUEUE,
        records=2,
        run={"start_step": -100},
    ),
    Case("same scores", "borderline", "smooth_ap", at_start(1.0, scores(-4.5)), None, QUEUE, records=2),
    Case("half its width", "borderline", "smooth_ap", at_start(1.0, scores(-3.01)), None, QUEUE, records=2),
    Case(
        "could have filled since",
        "borderline",
        "smooth_ap",
        at_start(0.1, scores(0.0)),
        None,
        QUEUE,
        records=2,
        run={"start_step": -100},
    ),
    Case("forgotten by now", "borderline", "smooth_ap", at_start(1.0, scores(0.0)), None, QUEUE),
    Case("no scores", "borderline", "smooth_ap", at_start(1.0, [[float("nan")] * 9]), None, QUEUE, records=2),
    Case("empty", "healthy", "smooth_ap", at_start(0.0, [[float("nan")] * 9]), None, QUEUE, records=2),
]
