from losses.diagnostics.listening import QUANTILE_LEVELS
from tests.rules.cases import QUEUE, Case, counts


def pauc(valid: object, live: object = 5, spread: float = 1.0, band: float = 6) -> dict[str, object]:
    quantiles = [[3.0 + spread * level for level in QUANTILE_LEVELS]]
    return counts(
        positives=25,
        live=live,
        valid=valid,
        iid_neg_count=1255,
        band_neg_count=band,
        live_score_quantiles=quantiles,
    )


CASES = [
    Case("never valid", "sick", "pauc_at_budget", pauc(0), "error", QUEUE),
    Case("in half of the records", "borderline", "pauc_at_budget", pauc(lambda n: n % 2), "error", QUEUE),
    Case("now and then", "borderline", "pauc_at_budget", pauc(lambda n: n % 3 > 0), None, QUEUE),
    Case(
        "no live positive to average over",
        "borderline",
        "pauc_at_budget",
        pauc(0, live=0),
        None,
        {**QUEUE, "pos_numerator": "live"},
    ),
    Case("a constant that drifts", "sick", "pauc_at_budget", pauc(1, spread=1e-7), "error", QUEUE),
    Case("nearly constant", "borderline", "pauc_at_budget", pauc(1, spread=1e-4), None, QUEUE),
    Case("an empty band is another fault", "borderline", "pauc_at_budget", pauc(0, band=0), None, QUEUE),
    Case("always valid", "healthy", "pauc_at_budget", pauc(1), None, QUEUE),
]
