from tests.rules.cases import QUEUE, Case, counts


def pauc(valid: object, live: object = 5, **others: object) -> dict[str, object]:
    return counts(positives=25, live=live, valid=valid, iid_neg_count=1255, **others)


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
    Case("always valid", "healthy", "pauc_at_budget", pauc(1), None, QUEUE),
]
