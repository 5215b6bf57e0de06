from tests.rules.cases import Case, counts


def learning(
    name: str,
    sort: str,
    loss: object,
    expect: str | None,
    kind: str = "bce",
    rows: dict[str, object] | None = None,
    **config: object,
) -> Case:
    """At a rate of 5 %, where a constant gets 0.2."""
    given = rows or counts(positives=13, live=13)
    stats = {**given, "loss": loss}
    return Case(name, sort, kind, stats, expect, config, classes=(None,))  # type: ignore[arg-type]


#: Two even classes: a constant gets 0.69.
EVEN = counts(positives=[128, 128], live=[128, 128])

#: At a rate of 1 % a batch of 128 holds 0 to 5 positives: constants of 0.06 to 0.17.
BATCHES = counts(
    positives=lambda n: [3, 2, 4, 3, 2][n % 5] if n < 10 else [0, 1, 0, 2, 1][n % 5],
    live=lambda n: [3, 2, 4, 3, 2][n % 5] if n < 10 else [0, 1, 0, 2, 1][n % 5],
    batch=128,
)

CASES = [
    learning("steady, in batches with ever fewer positives", "borderline",
             lambda n: 0.688 + 0.001 * (7 * n % 13), None, rows=BATCHES),
    learning("higher in batches with more positives", "borderline",
             lambda n: 0.3 * [1, 2, 1, 3, 2][n % 5] if n >= 10 else 0.3, None,
             rows=counts(positives=lambda n: [1, 2, 1, 3, 2][n % 5] if n >= 10 else 1,
                         live=lambda n: [1, 2, 1, 3, 2][n % 5] if n >= 10 else 1, batch=128)),
    learning("goes up and stays", "sick", lambda n: 0.7 if n < 1 else 1.3, "error"),
    learning("one batch is all ignored", "sick", lambda n: {0: 0.7, 12: None}.get(n, 1.3), "error"),
    learning("comes back", "sick", lambda n: 0.2 if 4 < n < 10 else 0.7, "error"),
    learning("a spike, and dead since", "sick", lambda n: 30.0 if n == 2 else 0.2, "error"),
    learning("a spike, and learns", "borderline", lambda n: 30.0 if n == 2 else 0.2 - 0.01 * n, None),
    learning("slow", "borderline", 0.7, None),
    learning("fine-tuned", "borderline", lambda n: 0.005 if n < 5 else 0.1, None),
    learning("a sum", "sick", lambda n: 35.0 if n < 1 else 2000.0, "error", "sigmoid_focal", reduction="sum"),
    learning("weighed", "borderline", lambda n: 1.4 if n < 1 else 2.2, None, pos_weight=[20.0]),
    learning("each element weighed", "borderline", lambda n: 0.7 if n < 10 else 6.3, None, weight=[1.0]),
    learning("a softmax", "sick", lambda n: 0.7 if n < 1 else 1.5, "error", "cross_entropy", EVEN),
    learning("falls", "healthy", lambda n: 0.7 / (1 + n), None, "cross_entropy", EVEN, label_smoothing=0.1),
    Case("doubles at each record", "sick", "bce", {"loss": lambda n: 0.7 * 2.0**n}, "error", classes=(None,)),
    Case(
        "twelvefold",
        "borderline",
        "bce",
        {"loss": lambda n: 0.7 if n < 10 else 8.4},
        "error",
        classes=(None,),
    ),
    Case("ninefold", "borderline", "bce", {"loss": lambda n: 0.7 if n < 10 else 6.3}, None),
    Case("one spike", "borderline", "bce", {"loss": lambda n: 70.0 if n == 18 else 0.7}, None),
    Case("falls", "healthy", "sigmoid_focal", {"loss": lambda n: 0.05 / (1 + n)}, None),
]  # fmt: skip
