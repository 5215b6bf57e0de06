from tests.rules.cases import QUEUE, Case, counts

RECALL = {**QUEUE, "quantile": 0.005}
MANY = {**QUEUE, "quantile": 0.01}


def at(threshold: object, iqr: object = 1.0, name: str = "threshold") -> dict[str, object]:
    return counts(positives=25, score_iqr=iqr, tau_eff=0.1, **{name: threshold})


def swinging(by: float) -> object:
    """To and fro: each record is `by` away from the mean of its neighbours."""
    return lambda n: by / 2 * (-1) ** n


CASES = [
    Case("jumps", "sick", "recall_at_quantile", at(swinging(1.0)), "info", RECALL),
    Case(
        "band jumps",
        "sick",
        "pauc_at_budget",
        at(swinging(1.0), name="t_beta"),
        "info",
        {**QUEUE, "beta": 0.005},
    ),
    Case("a tenth of the spread", "borderline", "recall_at_quantile", at(swinging(0.099)), None, RECALL),
    Case("a little more", "borderline", "recall_at_quantile", at(swinging(0.101)), "info", RECALL),
    Case("drifts fast", "borderline", "recall_at_quantile", at(lambda n: 1.0 * n), None, RECALL),
    Case(
        "jumps with twelve rows above it", "borderline", "recall_at_quantile", at(swinging(1.0)), None, MANY
    ),
    Case("young", "borderline", "recall_at_quantile", at(swinging(1.0)), None, RECALL, records=19),
    Case(
        "spread in some records",
        "borderline",
        "recall_at_quantile",
        at(swinging(1.0), iqr=lambda n: 1.0 if n % 5 == 0 else None),
        "info",
        RECALL,
    ),
    Case("unknown", "borderline", "recall_at_quantile", at(float("nan")), None, RECALL),
    Case("still", "healthy", "recall_at_quantile", at(0.5), None, RECALL),
]
