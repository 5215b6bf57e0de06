from tests.rules.cases import Case, counts


def ranked(auroc: object) -> dict[str, object]:
    return counts(positives=25, pool_auroc=auroc)


AFTER_WARMUP = {"start_step": -200}

CASES = [
    Case("recall alone, stuck", "sick", "recall_at_quantile", ranked(0.55), "warning"),
    Case(
        "trapezoid after a warmup, decays",
        "sick",
        "pauc_at_budget",
        ranked(lambda n: 0.95 - 0.02 * n),
        "warning",
        {"surrogate": "trapezoid"},
        run=AFTER_WARMUP,
    ),
    Case(
        "falls, and is good all the same",
        "borderline",
        "pauc_at_budget",
        ranked(lambda n: 0.999 - 0.01 * n),
        "info",
        {"surrogate": "trapezoid"},
        run=AFTER_WARMUP,
    ),
    Case("alone, but it learns", "borderline", "recall_at_quantile", ranked(0.75), "info"),
    Case("alone, and young", "borderline", "recall_at_quantile", ranked(0.55), "info", records=12),
    Case(
        "dips and recovers",
        "borderline",
        "pauc_at_budget",
        ranked(lambda n: 0.8 - 0.15 * (5 < n < 10)),
        None,
        run=AFTER_WARMUP,
    ),
    Case("no order known", "borderline", "recall_at_quantile", ranked(float("nan")), None),
    Case("alone, nothing else known", "borderline", "recall_at_quantile", counts(positives=25), "info"),
    Case(
        "kept beside BCE, nothing else known",
        "healthy",
        "recall_at_quantile",
        counts(positives=25, main_weight=0.5),
        None,
    ),
    Case("pairwise", "healthy", "pauc_at_budget", ranked(0.55), None, {"surrogate": "pairwise"}),
    Case("after a warmup, stays", "healthy", "recall_at_quantile", ranked(0.9), None, run=AFTER_WARMUP),
]
