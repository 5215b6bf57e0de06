"""Every statistic that a record may hold: those of the losses' catalogue, and those that the monitor adds.

What else knows a statistic by a property of it, and not by what it says, follows from here.
"""

from __future__ import annotations

from collections.abc import Mapping

from imbalance_doctor.losses import catalogue

Detail = catalogue.Detail
Stat = catalogue.Stat

#: The statistics that the monitor computes.
CATALOGUE: tuple[Stat, ...] = (
    Stat(
        "interval_loss",
        "scalar",
        "loss",
        "Mean loss of all training forwards since the previous record, this one included; nan or infinite if "
        "one of them was. Recorded for the losses of this package, where it costs nothing.",
        Detail.LOSS,
        panel="loss",
        rank_local=True,
    ),
)

#: All of them, by name.
STATISTICS: Mapping[str, Stat] = {stat.name: stat for stat in (*catalogue.CATALOGUE, *CATALOGUE)}

#: Those that differ between ranks although they gather; the others are rank 0's to record.
RANK_LOCAL = frozenset(name for name, stat in STATISTICS.items() if stat.rank_local)

#: Those of the warmup wrapper itself; all others of its records come from the loss it had active.
SCHEDULE_STATS = frozenset(name for name, stat in STATISTICS.items() if stat.of_wrapper)

#: Those that are the loss, of one forward or of several.
LOSSES = frozenset(name for name, stat in STATISTICS.items() if stat.detail is Detail.LOSS)

#: The score histograms: of positives, of negatives, and the edges of their bins.
SCORE_HISTOGRAMS = ("pos_score_hist", "neg_score_hist", "score_hist_edges")

#: A mark beside the statistics of a forward, in no record: whether the loss is nan because no target of the
#: batch counts, so that it has none.
EMPTY = "empty"
