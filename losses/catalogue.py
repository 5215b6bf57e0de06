"""The catalogue of statistics: all that is known of each one that a loss reports, without torch.

Whatever handles statistics follows from it: what is recorded on which rank, how it stands in the run log, the
documentation page, the panels of a report. A new statistic is an entry here and the place that computes it.
The monitor catalogues its own in `imbalance_doctor.statistics`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Literal, TypeAlias


class Detail(IntEnum):
    """How much a listener wants from one forward, ordered by cost; each level includes those below."""

    NOTHING = 0
    #: The loss that is returned, which costs nothing.
    LOSS = 1
    #: Counts and temperatures: sums over tensors that the forward has already made.
    COUNTS = 2
    #: Quantiles and spreads of the scores: one sort of the pool.
    SCORES = 3
    #: Histograms of the scores.
    HISTOGRAMS = 4


#: The probabilities at which `pos_score_quantiles` and its siblings are taken.
QUANTILE_LEVELS: tuple[float, ...] = (0.0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)

#: Bins of a score histogram. The first and the last also count what lies beyond the edges.
HISTOGRAM_BINS = 40

#: The probability range that a histogram spans; the end bins take what lies beyond.
HISTOGRAM_SPAN = (0.01, 0.99)

#: "Easy" rows: the probability of the true label above which focal's factor (γ = 2) is below 1 %.
EASY_ABOVE = 0.9

#: A positive is "saturated" when its slope is below this share of the largest possible slope.
#: 1 % is where a sigmoid's derivative stands at 6 temperatures from its centre.
SATURATED_BELOW = 0.01

Shape: TypeAlias = Literal["scalar", "class", "class x quantile", "class x bin", "class x edge"]


@dataclass(frozen=True)
class Stat:
    """What is known of one statistic, whoever computes it.

    Attributes:
        name: What it is called in records, logs and reports.
        shape: Its axes.
        unit: What its numbers are numbers of.
        meaning: What it says, in a sentence.
        detail: The lowest level of detail that includes it.
        panel: The family of panels that shows it; empty where only the run log has it, or a panel of another
            family draws it by name.
        rank_local: Whether ranks may have different values of it although they gather; of the others, those
            of one rank are those of all.
        of_wrapper: Whether a warmup wrapper reports it of itself, and not of the loss that is active in it.
        shared: Whether its tensor may share memory with what the forward returns.
    """

    name: str
    shape: Shape
    unit: str
    meaning: str
    detail: Detail = Detail.COUNTS
    panel: str = ""
    rank_local: bool = False
    of_wrapper: bool = False
    shared: bool = False

    @property
    def axes(self) -> tuple[str, ...]:
        """The names of its axes; none of a scalar."""
        return () if self.shape == "scalar" else tuple(self.shape.split(" x "))


#: Every statistic that losses emit.
CATALOGUE: tuple[Stat, ...] = (
    # The loss itself
    Stat(
        "loss",
        "scalar",
        "loss",
        "The reduced loss of this forward (its mean where reduction is none).",
        Detail.LOSS,
        panel="loss",
        rank_local=True,
        of_wrapper=True,
        shared=True,
    ),
    Stat(
        "per_class_loss",
        "class",
        "loss",
        "The loss of each class; nan for an invalid class. Likelihood losses report it from `scores` on.",
        panel="loss",
        shared=True,
    ),
    Stat(
        "valid", "class", "0 or 1", "Whether the class had what the loss needs to be computed.", shared=True
    ),
    Stat(
        "nonfinite_count",
        "scalar",
        "logits",
        "NaN and infinite logits in this batch, over all ranks gathered.",
        panel="loss",
    ),
    Stat(
        "pos_grad_norm",
        "class",
        "loss / logit",
        "Norm of the gradient at the logits of the live positives (of this rank); under a gradient scaler it "
        "includes the scale factor.",
        Detail.SCORES,
        panel="gradient",
        rank_local=True,
    ),
    Stat(
        "neg_grad_norm",
        "class",
        "loss / logit",
        "Norm of the gradient at the logits of the live negatives, in the same way.",
        Detail.SCORES,
        panel="gradient",
        rank_local=True,
    ),
    # The pool
    Stat(
        "pool_size",
        "scalar",
        "rows",
        "Rows that the loss ranked: the live batch and the queue.",
        panel="pool",
        rank_local=True,
    ),
    Stat("pool_pos_count", "class", "rows", "Positives of the class in the pool.", panel="positives"),
    Stat("pool_neg_count", "class", "rows", "Negatives of the class in the pool."),
    Stat("live_pos_count", "class", "rows", "Positives of the class in the live batch.", panel="positives"),
    Stat("live_neg_count", "class", "rows", "Negatives of the class in the live batch."),
    Stat(
        "grad_pos_count",
        "class",
        "rows",
        "Live positives that carry gradient: their slope is at least 1 % of the largest possible.",
        panel="positives",
    ),
    Stat(
        "queue_fill", "scalar", "share, 0-1", "How full the memory queue is.", panel="pool", rank_local=True
    ),
    Stat(
        "queue_age", "scalar", "steps", "Steps since the oldest row of the queue was written.", panel="pool"
    ),
    Stat(
        "ranks_apart",
        "scalar",
        "ranks",
        "Ranks whose queue or settings differ from this rank's, though they gather; 0 where all agree.",
        rank_local=True,
    ),
    # Temperature against scores
    Stat(
        "temperature",
        "scalar",
        "logits, or multiples of the scale",
        "The temperature as configured or scheduled.",
        panel="temperature",
        of_wrapper=True,
    ),
    Stat(
        "tau_eff",
        "class",
        "logits",
        "The temperature in raw logit units, after any scaling by the scores' spread; nan for a partial AUC "
        "without reference scores.",
        panel="temperature",
    ),
    Stat(
        "saturation",
        "class",
        "share, 0-1",
        "Share of the pool's positives that carry less than 1 % of the largest possible slope.",
        panel="positives",
    ),
    Stat(
        "score_iqr",
        "class",
        "logits",
        "Interquartile range of the pool's scores.",
        Detail.SCORES,
        panel="scores",
    ),
    Stat("score_std", "class", "logits", "Standard deviation of the pool's scores.", Detail.SCORES),
    Stat("score_min", "class", "logits", "Smallest score in the pool.", Detail.SCORES),
    Stat("score_max", "class", "logits", "Largest score in the pool.", Detail.SCORES),
    Stat(
        "pos_score_quantiles",
        "class x quantile",
        "logits",
        "Quantiles of the positives' scores in the pool, at QUANTILE_LEVELS.",
        Detail.SCORES,
        panel="scores",
    ),
    Stat(
        "neg_score_quantiles",
        "class x quantile",
        "logits",
        "Quantiles of the negatives' scores in the pool, at QUANTILE_LEVELS.",
        Detail.SCORES,
        panel="scores",
    ),
    Stat(
        "pool_auroc",
        "class",
        "share, 0-1",
        "Area under the ROC curve of the pool: the share of positive-negative pairs in the right order.",
        Detail.SCORES,
        panel="scores",
    ),
    Stat(
        "live_score_quantiles",
        "class x quantile",
        "logits",
        "Quantiles of the live batch's scores, at QUANTILE_LEVELS.",
        Detail.SCORES,
    ),
    Stat(
        "queue_score_quantiles",
        "class x quantile",
        "logits",
        "Quantiles of the queued scores, at QUANTILE_LEVELS.",
        Detail.SCORES,
    ),
    # Thresholds
    Stat("threshold", "class", "logits", "Recall at quantile: the score threshold θ.", panel="threshold"),
    Stat("above_threshold_count", "class", "rows", "Recall at quantile: pooled positives at or above θ."),
    Stat(
        "t_alpha",
        "class",
        "logits",
        "Partial AUC: upper edge of the band, at false positive rate α.",
        panel="threshold",
    ),
    Stat(
        "t_beta",
        "class",
        "logits",
        "Partial AUC: lower edge of the band, at false positive rate β.",
        panel="threshold",
    ),
    Stat(
        "band_neg_count",
        "class",
        "rows",
        "Partial AUC: iid negatives with a score inside the band.",
        panel="threshold",
    ),
    Stat(
        "iid_neg_count",
        "class",
        "rows",
        "Partial AUC: iid negatives in the pool, which set the band.",
        panel="threshold",
    ),
    Stat(
        "pauc_var",
        "class",
        "loss²",
        "Partial AUC: sampling variance of the class's loss.",
        Detail.SCORES,
    ),
    # Likelihood losses: focal, cross-entropy
    Stat(
        "pos_loss_share",
        "class",
        "share, 0-1",
        "Share of the class's summed loss that its positives carry.",
        Detail.SCORES,
        panel="positives",
    ),
    Stat(
        "easy_share",
        "class",
        "share, 0-1",
        "Share of rows whose true label has a probability above 0.9, which a focal loss almost ignores.",
        Detail.SCORES,
        panel="scores",
    ),
    Stat(
        "mean_p_true_pos",
        "class",
        "probability",
        "Mean predicted probability of the class over its positives.",
        panel="scores",
    ),
    Stat(
        "mean_p_true_neg",
        "class",
        "probability",
        "Mean predicted probability of not being the class over its negatives.",
        panel="scores",
    ),
    Stat(
        "predicted_pos_count",
        "class",
        "rows",
        "Live rows that the default decision (p ≥ 0.5, or argmax) gives to the class.",
    ),
    Stat("true_pos_count", "class", "rows", "Live positives that the default decision finds."),
    # The warmup wrapper
    Stat(
        "phase",
        "scalar",
        "0, 1 or 2",
        "Warmup wrapper: 0 in warmup, 1 in the blend, 2 in the main phase.",
        panel="schedule",
        of_wrapper=True,
    ),
    Stat(
        "main_weight",
        "scalar",
        "share, 0-1",
        "Warmup wrapper: weight of the main loss.",
        panel="schedule",
        of_wrapper=True,
    ),
    # Histograms
    Stat(
        "pos_score_hist",
        "class x bin",
        "rows",
        "Histogram of the positives' scores in the pool.",
        Detail.HISTOGRAMS,
        panel="scores",
    ),
    Stat(
        "neg_score_hist",
        "class x bin",
        "rows",
        "Histogram of the negatives' scores in the pool.",
        Detail.HISTOGRAMS,
        panel="scores",
    ),
    Stat(
        "score_hist_edges",
        "class x edge",
        "logits",
        "Edges of the two histograms, HISTOGRAM_BINS + 1 of them; the end bins also count scores beyond.",
        Detail.HISTOGRAMS,
    ),
)

STATS: Mapping[str, Stat] = {stat.name: stat for stat in CATALOGUE}
