from tests.rules.cases import Case


def decisions(found: object, live: float = 2, predicted: object = 0, batch: float = 256) -> dict[str, object]:
    return {
        "live_pos_count": live,
        "live_neg_count": batch - live,
        "predicted_pos_count": predicted,
        "true_pos_count": found,
    }


CASES = [
    Case("none of forty found", "sick", "bce", decisions(0), "error"),
    Case("one of forty", "borderline", "bce", decisions(lambda n: n == 19), "error"),
    Case("a tenth found", "borderline", "bce", decisions(lambda n: n % 5 == 0), None),
    Case("too few positives to tell", "borderline", "bce", decisions(0, live=0.5), "skipped"),
    Case("early in a long run", "borderline", "bce", decisions(0), "skipped", run={"total_steps": 10_000}),
    Case("half found", "healthy", "sigmoid_focal", decisions(1, predicted=1), None),
]
