from tests.rules.cases import Case, counts

POPULATION = {"budget_basis": "population", "beta": 0.05}
DECLARED = {"population_positive_rate": 0.02}


def drawn(live: float, iid: float = 1000.0) -> dict[str, object]:
    return counts(positives=280, live=live, pool=1280, iid_neg_count=iid)


CASES = [
    Case("population", "sick", "pauc_at_budget", drawn(64), "warning", POPULATION, run=DECLARED),
    Case("negatives only", "borderline", "pauc_at_budget", drawn(64), None, {"beta": 0.05}, run=DECLARED),
    Case(
        "known from validation data",
        "sick",
        "pauc_at_budget",
        drawn(64),
        "warning",
        POPULATION,
        evals={"positive_rate": 0.02, "positives": 40},
        evaluations=1,
    ),
    Case(
        "known from few positives",
        "borderline",
        "pauc_at_budget",
        drawn(64),
        None,
        POPULATION,
        evals={"positive_rate": 0.02, "positives": 20},
        evaluations=1,
    ),
    Case("marked rows", "borderline", "pauc_at_budget", drawn(64, iid=400), None, POPULATION, run=DECLARED),
    Case("less than twice", "borderline", "pauc_at_budget", drawn(10), None, POPULATION, run=DECLARED),
    Case("no rate known", "borderline", "pauc_at_budget", drawn(64), "skipped", POPULATION),
    Case(
        "a rate for three classes",
        "borderline",
        "pauc_at_budget",
        drawn(64),
        None,
        POPULATION,
        run={"population_positive_rate": (0.02, 0.1, 0.88)},
    ),
    Case("a fair draw", "healthy", "pauc_at_budget", drawn(5), None, POPULATION, run=DECLARED),
]
