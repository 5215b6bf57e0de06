"""What the page draws: panels, their rows, the lines of each row. Data only; `page.js` draws it."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any

# Okabe and Ito's colours, which people with any colour vision tell apart.
BLACK, ORANGE, SKY, GREEN = "#000000", "#b87a00", "#2f8fcf", "#007a5a"
BLUE, RED, PINK, GREY = "#0072b2", "#d55e00", "#b0578d", "#666666"


@dataclass(frozen=True)
class Line:
    """A statistic as a line; a `band` names the statistics of its lower and upper edge."""

    key: str
    label: str
    colour: str
    dash: str = "solid"
    band: tuple[str, str] | None = None


@dataclass(frozen=True)
class Row:
    """Lines that share a y axis."""

    y: str
    lines: tuple[Line, ...]
    log: bool = False
    #: Whether zero belongs to the axis, as it does for counts.
    zero: bool = False
    #: Limits of the axis, for shares.
    range: tuple[float, float] | None = None


@dataclass(frozen=True)
class Panel:
    """Rows below each other with a common x axis."""

    id: str
    title: str
    help: str
    rows: tuple[Row, ...]
    #: Statistics without any of which there is nothing to show, and why that is.
    needs: tuple[str, ...]
    absent: str
    #: Statistics without all of which `note` stands below the title.
    expects: tuple[str, ...] = ()
    note: str = ""
    #: Where the numbers are: of the loss, or of the evaluations.
    of: str = "loss"


SHARE = (0.0, 1.02)

PANELS: tuple[Panel, ...] = (
    Panel(
        id="loss",
        title="Loss",
        help="Of all steps since the record before, of the recorded step, and of the chosen class there.",
        rows=(
            Row(
                "loss",
                (
                    Line("interval_loss", "mean of all steps", BLACK),
                    Line("loss", "of the recorded step", GREY, "dash"),
                    Line("per_class_loss", "loss of the class", PINK, "dot"),
                ),
            ),
        ),
        needs=("loss", "per_class_loss"),
        absent="The loss did not report its value.",
    ),
    Panel(
        id="validation",
        title="Validation metrics",
        help="On the data given to log_eval. The average precision of chance is the positive rate.",
        rows=(
            Row(
                "share, 0 to 1",
                (
                    Line("average_precision", "average precision", BLUE),
                    Line("recall_at_budget", "recall at the budget", RED, "dash"),
                    Line("partial_auc", "partial AUC", ORANGE, "dashdot"),
                    Line("auroc", "AUROC", GREEN, "6px,3px"),
                    Line("recall_at_default", "recall at p ≥ 0.5 or argmax", PINK, "dot"),
                    Line("positive_rate", "positive rate", GREY, "dot"),
                ),
                range=SHARE,
            ),
        ),
        needs=("average_precision",),
        absent="No validation metrics were logged; call doctor.log_eval(scores, targets) after each epoch.",
        of="evaluations",
    ),
    Panel(
        id="thresholds",
        title="Threshold against the scores",
        help="Lines: medians; shaded: the middle 90 % of each side's scores in the pool.",
        rows=(
            Row(
                "score (logits)",
                (
                    Line(
                        "neg_score_quantiles.q50",
                        "negatives",
                        BLUE,
                        band=("neg_score_quantiles.q5", "neg_score_quantiles.q95"),
                    ),
                    Line(
                        "pos_score_quantiles.q50",
                        "positives",
                        RED,
                        band=("pos_score_quantiles.q5", "pos_score_quantiles.q95"),
                    ),
                    Line("threshold", "threshold θ", BLACK, "dash"),
                    Line("t_alpha", "upper edge of the band, t_alpha", BLACK, "dot"),
                    Line("t_beta", "lower edge of the band, t_beta", BLACK, "dash"),
                ),
            ),
        ),
        needs=("neg_score_quantiles.q50", "pos_score_quantiles.q50", "threshold", "t_beta"),
        absent="Score quantiles were not recorded for this loss.",
        expects=("threshold", "t_beta"),
        note="This loss has no threshold: the scores are shown alone.",
    ),
    Panel(
        id="positives",
        title="Positives",
        help="In the pool, in the live batch, and those of the batch that carry gradient.",
        rows=(
            Row("in the pool (rows)", (Line("pool_pos_count", "in the pool", BLUE),), zero=True),
            Row(
                "in the batch (rows)",
                (
                    Line("live_pos_count", "in the live batch", ORANGE),
                    Line("grad_pos_count", "with gradient", RED, "dot"),
                ),
                zero=True,
            ),
        ),
        needs=("pool_pos_count", "live_pos_count"),
        absent="The loss did not report its positives.",
    ),
    Panel(
        id="temperature",
        title="Temperature against the spread of scores",
        help="A temperature far above the spread sees ties; far below it, few positives carry gradient.",
        rows=(
            Row(
                "logits (log scale)",
                (
                    Line("score_iqr", "interquartile range of the scores", BLUE),
                    Line("tau_eff", "temperature, in logits", RED, "dash"),
                ),
                log=True,
            ),
            Row(
                "share, 0 to 1",
                (Line("saturation", "positives almost without slope", GREY),),
                range=SHARE,
            ),
        ),
        needs=("tau_eff",),
        absent="This loss has no temperature.",
    ),
    Panel(
        id="band",
        title="Negatives in the band",
        help="Independent negatives with a score between t_beta and t_alpha: the estimate rests on them.",
        rows=(
            Row("negatives (rows)", (Line("band_neg_count", "in the band", BLUE),), zero=True),
            Row("negatives (rows)", (Line("iid_neg_count", "that set the band", SKY),), zero=True),
        ),
        needs=("band_neg_count",),
        absent="Only the partial-AUC loss has a band of negatives.",
    ),
    Panel(
        id="gradient",
        title="Gradient at the logits",
        help="Its norm over the live positives and over the live negatives: what each side's rows pull with.",
        rows=(
            Row(
                "norm (log scale)",
                (
                    Line("pos_grad_norm", "of positives", RED),
                    Line("neg_grad_norm", "of negatives", BLUE),
                ),
                log=True,
            ),
        ),
        needs=("pos_grad_norm", "neg_grad_norm"),
        absent="No backward reached the logits of a watched forward.",
    ),
    Panel(
        id="probabilities",
        title="Predicted probabilities",
        help="Mean probability of the true label, and the positives' share of the summed loss.",
        rows=(
            Row(
                "probability or share",
                (
                    Line("mean_p_true_pos", "of positives", RED),
                    Line("mean_p_true_neg", "of negatives", BLUE),
                    Line("pos_loss_share", "positives' share of the loss", BLACK, "dash"),
                    Line("easy_share", "rows with p > 0.9", GREY, "dot"),
                ),
                range=SHARE,
            ),
        ),
        needs=("mean_p_true_pos", "mean_p_true_neg", "pos_loss_share"),
        absent="Only likelihood losses (focal, BCE, cross-entropy) predict probabilities.",
    ),
    Panel(
        id="ranking",
        title="Ranking of the pool",
        help="Share of positive-negative pairs in the right order. 0.5 is chance.",
        rows=(Row("AUROC of the pool", (Line("pool_auroc", "AUROC of the pool", GREEN),), range=SHARE),),
        needs=("pool_auroc",),
        absent="The AUROC of the pool was not recorded.",
    ),
    Panel(
        id="queue",
        title="Memory queue",
        help="How full it is, how old its oldest row, and its scores beside those of the live batch.",
        rows=(
            Row("share full", (Line("queue_fill", "fill", BLUE),), range=SHARE),
            Row("steps", (Line("queue_age", "age of the oldest row", ORANGE),), zero=True),
            Row(
                "score (logits)",
                (
                    Line("live_score_quantiles.q50", "median of the live batch", RED),
                    Line("queue_score_quantiles.q50", "median of the queue", BLUE, "dash"),
                ),
            ),
        ),
        needs=("queue_fill",),
        absent="This loss keeps no queue.",
    ),
)


#: Metrics of the user's own that get a row.
MOST_LOGGED = 6


def described(logged: Mapping[str, str] = MappingProxyType({})) -> list[dict[str, Any]]:
    """The panels as plain data, with one more for metrics that the user logged at steps: names by key."""
    shown = itertools.islice(logged.items(), MOST_LOGGED)
    rows = tuple(Row(name, (Line(key, name, BLUE),)) for key, name in shown)
    left = len(logged) - len(rows)
    more = f" {left} more are in the run log." if left > 0 else ""
    own = Panel("logged", "Logged metrics", f"Metrics given to doctor.step.{more}", rows, tuple(logged), "")
    return [asdict(panel) for panel in (*PANELS, *([own] if rows else []))]


def keys(of: str) -> frozenset[str]:
    """The statistics that panels of one origin draw."""
    drawn = (line for panel in PANELS if panel.of == of for row in panel.rows for line in row.lines)
    return frozenset(key for line in drawn for key in (line.key, *(line.band or ())))


def absent(available: Mapping[str, frozenset[str]]) -> dict[str, str]:
    """Panels that have nothing to show, and why, from the statistics that are there by origin."""
    return {p.id: p.absent for p in PANELS if not available[p.of].intersection(p.needs)}
