from tests.rules.cases import Case, counts

CASES = [
    Case("flattened tokens", "sick", "smooth_ap", counts(positives=6000, pool=65_536), "info"),
    Case(
        "spread over a hundred classes", "sick", "smooth_ap",
        counts(positives=[600] * 100, pool=65_536, live=[60] * 100), "info", classes=(None,),
    ),
    Case("just below a GiB", "borderline", "smooth_ap", counts(positives=4095, pool=65_536), None),
    Case("an ordinary queue", "healthy", "smooth_ap", counts(positives=25), None),
]  # fmt: skip
