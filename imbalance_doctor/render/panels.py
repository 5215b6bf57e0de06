"""What the page and TensorBoard draw: panels, their rows, the lines of each row, and charts.

A statistic is shown with the family that its catalogue names: in TensorBoard in the family's group, on the
page in the family's panel. What a panel draws by name may be of any family; every other statistic gets a row
of its own. `page.js` draws the panels, `tensorboard` the groups and charts.
"""

from __future__ import annotations

import itertools
from collections.abc import Container, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from types import MappingProxyType
from typing import Any

from imbalance_doctor.scores import metrics
from imbalance_doctor.statistics import STATISTICS, Stat

#: What is known of what is drawn, by where it comes from: the records of a loss, or the evaluations.
CATALOGUES: Mapping[str, Mapping[str, Stat]] = {"loss": STATISTICS, "evaluations": metrics.CATALOGUE}

#: TensorBoard's groups by family, numbered because it sorts them by name. The last two are no loss's.
GROUPS: Mapping[str, str] = {
    "loss": "1 loss",
    "positives": "2 positives",
    "scores": "3 scores",
    "temperature": "4 temperature",
    "threshold": "5 threshold",
    "pool": "6 pool",
    "schedule": "7 schedule",
    "gradient": "8 gradient",
    "logged": "9 logged",
    "validation": "validation",
}

#: What TensorBoard calls what it does not call by its key.
NAMES: Mapping[str, str] = {
    "pos_score_quantiles.q50": "median_positive",
    "neg_score_quantiles.q50": "median_negative",
    "pos_score_hist": "positives",
    "neg_score_hist": "negatives",
}

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
class Chart:
    """Lines that TensorBoard draws together."""

    title: str
    #: A statistic without which there is no chart.
    needs: str
    keys: tuple[str, ...]


@dataclass(frozen=True)
class Panel:
    """Rows below each other with a common x axis."""

    id: str
    title: str
    help: str
    #: Those that are drawn by name; the rest of the family follows.
    rows: tuple[Row, ...] = ()
    #: Statistics without any of which there is nothing to show, and why that is.
    needs: tuple[str, ...] = ()
    absent: str = ""
    #: Statistics without all of which `note` stands below the title.
    expects: tuple[str, ...] = ()
    note: str = ""
    #: Where the numbers are: of the loss, or of the evaluations.
    of: str = "loss"
    #: The family that it shows.
    family: str = ""
    #: Statistics of the family that have no line on the page.
    unseen: tuple[str, ...] = ()
    #: Charts in TensorBoard: the first whose statistic was recorded.
    charts: tuple[Chart, ...] = ()


SHARE = (0.0, 1.02)

#: What charts of scores show.
_MEDIANS = ("pos_score_quantiles.q50", "neg_score_quantiles.q50")
_THRESHOLDS = ("threshold", "t_alpha", "t_beta", *_MEDIANS)

#: What is drawn by name.
BY_NAME: tuple[Panel, ...] = (
    Panel(
        id="loss",
        family="loss",
        title="Loss",
        help="The mean since the previous record; of the recorded step, the whole and the chosen class.",
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
        unseen=("nonfinite_count",),  # a finding marks it at once (IMB001)
    ),
    Panel(
        id="validation",
        family="validation",
        title="Validation metrics",
        help="On the data given to log_eval. Random scores have an average precision of the positive rate.",
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
        # Calibration is shown by what the rules say of it.
        unseen=("calibration_error", "mean_probability", "precision_at_default", "accuracy_at_default"),
        charts=(
            Chart(
                "validation",
                "average_precision",
                ("average_precision", "auroc", "recall_at_budget", "partial_auc"),
            ),
        ),
    ),
    Panel(
        id="thresholds",
        family="threshold",
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
        note="This loss has no threshold: only the scores are shown.",
        charts=(
            Chart("threshold and scores", "threshold", _THRESHOLDS),
            Chart("band and scores", "t_beta", _THRESHOLDS),
            Chart("medians of the scores", "pos_score_quantiles", _MEDIANS),
        ),
    ),
    Panel(
        id="positives",
        family="positives",
        title="Positives",
        help="Positives in the pool, in the live batch, and those of the batch that carry gradient.",
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
        charts=(
            Chart("positives", "pool_pos_count", ("pool_pos_count", "live_pos_count", "grad_pos_count")),
        ),
    ),
    Panel(
        id="temperature",
        family="temperature",
        title="Temperature against the spread of scores",
        help="Far above the spread, scores look tied; far below it, few positives carry gradient.",
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
        unseen=("temperature",),  # tau_eff is the same in the scores' unit
        charts=(Chart("temperature and spread of scores", "tau_eff", ("score_iqr", "tau_eff")),),
    ),
    Panel(
        id="band",
        title="Negatives in the band",
        help="Iid negatives with a score between t_beta and t_alpha. The loss is estimated from them.",
        rows=(
            Row("negatives (rows)", (Line("band_neg_count", "in the band", BLUE),), zero=True),
            Row("negatives (rows)", (Line("iid_neg_count", "that set the band", SKY),), zero=True),
        ),
        needs=("band_neg_count",),
        absent="Only the partial-AUC loss has a band of negatives.",
    ),
    Panel(
        id="gradient",
        family="gradient",
        title="Gradient at the logits",
        help="Its norm over the live positives and over the live negatives: how strongly each side pulls.",
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
        charts=(Chart("gradient at the logits", "pos_grad_norm", ("pos_grad_norm", "neg_grad_norm")),),
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
        charts=(
            Chart("probability of the true label", "mean_p_true_pos", ("mean_p_true_pos", "mean_p_true_neg")),
        ),
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
        id="scores",
        family="scores",
        title="Scores of the pool",
        help="Other statistics of the pool's scores.",
        absent="No other statistics of the scores were recorded.",
    ),
    Panel(
        id="queue",
        family="pool",
        title="Memory queue",
        help="How full it is, how old its oldest row is, and its scores beside those of the live batch.",
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
        absent="This loss has no queue.",
        unseen=("pool_size",),  # the batch and the queue, whose fill is drawn
    ),
    Panel(
        id="schedule",
        family="schedule",
        title="Warmup schedule",
        help="Other statistics of the warmup wrapper.",
        absent="This loss has no warmup.",
        unseen=("phase", "main_weight"),  # every panel marks where the phase changes
    ),
)


def _key(stat: Stat) -> str:
    """The key of a statistic's line; that of quantiles is their median's."""
    return f"{stat.name}.q50" if "quantile" in stat.axes else stat.name


def _drawn(panels: Iterable[Panel], of: str) -> frozenset[str]:
    """The keys that panels draw of one origin."""
    lines = (line for panel in panels if panel.of == of for row in panel.rows for line in row.lines)
    return frozenset(key for line in lines for key in (line.key, *(line.band or ())))


def _row(stat: Stat) -> Row:
    """The row of a statistic that no panel draws by name."""
    label, unit = stat.name.replace("_", " "), stat.unit.removesuffix(", 0-1")
    band = (f"{stat.name}.q5", f"{stat.name}.q95") if "quantile" in stat.axes else None
    return Row(
        f"{label} ({unit})",
        (Line(_key(stat), label, BLUE, band=band),),
        zero=unit == "rows",
        range=SHARE if unit in ("share", "probability") else None,
    )


def _completed(panel: Panel) -> Panel:
    """The panel with the rest of its family."""
    elsewhere = {*_drawn(BY_NAME, panel.of), *panel.unseen}
    rest = [
        stat
        for stat in CATALOGUES[panel.of].values()
        if panel.family == stat.panel != "" and not elsewhere & {_key(stat), stat.name}
        if "bin" not in stat.axes  # histograms are a figure of their own
    ]
    return replace(panel, rows=(*panel.rows, *map(_row, rest)), needs=(*panel.needs, *map(_key, rest)))


def _tags(stats: Iterable[Stat]) -> dict[str, str]:
    """What TensorBoard calls the statistics that it draws, by key."""
    groups = {_key(stat): GROUPS[stat.panel] for stat in stats if stat.panel}
    return {key: f"{group}/{NAMES.get(key, key)}" for key, group in groups.items()}


#: The panels of the page, in its order.
PANELS: tuple[Panel, ...] = tuple(panel for panel in map(_completed, BY_NAME) if panel.rows)

#: TensorBoard's tags of lines by key, and of histograms by name, without the name of the loss.
LINES = _tags(stat for stat in STATISTICS.values() if "bin" not in stat.axes)
HISTOGRAMS = _tags(stat for stat in STATISTICS.values() if "bin" in stat.axes)

#: Metrics of evaluations that TensorBoard does not draw, because they describe the data and not the model.
NOT_DRAWN = frozenset(name for name, metric in metrics.CATALOGUE.items() if not metric.panel)

#: Metrics of the user's own that get a row.
MOST_LOGGED = 6


def described(logged: Mapping[str, str] = MappingProxyType({})) -> list[dict[str, Any]]:
    """The panels as plain data, with one more for metrics that the user logged at steps: names by key."""
    shown = itertools.islice(logged.items(), MOST_LOGGED)
    rows = tuple(Row(name, (Line(key, name, BLUE),)) for key, name in shown)
    left = len(logged) - len(rows)
    more = f" {left} more are in the run log." if left > 0 else ""
    own = Panel("logged", "Logged metrics", f"Metrics given to doctor.step.{more}", rows, tuple(logged))
    return [_for_the_page(panel) for panel in (*PANELS, *([own] if rows else []))]


def _for_the_page(panel: Panel) -> dict[str, Any]:
    """What `page.js` is told of a panel."""
    return {
        name: value for name, value in asdict(panel).items() if name not in ("family", "unseen", "charts")
    }


def keys(of: str) -> frozenset[str]:
    """The statistics that panels of one origin draw."""
    return _drawn(PANELS, of)


def absent(available: Mapping[str, frozenset[str]]) -> dict[str, str]:
    """Panels that have nothing to show, and why, from the statistics that are there by origin."""
    return {p.id: p.absent for p in PANELS if not available[p.of].intersection(p.needs)}


def charts(of: str, recorded: Container[str]) -> list[Chart]:
    """The charts of one origin for which there is what they need."""
    found = (
        next((chart for chart in panel.charts if chart.needs in recorded), None)
        for panel in PANELS
        if panel.of == of
    )
    return [chart for chart in found if chart is not None]
