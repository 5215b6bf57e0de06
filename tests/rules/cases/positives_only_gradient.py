from tests.rules.cases import Case, counts


def ranked(auroc: float) -> dict[str, object]:
    return counts(positives=25, pool_auroc=auroc)


CASES = [
    Case("recall alone", "sick", "recall_at_quantile", ranked(0.6), "info"),
    Case("trapezoid alone", "sick", "pauc_at_budget", ranked(0.8), "info", {"surrogate": "trapezoid"}),
    Case("pairwise", "healthy", "pauc_at_budget", ranked(0.8), None, {"surrogate": "pairwise"}),
    Case("began later", "borderline", "recall_at_quantile", ranked(0.8), None, run={"start_step": -200}),
]
