"""IMB501: the ranking loss took over from a model that ranks hardly better than chance."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from imbalance_doctor.history import Window
from imbalance_doctor.rules.base import Evidence, Rule, Verdict, threshold
from imbalance_doctor.rules.measures.phases import chance, lift, switch_step, validation
from imbalance_doctor.rules.measures.pool import round_up

#: Main losses whose gradient needs an order to begin with, as a text calls them.
NAMES = {"recall_at_quantile": "Recall@Quantile", "pauc_at_budget": "partial AUC"}


@dataclass(frozen=True)
class WarmupTooShort(Rule):
    """The warmup ended before the model could rank.

    ## Symptom
    Average precision is below 0.3 at the end of the warmup.

    ## Cause
    The warmup loss had too few steps, or too few positives, to bring up the order of the scores. BCE at a
    rate of 2 % spends its first steps on moving all scores to the log-odds of the rate, and leaves them
    there, close together.

    ## Remedy
    Begin with Smooth-AP at once, where that is the main loss. Weighting the positives in the warmup loss
    (`pos_weight` of about one over the rate) helped on one of two data sets. A longer warmup of the same kind
    does not help.

    ## Evidence
    Average precision, with chance as 0 and perfection as 1, is below 0.3 at the last evaluation before the
    switch, which is no further back than a quarter of the warmup or 5 records, and below half of the best
    since (or at chance): where no loss gets above .23, .15 is no early end. It resolves where the best one
    since is above 0.3, 5 records after the switch at the soonest.

    Smooth-AP at a rate of 2 %, batch 128, 400 steps of Adam, seed 0; AP at the end:

    | warmup with BCE | AP after 50 steps of it | none: AP | 10 steps | 50 | 200 | 50, `pos_weight=50` |
    |---|---|---|---|---|---|---|
    | digits | .16 | .94 | .69 | .85 | .78 | .73 |
    | sequences | .02 | .37 | .35 | .25 | .24 | .39 |

    So length is not what matters: the best length was none, and where a short warmup ended low, a longer one
    ended low as well. What harms is a warmup that leaves all scores close together at the log-odds of a low
    rate; the ranking loss then needs many steps to find its way out. Weighting the positives prevented that
    on sequences (.39 against .25); on digits, where 50 steps without a weight did less harm, AP was lower
    with the weight (.73 against .85).

    The published advice (AP of 0.3 before the switch) is kept as the border. 25 of 160 ordinary runs are
    below it, most of them young, rare or slow, and lose nothing: information, not a warning.

    ## Known problems
    Data that no loss can rank better looks the same.

    ## References
    Brown et al., *Smooth-AP*, ECCV 2020 (trained from pretrained features).
    """

    code = "IMB501"
    name = "warmup-too-short"
    severity = "info"
    kinds = frozenset({"warmup_wrapper"})
    requires = ("phase",)
    requires_eval = ("average_precision", "positive_rate")
    min_records = 2
    explained_by = ("IMB001",)

    symptom = (
        "average precision was {at_switch:.2f} at step {evaluated:.0f}, before the warmup ended at step "
        "{switch:.0f}; the best since is {best:.2f}, and chance is {chance:.2g}."
    )
    cause = "the warmup loss had not yet ranked positives above negatives when the ranking loss took over."
    remedy = (
        "begin with Smooth-AP at once if it is the main loss. Weighting the positives in the warmup loss "
        "(pos_weight of about {weight:,.0f}) may help: it did on one of two data sets. A longer warmup of "
        "the same kind does not."
    )
    thresholded_remedy = (
        "keep the warmup loss beside {main_loss} (final_main_weight below 1), which needs an order to begin "
        "with. Weighting its positives (pos_weight of about {weight:,.0f}) may help: it did on one of two "
        "data sets."
    )

    ready: float = threshold(
        0.3,
        "Average precision at the switch, between 0 for chance and 1, below which the order was not there: "
        "the published advice.",
    )
    part: float = threshold(
        0.5,
        "Share of the best average precision since, from which the warmup had done its part: where no loss "
        "gets above .23, .15 is no early end.",
    )
    nothing: float = threshold(
        0.1,
        "Average precision on that scale, up to which nothing has been learnt since either: a share of it is "
        "noise.",
    )
    stale: float = threshold(
        0.25,
        "Share of the warmup that an evaluation may lie back and still tell how it ended: an older one has "
        "not seen that.",
    )
    records: int = threshold(
        5,
        "Records after the switch during which it is reported even if the order has come since: with a good "
        "main loss it comes within 10 steps, and looks are further apart.",
    )

    def examine(self, window: Window) -> Verdict:
        """Compare average precision before the switch and now with the border."""
        precision = validation(window)
        switch = switch_step(window)
        if switch is None or not len(precision):
            return []
        before = int(np.searchsorted(precision.steps, switch)) - 1
        if before < 0:
            return []
        soon = self.records * window.run.every
        lies_back = switch - int(precision.steps[before])
        rate = chance(window)
        at_switch = float(lift(precision.values[before], rate))
        if lies_back > max(self.stale * (switch - window.run.start_step), soon) or at_switch >= self.ready:
            return []
        since = precision.values[before + 1 :]
        best = float(lift(since.max(), rate)) if len(since) else math.nan
        if best > self.nothing and at_switch > self.part * best:
            return []
        if best >= self.ready and window.step > switch + soon:
            return []
        main = window.loss.main.kind if window.loss.main else ""
        return [
            Evidence(
                {
                    "at_switch": precision.values[before],
                    "evaluated": precision.steps[before],
                    "switch": switch,
                    "best": precision.values[before:].max(),
                    "chance": rate,
                    "weight": round_up(1.0 / max(rate, 1e-6)),
                },
                remedy=self.thresholded_remedy.replace("{main_loss}", NAMES[main]) if main in NAMES else None,
            )
        ]
