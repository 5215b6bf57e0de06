"""Which steps of a run leave a record of a loss, and how much each record holds.

The tiers, dearest last: the loss itself at every step; counts at every record; quantiles and spreads of the
scores at the first records and then ever less often; histograms some tens of times a run.
"""

from __future__ import annotations

from losses.diagnostics import Detail

#: Records from the start (of the run, of a wrapper's phase, after a treatment) that all hold the scores:
#: most faults of a configuration show in the first hundred steps.
SCORES_AT_FIRST = 10

#: After those, the scores are taken again when the records have grown by a tenth, and at every tenth record
#: at the latest. They cost three to eight times what counts cost, and a distribution of thousands of scores
#: moves slowly.
SCORES_GROWTH = 10
SCORES_EVERY = 10

#: Histograms over a run of known length: as many as a slider or a row of small panels shows.
HISTOGRAMS_A_RUN = 40
#: Records from one histogram to the next where the length is unknown.
HISTOGRAM_EVERY = 10

#: Classes whose statistics are recorded at every `every` steps. With more of them records are rarer in
#: proportion: a record has some 14 numbers a class, and 100,000 steps of 10 classes are to stay below 20 MB.
CLASSES_A_RECORD = 50


class Schedule:
    """The records of one watched loss.

    Args:
        every: Steps from one record to the next, as configured.
        total_steps: Length of the run, where known.
    """

    def __init__(self, every: int, total_steps: int | None) -> None:
        self.every = every
        self._between_histograms = HISTOGRAM_EVERY
        if total_steps is not None:
            self._between_histograms = max(1, total_steps // every // HISTOGRAMS_A_RUN)
        self._records = 0  # since the start, for histograms
        self._fresh = 0  # since the last restart, for scores
        self._next_scores = 0

    def due(self, step: int) -> Detail:
        """What the step with this number, counted from 0, is to report."""
        if step % self.every:
            return Detail.LOSS
        if self._records % self._between_histograms == 0:
            return Detail.HISTOGRAMS
        return Detail.SCORES if self._fresh >= self._next_scores else Detail.COUNTS

    def recorded(self, detail: Detail) -> None:
        """A record of this detail was made."""
        self._records += 1
        self._fresh += 1
        if detail >= Detail.SCORES:
            gap = 1
            if self._fresh >= SCORES_AT_FIRST:
                gap = min(max(self._fresh // SCORES_GROWTH, 1), SCORES_EVERY)
            self._next_scores = self._fresh + gap - 1

    def restart(self) -> None:
        """The loss is another one from here on: its scores are of interest again."""
        self._fresh = self._next_scores = 0

    def widen(self, classes: int) -> bool:
        """Make room for this many classes; whether that made records rarer."""
        factor = -(-classes // CLASSES_A_RECORD)
        if factor <= 1:
            return False
        self.every *= factor
        return True
