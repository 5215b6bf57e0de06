from tests.rules.cases import Case


def decisions(
    found: object, live: float = 2, predicted: object = 0, p_pos: object = 0.01, p_neg: float = 0.008
) -> dict[str, object]:
    return {
        "live_pos_count": live,
        "live_neg_count": 256 - live,
        "predicted_pos_count": predicted,
        "true_pos_count": found,
        "mean_p_true_pos": p_pos,
        "mean_p_true_neg": 1 - p_neg,
    }


CASES = [
    Case("none of forty found", "sick", "bce", decisions(0), "error"),
    Case("one of forty", "borderline", "bce", decisions(lambda n: n == 5), "error"),
    Case("a tenth found", "borderline", "bce", decisions(lambda n: n % 5 == 0), None),
    Case("too few positives to tell", "borderline", "bce", decisions(0, live=0.5), "skipped"),
    Case("first steps", "borderline", "bce", decisions(0), "skipped", records=10),
    Case("separating more and more", "borderline", "bce", decisions(0, p_pos=lambda n: 0.005 * 1.1**n), None),
    Case(
        "still separating when the run is half over",
        "borderline",
        "bce",
        decisions(0, p_pos=lambda n: 0.005 * 1.1**n),
        "error",
        run={"total_steps": 620},
        records=32,
    ),
    Case(
        "order of the scores improves",
        "borderline",
        "bce",
        {**decisions(0), "pool_auroc": lambda n: 0.5 + 0.03 * n},
        None,
    ),
    Case("about to be found", "borderline", "bce", decisions(0, p_pos=0.2), None),
    Case("not yet away from the start", "borderline", "bce", decisions(0, p_pos=0.4, p_neg=0.4), None),
    Case("common classes", "borderline", "bce", decisions(0, live=64), None),
    Case("warmup of a wrapper", "borderline", "bce", {**decisions(0), "phase": 0}, "skipped"),
    Case("half found", "healthy", "sigmoid_focal", decisions(1, predicted=1), None),
]
