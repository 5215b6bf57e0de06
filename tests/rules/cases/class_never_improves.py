from tests.rules.cases import Case, counts


def evals(
    precision: object, auroc: object = 0.5, rate: object = 0.02, positives: object = 200
) -> dict[str, object]:
    return {"average_precision": precision, "auroc": auroc, "positive_rate": rate, "positives": positives}


def case(
    name: str, sort: str, expect: str | None, given: dict[str, object], live: object = 5.0, **more: object
) -> Case:
    return Case(
        name,
        sort,  # type: ignore[arg-type]
        "smooth_ap",
        counts(positives=live, live=live),
        expect,  # type: ignore[arg-type]
        records=int(str(more.pop("records", 41))),
        evals=given,
        evaluations=20,
        eval_every=20,
        **more,  # type: ignore[arg-type]
    )


def untrained(name: str, sort: str, expect: str | None, norms: list[float], predicted: float = 0.0) -> Case:
    return Case(
        name,
        sort,  # type: ignore[arg-type]
        "cross_entropy",
        counts(
            positives=[5.0, 5.0], live=[5.0, 5.0], pos_grad_norm=norms, predicted_pos_count=[5.0, predicted]
        ),
        expect,  # type: ignore[arg-type]
        evals=evals([0.9, 0.9], [0.98, 0.98], [0.1, 0.1], [200, 200]),
        evaluations=4,
        classes=(1,),
    )


def in_training(name: str, sort: str, expect: str | None, pool_auroc: float, auroc: float = 0.5) -> Case:
    """Average precision at chance; the AUROC of training rows and that of validation."""
    return Case(
        name,
        sort,  # type: ignore[arg-type]
        "bce",
        counts(positives=5.0, live=5.0, pool_auroc=pool_auroc),
        expect,  # type: ignore[arg-type]
        records=41,
        evals=evals(0.025, auroc),
        evaluations=20,
        eval_every=20,
    )


CASES = [
    untrained("weighs nothing", "sick", "error", [0.1, 0.0]),
    untrained("hardly weighs", "borderline", None, [0.1, 1e-9]),
    untrained("finished", "borderline", None, [0.1, 0.0], 5.0),
    untrained("nothing is trained", "borderline", None, [0.0, 0.0]),
    in_training("told apart in training", "sick", "warning", 0.99),
    in_training("what the others leave over, random in training", "sick", "warning", 0.5, auroc=0.7),
    in_training("what the others leave over, told apart in training", "borderline", None, 0.65, auroc=0.7),
    case("at chance", "sick", "warning", evals(0.025)),
    case(
        "one of three",
        "sick",
        "warning",
        evals([0.9, 0.025, 0.8], [0.99, 0.5, 0.99], [0.1, 0.02, 0.1], [200, 200, 200]),
        [5.0, 5.0, 5.0],
        classes=(1,),
    ),
    case("young", "borderline", None, evals(0.025), records=40),
    case("few positives seen", "borderline", None, evals(0.025), 0.5),
    case("found by its rank", "borderline", None, evals(0.025, 0.7)),
    case("within its noise", "borderline", "warning", evals(0.1, positives=20)),
    case("better than its noise", "borderline", None, evals(0.1)),
    case("no such class in validation", "borderline", None, evals(float("nan"), float("nan"), 0.0, 0)),
    case("late, but it comes", "borderline", None, evals(lambda n: 0.02 if n < 19 else 0.2)),
    case(
        "other classes in validation", "borderline", None, evals([0.02, 0.02], [0.5, 0.5], [0.1] * 2, [9] * 2)
    ),
    case("on its way", "borderline", None, evals(lambda n: 0.012 + 0.001 * n)),
    case("learnt", "healthy", None, evals(0.6, 0.95)),
]
