"""The thirteen rows of the published symptom table, and what was measured of each.

The figures of the runs are put in by the page; what is written here are verdicts, and where they come from.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """A row of the table as printed (in our words), and our verdict."""

    codes: tuple[str, ...]
    symptom: str
    cause: str
    remedy: str
    #: "holds", "in part" or "does not hold".
    verdict: str
    measured: str


ROWS: tuple[Row, ...] = (
    Row(
        ("IMB002",),
        "a rare class never improves",
        "no positive of it in the pool",
        "a larger queue or batch, a sampler",
        "in part",
        "The cause is right: without a positive there is nothing to rank. The printed remedy filled the pool "
        "and did not raise the metrics within these runs, at one positive in 2,000 rows: queued positives "
        "carry no gradient, and only more live ones would.",
    ),
    Row(
        ("IMB102", "IMB004"),
        "focal loss stays noisy despite tuning",
        "a high gamma puts the weight on mislabelled rows",
        "gamma of 2 or less, look at the labels",
        "in part",
        "Wrong labels on rows that are drawn anew cost a ranking loss next to nothing here, and memorised "
        "ones much (IMB701, IMB704); a high gamma on top of them costs a few hundredths of average "
        "precision, which lowering it wins back in part.",
    ),
    Row(
        ("IMB201",),
        "the loss sits near 0.5 from the start",
        "near-uniform scores",
        "a warmup with cross-entropy",
        "in part",
        "The value is 0.5 only for recall at a quantile and partial AUC; for Smooth-AP it is "
        "1 - (P + 1)/(M + 1). Uniform scores as such cost nothing: a temperature too large for them does, "
        "and one that fits cures it.",
    ),
    Row(
        ("IMB202", "IMB701"),
        "the loss is near zero but metrics are poor",
        "the scale of the scores does not fit the temperature",
        "a higher temperature, normalised logits",
        "in part",
        "A saturated temperature stops the loss wherever it is, seldom near zero; the temperature as "
        "prescribed cures it. A loss near zero with poor metrics was memorised rows.",
    ),
    Row(
        ("IMB203",),
        "the loss oscillates wildly",
        "a temperature that is too sharp",
        "a higher temperature, decayed later",
        "does not hold",
        "What oscillates is an estimate from a handful of positives; a sharp temperature moved the loss no "
        "more than its standard error, and did harm without oscillating (see the rule's Evidence). Steps "
        "that are too large swing validation as well, and a lower learning rate cures those.",
    ),
    Row(
        ("IMB302",),
        "recall stalls",
        "every positive is above the threshold: the objective is met",
        "none; check the quantile",
        "holds",
        "Met objectives show as a loss at zero while the order may still improve. A recall that stalls "
        "below 1 has other causes (IMB301, IMB305).",
    ),
    Row(
        ("IMB303", "IMB304"),
        "the threshold is unstable",
        "few scores near the quantile",
        "a larger queue",
        "in part",
        "Jumps come from few rows above the quantile, as printed. What costs average precision is that "
        "number, which IMB304 finds; a threshold that jumps at a good number is harmless.",
    ),
    Row(
        ("IMB401",),
        "the band holds no negatives",
        "the pool is small for the budget",
        "a larger queue",
        "in part",
        "The cause is right, and the prescribed queue fills the band. Metrics at the end of these runs did "
        "not gain by it.",
    ),
    Row(
        ("IMB402",),
        "a class is skipped by partial AUC",
        "its negatives' scores are all but constant",
        "the range of the scores, a warmup",
        "holds",
        "Planted with units that never fire, where no setting of the loss helps: the model must change.",
    ),
    Row(
        ("IMB403",),
        "hardly one positive carries gradient",
        "batch times rate is about one",
        'a larger batch, gathering, a wider band, `pos_numerator="live"`',
        "in part",
        "The cause is right. A larger batch costs rows and gains in proportion; the numerator gained "
        "nothing; a surrogate that moves negatives gains most.",
    ),
    Row(
        ("IMB505", "IMB006"),
        "the loss spikes after the switch of phases",
        "the queue holds scores from before it",
        "call the wrapper in every phase, reset the queue",
        "in part",
        "Old rows are there and are found; the queue forgets them by itself, and the end of the run is the "
        "same within noise. Emptying a queue whose batches hold few positives costs more than it gains.",
    ),
    Row(
        ("IMB507", "IMB509"),
        "a ranking loss does worse than cross-entropy",
        "scores too uniform when it took over",
        "a longer warmup",
        "does not hold",
        "The length of the warmup changed nothing. What falls back is a loss that moves positives only and "
        "is alone: keeping the likelihood loss beside it, or another surrogate, is the remedy.",
    ),
    Row(
        ("IMB601",),
        "the loss diverges between workers",
        "each ranks its own shard",
        "`gather_distributed=True`",
        "holds",
        "Found from the settings at the first look. In two processes on the same law the model hardly "
        "suffers: what differs is the loss that each reports, and the resolution of its quantiles.",
    ),
)
