"""Which steps of a run leave a record of a loss, how much each record holds, and when the rules are asked.

The tiers, dearest last: the loss itself, at every step; counts, at every record; the scores (quantiles,
spreads, gradients), when the rules are asked, at every fifth; histograms, some tens of times a run.

Records are `every` steps apart at first. Most faults show in the first hundreds of steps, and what a rule
looks back on grows with the run, so records grow apart with it: by a tenth of their number, up to twenty
times `every`. A record costs one to two training steps of half a millisecond, a look at the scores five, and
the ten steps after either take longer, because it has emptied their caches: a few per cent of a short run of
such steps, and less of a long one.
Whoever asks for every step gets every step.
"""

from __future__ import annotations

from imbalance_doctor.examine.checkup import is_look
from imbalance_doctor.losses import diagnostics

Detail = diagnostics.Detail

#: Records that are `every` steps apart; from then on the gap grows with their number.
CLOSE_RECORDS = 20
GROWTH = 10
WIDEST = 20

#: Histograms over a run of known length: as many as a slider or a row of small panels shows.
HISTOGRAMS_A_RUN = 40
#: Looks from one histogram to the next where the length is unknown.
HISTOGRAM_EVERY = 2

#: Classes whose statistics are recorded at every `every` steps. With more of them records are rarer in
#: proportion: a record has some 14 numbers a class, and quantiles have 45 besides. 100,000 steps of 10
#: classes make a log of 1 MB, and 1,000 classes one of about 50 MB.
CLASSES_A_RECORD = 200


class Schedule:
    """The records of one watched loss. Steps are counted from 0 here, whatever the user calls them.

    Args:
        every: Steps from one record to the next at first, as configured.
        total_steps: Length of the run, where known.
        start: The first step.
    """

    def __init__(self, every: int, total_steps: int | None, start: int = 0) -> None:
        self.every = every
        #: The step that leaves the next record.
        self.due = start + -start % every
        #: Steps in a row that were due and left nothing.
        self.missed = 0
        self._records = 0
        self._earlier = 0  # records of a session that this one resumes
        self._histogram_due = 0
        self._between_histograms = 0 if total_steps is None else max(1, total_steps // HISTOGRAMS_A_RUN)
        self._scored = 0

    @property
    def detail(self) -> Detail:
        """What the next record is to hold."""
        if not is_look(self._earlier + self._records + 1):
            return Detail.COUNTS
        if self._between_histograms:
            return Detail.HISTOGRAMS if self.due >= self._histogram_due else Detail.SCORES
        return Detail.HISTOGRAMS if self._scored % HISTOGRAM_EVERY == 0 else Detail.SCORES

    def recorded(self, step: int) -> None:
        """A step has left something: the one that was due, or a later one where that one was missed."""
        detail = self.detail
        if detail is Detail.HISTOGRAMS:
            self._histogram_due = step + self._between_histograms
        self._scored += detail >= Detail.SCORES
        self.missed = 0
        self._records += 1
        grown = self._records // GROWTH if self._records >= CLOSE_RECORDS else 1
        self._wait(step, self.every * (min(grown, WIDEST) if self.every > 1 else 1))

    def passed(self, step: int) -> None:
        """A step that was due has left nothing: one of the next ones may, in which the loss is called."""
        self.missed += 1
        # A loss of every k-th step is met within k steps; of one that is never called, not every step is to
        # ask. One step more than `every`, so that the steps that ask are not always those without it.
        self._wait(step, 1 if self.missed <= self.every or self.every == 1 else self.every + 1)

    def _wait(self, step: int, gap: int) -> None:
        # Steps are missed where an exception, such as Ctrl-C, has cut the monitor short.
        self.due = max(self.due + gap, step + 1)

    def resume(self, records: int) -> None:
        """A session goes on from one with this many records, which the rules count along."""
        self._earlier = records

    def restart(self, step: int) -> None:
        """The loss is another one from this step on: all about it is of interest again."""
        self._records = self._earlier = 0
        self.due = min(self.due, step + -step % self.every)

    def widen(self, classes: int) -> bool:
        """Make room for this many classes; whether that makes records rarer."""
        factor = -(-classes // CLASSES_A_RECORD)
        if factor <= 1:
            return False
        self.due += self.every * (factor - 1)
        self.every *= factor
        return True
