from tests.rules.cases import Case, counts


def tied(ratio: object, loss: float, tau: float = 1.0) -> dict[str, object]:
    return counts(positives=24, live=5, per_class_loss=loss, tau_eff=tau, score_iqr=ratio, score_std=ratio)


RAW = {"queue_size": 1024, "temperature": 1.0, "tau_scale": None}
LEVEL = 1 - 25 / 1281

CASES = [
    Case(
        "tied",
        "sick",
        "smooth_ap",
        tied(0.05, LEVEL - 0.001),
        "warning",
        RAW,
        prescribes={"parameter": "temperature", "from": 1.0, "to": 0.005},
    ),
    Case("tied for a threshold", "sick", "recall_at_quantile", tied(0.05, 0.502), "warning", RAW),
    Case(
        "leaving by itself", "borderline", "smooth_ap", tied(lambda n: 0.05 * 1.1**n, LEVEL - 0.01), None, RAW
    ),
    Case("loss has moved", "borderline", "smooth_ap", tied(0.4, 0.8), None, RAW),
    Case("half for Smooth-AP is no plateau", "borderline", "smooth_ap", tied(0.4, 0.5), None, RAW),
    Case("spread", "healthy", "smooth_ap", tied(10.0, 0.5), None, RAW),
]
