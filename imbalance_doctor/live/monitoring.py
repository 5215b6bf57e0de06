"""The monitoring of one run from the inside: what each call of a `Doctor` does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import Any

import torch
from torch import nn

from imbalance_doctor.findings import Diagnosis, Finding
from imbalance_doctor.guard import Guard, attempt, failures
from imbalance_doctor.live.boundary import Failures, Turns
from imbalance_doctor.live.journal import Journal
from imbalance_doctor.live.listening.watcher import Handle, Watcher
from imbalance_doctor.live.listening.watchers import Watchers
from imbalance_doctor.live.session import Checkpoint, Session
from imbalance_doctor.live.ticker import Ticker
from imbalance_doctor.live.treatment import apply, revert
from imbalance_doctor.live.validation.validated import validated
from imbalance_doctor.log.run import Run
from imbalance_doctor.records import MOST_STEPS, EndRecord, EvalRecord, Record, TreatmentRecord, WatchRecord


class Monitoring:
    """Takes what the watched losses leave in a step, puts it down, and keeps what is to be told.

    Each of its methods is one of `boundary.Turns`: one at a time, and after one that was cut short comes
    `tidy`.

    Args:
        journal: Where records go.
        watchers: The watched losses.
        session: Where the run stands.
        clock: Started where a record waits.
        said: What has failed.
        optimizer: Whose learning rate is kept beside the records; None for nobody's.
    """

    def __init__(
        self,
        journal: Journal,
        watchers: Watchers,
        session: Session,
        clock: Ticker,
        said: Failures,
        optimizer: torch.optim.Optimizer | None,
    ) -> None:
        self._journal, self._watchers, self._session, self._clock = journal, watchers, session, clock
        self._said, self._optimizer = said, optimizer
        #: Whether nothing is recorded any more.
        self.closed = False
        self._changed: list[Finding] = []  # since somebody was told
        self._treatments: list[str] = []  # of this session, in words
        self._tidying = Guard("recovering from an interruption", "findings may be missing")

    # --- what the loop calls ----------------------------------------------------------------------------

    def watch(self, loss_fn: nn.Module, name: str | None) -> None:
        """Listen to a loss."""
        watcher = self._watchers.add(loss_fn, name, self._session.steps)
        self._session.wake_up()
        if self._session.step is not None:  # others are put on record at the first step
            self._put_on_record(watcher, self._session.step)

    def step(self, step: int | None, metrics: Mapping[str, Any]) -> None:
        """Put down what a step has left that is over, and was counted."""
        session = self._session
        if self.closed or not self._is_the_run():
            return
        current = session.steps - 1
        number = session.number(step)
        if session.begins:
            self._begin(number)
        session.step = number
        drafts, may_wait = self._watchers.take(current, number, partial(self._numbers, metrics))
        self._journal.wait(drafts)
        if not may_wait:
            self.settle()
        elif self._journal.waits:
            self._clock.start()
        if not self.closed:  # by the handler of a signal, in the middle of this
            self._arm()
        self._said.went_well()

    def evaluate(self, scores: Any, targets: Any, step: int | None, budget: float | None) -> None:
        """Put down an evaluation."""
        if self.closed or not self._is_the_run():
            return
        self.settle()  # millions of rows take longer than a record may wait
        windows = self._journal.checkup.history.windows()
        metrics, remarks = validated(scores, targets, budget, self._watchers, windows)
        for remark in remarks:
            self._journal.remark(remark.kind, remark.text, aloud=remark.aloud)
        number = None
        if step is not None:
            number = self._session.known(step, "the evaluation is recorded at the newest step")
        if self._session.step is None:
            self._session.keep(number, metrics)
        else:
            self._take(EvalRecord(self._session.step if number is None else number, metrics))

    def treat(self, finding: Finding) -> TreatmentRecord | None:
        """Apply a prescription; None where it changes nothing."""
        watcher = self._treatable(finding.code, finding.loss)
        change = apply(finding, watcher.module)
        if change is None:
            return None
        assert finding.prescription is not None  # or `apply` had raised
        return self._treated(watcher, finding.code, finding.prescription["parameter"], change)

    def undo(self, treatment: TreatmentRecord) -> TreatmentRecord:
        """Take a treatment back."""
        watcher = self._treatable(treatment.code, treatment.loss.name)
        change = revert(treatment, watcher.module)
        return self._treated(watcher, treatment.code, treatment.parameter, change)

    def go_on_from(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint with the next step."""
        if not self.closed:
            self._session.go_on_from(checkpoint)

    def end(self, complete: bool) -> None:
        """Put down the rest, and listen no more."""
        session = self._session
        if self.closed:
            return
        if not self._journal.is_ours and session.step is not None:
            self.closed = True  # a forked worker, and not the run
            return
        if session.step is None and session.evaluated_early:
            first = session.after_the_end(self._journal.next_step())
            self._begin(first)
            session.step = max(first - 1, 0)
        self.settle()
        if complete and session.step is not None:
            self._take(EndRecord(session.step))
        self._clock.stop()
        self._watchers.remove()
        self._journal.close()
        self.closed = True

    def give_up(self) -> None:
        """Leave the training loop alone: what fails each time would cost time at each step."""
        self.closed = True
        self._session.sleep_until(MOST_STEPS)
        self._clock.stop()
        self._watchers.let_go()

    # --- what it has to say -----------------------------------------------------------------------------

    def opened(self) -> list[Finding]:
        """Findings that have opened or grown graver since this was last asked."""
        changed, self._changed = self._changed, []
        return [finding for finding in changed if finding.status == "open"]

    def findings(self) -> tuple[Finding, ...]:
        """Every finding so far."""
        self.settle()
        return self._journal.checkup.findings

    def diagnosis(self) -> Diagnosis:
        """The state of every rule."""
        self.settle()
        heard = failures(*self._watchers.guards, self._tidying)
        notes = (*heard, *self._said.notes, *self._journal.notes)
        source = str(self._journal.run_dir or "this process")
        found = self._journal.checkup.diagnosis(source=source, notes=notes)
        return replace(found, treatments=tuple(self._treatments))

    def run(self) -> Run:
        """The run so far."""
        self.settle()
        return self._journal.run

    # --- between the calls ------------------------------------------------------------------------------

    def settle(self) -> None:
        """Put down what waits. Findings are told at the next step."""
        self._tell_later(self._journal.settle())

    def tidy(self) -> None:
        """A call was cut short: go on from what is on record."""
        self._tidying(self._tidy)

    def _tidy(self) -> None:
        self._tell_later(self._journal.recover())
        session = self._session
        if session.step is not None and not session.begins:
            for watcher in self._watchers:  # one may have been put under watch, or treated, off the record
                self._take(WatchRecord(session.step, watcher.info))
        session.wake_up()  # whatever is due by now, the next step sees to it

    def _is_the_run(self) -> bool:
        """Whether this process is the one that trains: a forked worker is not."""
        if self._journal.is_ours:
            return True
        if self._session.step is None:  # made before a launcher, or a daemon, has forked: the run is here
            self._journal.move_here()
            return True
        self._said.say(
            "fork",
            "this process was forked from the one that created the Doctor after its run had begun, so "
            "nothing in this process is recorded. Create the Doctor in the process that trains",
        )
        return False

    def _begin(self, step: int) -> None:
        """The first step of a session is known: open the journal, and put on record what came before it."""
        goes_back = self._session.step is not None
        self._journal.begin(step, self._session.resumed)
        if goes_back:
            self._watchers.restart(self._session.steps)
        for watcher in self._watchers:
            self._put_on_record(watcher, step)
        for record in self._session.early(step):
            self._take(record)
        self._session.begun()

    def _put_on_record(self, watcher: Watcher, step: int) -> None:
        watcher.take_part(self._journal.info.rank)
        self._take(WatchRecord(step, watcher.info))
        watcher.resume(self._journal.checkup.history.records_of(watcher.name))

    def _treatable(self, code: str, loss: str) -> Watcher:
        watcher = self._watchers.get(loss)
        if watcher is None:
            raise ValueError(
                f"expected a finding about a loss that this doctor watches, got {code} about {loss!r}"
            )
        if self.closed:
            raise ValueError(
                "expected an open doctor, got a closed one: treat a finding, or undo, before doctor.close()"
            )
        return watcher

    def _treated(
        self, watcher: Watcher, code: str, parameter: str, change: tuple[Any, Any]
    ) -> TreatmentRecord:
        session = self._session
        record = TreatmentRecord(session.step or 0, watcher.info, code, parameter, *change)
        if session.step is not None:
            self._take(record)
        self._treatments.append(f"{record.loss.name}: {record}")
        watcher.restart(session.steps)
        self._arm()
        return record

    def _arm(self) -> None:
        """A step is about to begin: sleep until one is due, unless there is something to tell."""
        due = self._watchers.arm(self._session.steps)
        if not self._changed:
            self._session.sleep_until(due)

    def _take(self, record: Record) -> None:
        self._tell_later(self._journal.take(record))

    def _tell_later(self, changed: Sequence[Finding]) -> None:
        self._changed += changed
        if self._changed:
            self._session.wake_up()

    def _numbers(self, given: Mapping[str, Any]) -> dict[str, float]:
        """The numbers to keep beside a record."""
        read: dict[str, Callable[[], Any]] = {name: partial(float, value) for name, value in given.items()}
        optimizer = self._optimizer
        if optimizer is not None:
            read.setdefault("lr", lambda: float(optimizer.param_groups[0]["lr"]))
        found = {name: attempt(number) for name, number in read.items()}
        unread = [name for name, number in found.items() if number is None]
        if unread:
            self._journal.remark(
                "metrics",
                f"expected metrics given to step to be numbers, got others for {', '.join(unread)}, which "
                "are left out",
            )
        return {name: number for name, number in found.items() if number is not None}


def let_go(handles: Sequence[Sequence[Handle]], journal: Journal, turns: Turns, clock: Ticker) -> None:
    """End what a doctor has set up, without holding the doctor, or a loss that may know it."""
    clock.stop()
    for handle in chain(*handles):
        handle.remove()
    turns.take(journal.close)
    journal.join()
