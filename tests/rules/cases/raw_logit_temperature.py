from tests.rules.cases import Case, counts


def at(temperature: float) -> tuple[dict[str, object], dict[str, object]]:
    return counts(positives=25, loss=0.5), {"temperature": temperature, "tau_scale": "iqr"}


CASES = [
    Case("a hundredth", "sick", "pauc_at_budget", at(0.01)[0], "info", at(0.01)[1], prescribes={"to": 0.1}),
    Case("at the border", "borderline", "pauc_at_budget", at(0.02)[0], "info", at(0.02)[1]),
    Case("above the border", "borderline", "pauc_at_budget", at(0.021)[0], None, at(0.021)[1]),
    Case("the default", "healthy", "pauc_at_budget", at(0.1)[0], None, at(0.1)[1]),
]
