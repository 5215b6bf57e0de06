from losses.diagnostics.listening import QUANTILE_LEVELS
from tests.rules.cases import Case, counts


def tied(
    ratio: object, loss: float, tau: float = 1.0, auroc: object = 0.5, **more: object
) -> dict[str, object]:
    def quantiles(number: int) -> list[object]:
        width = 3.45 * (ratio(number) if callable(ratio) else ratio)  # type: ignore[operator]
        return [[width * level for level in QUANTILE_LEVELS]]

    return counts(
        positives=24, live=5, per_class_loss=loss, tau_eff=tau, score_iqr=ratio, score_std=ratio,
        pos_score_quantiles=quantiles, neg_score_quantiles=quantiles, pool_auroc=auroc, **more,
    )  # fmt: skip


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
    Case("a bounded head", "sick", "smooth_ap", tied(0.6, LEVEL - 0.02, auroc=0.86), "warning", RAW),
    Case(
        "the order rises",
        "borderline",
        "smooth_ap",
        tied(0.4, LEVEL, auroc=lambda n: 0.4 + n / 50),
        "info",
        RAW,
    ),
    Case("the order is there", "borderline", "smooth_ap", tied(0.4, LEVEL, auroc=0.99), None, RAW),
    Case(
        "still cooling", "borderline", "smooth_ap", tied(0.05, LEVEL, temperature=lambda n: 0.9**n), None, RAW
    ),
    Case("in its blend", "borderline", "smooth_ap", tied(0.05, LEVEL, phase=1, main_weight=0.5), None, RAW),
    Case("loss has moved", "borderline", "smooth_ap", tied(0.4, 0.8), None, RAW),
    Case("half for Smooth-AP is no plateau", "borderline", "smooth_ap", tied(0.4, 0.5), None, RAW),
    Case("spread", "healthy", "smooth_ap", tied(10.0, 0.5), None, RAW),
]
