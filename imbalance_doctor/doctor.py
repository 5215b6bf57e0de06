"""`Doctor`: watches the losses of a training loop, records, examines, and speaks up."""

from __future__ import annotations

import operator
import os
import platform
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from functools import partial
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import torch
from torch import nn

from imbalance_doctor import declared
from imbalance_doctor.announce import OnFinding, announcer
from imbalance_doctor.boundary import Turns, guarded
from imbalance_doctor.evaluation import Evaluation
from imbalance_doctor.findings import Diagnosis, Finding, ImbalanceError
from imbalance_doctor.guard import Guard, attempt, described, failures, from_outside, warn
from imbalance_doctor.journal import Journal, TensorBoardTarget
from imbalance_doctor.losses import kinds
from imbalance_doctor.metrics import (
    DEFAULT_BUDGET,
    IGNORED,
    IGNORED_ROWS,
    METRICS,
    UNLABELLED,
    flat,
    measured,
    sheet_of,
)
from imbalance_doctor.probabilities import are_probabilities, as_logits, unlike_training
from imbalance_doctor.recorder import Handle, Watcher
from imbalance_doctor.records import (
    MOST_STEPS,
    Array,
    EndRecord,
    EvalRecord,
    Record,
    RunInfo,
    TreatmentRecord,
    WatchRecord,
    as_array,
    whole,
)
from imbalance_doctor.rules.base import Rule
from imbalance_doctor.run import Run
from imbalance_doctor.runlog import LogError
from imbalance_doctor.selection import as_list, changed_thresholds, choose_rules
from imbalance_doctor.ticker import Ticker
from imbalance_doctor.treatment import apply, revert
from imbalance_doctor.watchers import Watchers

#: Version of `Doctor.state_dict`. 1: the first one.
STATE = 1

T = TypeVar("T")

#: Seconds that a record waits for the next one before it is put down without it. With the ticks of the clock
#: that looks at it (see `ticker`) it is on disk within the two seconds that are promised.
LONGEST_WAIT = 1.0

#: Calls of the loop that fail in a row, after which the monitor leaves it alone: one may be bad luck.
MOST_IN_A_ROW = 3


class Doctor:
    """Monitors the losses of one training run.

    It never ends a run that would have gone on: a part of it that fails (a full disk, a rule that raises)
    warns once and is switched off. Only ``on_finding="raise"`` raises.

    Args:
        run_dir: Where the run log goes (see `load_run`). None keeps everything in memory.
        every: Steps from one record to the next. The loss itself is followed at every step; records grow
            apart as the run grows, up to twenty times this, and quantiles and histograms are in some of them
            only (see `imbalance_doctor.schedule`). 1 records every step to the end, to look into a fault.
        total_steps: Length of the run, where known: some rules judge by the share of it that is over.
        population_positive_rate: Share of positives where the model will be used; one number for a binary
            task, one for each class otherwise (a list, an array, a tensor).
        class_names: Names of the classes, for findings and reports: in order (a list, an array, a Series), or
            by class id as in a model's ``id2label``, where ids may be text and need not be complete.
        select: Codes, names or code prefixes of the only rules to apply.
        ignore: Codes, names or code prefixes of rules to leave out.
        on_finding: ``"warn"`` (an `ImbalanceWarning` for warnings and errors), ``"log"`` (the logger
            ``imbalance_doctor``), ``"raise"`` (an `ImbalanceError` for errors), or a callable that is given
            each `Finding`.
        tensorboard: True to write TensorBoard files into `run_dir`, a directory, or a ``SummaryWriter``.
        rules: Rules with thresholds of your own; each replaces the one of the same code.
        optimizer: Where given, its learning rate (that of its first group) is recorded as ``lr``.
        target_metric: The validation metric that the run is for, one of `imbalance_doctor.metrics.METRICS`,
            such as ``"average_precision"``; some rules ask whether the loss serves it.

    Raises:
        TypeError: One of `rules` is no rule.
        ValueError: An argument is out of range, or `select` or `ignore` names no rule.

    Example:
        >>> with Doctor("runs/fraud-01", total_steps=20_000) as doctor:
        ...     doctor.watch(loss_fn)
        ...     for x, y in loader:
        ...         loss = loss_fn(model(x), y)
        ...         loss.backward(); optimizer.step(); optimizer.zero_grad()
        ...         doctor.step()
        >>> print(doctor.diagnosis)
    """

    def __init__(
        self,
        run_dir: str | Path | None,
        *,
        every: int = 10,
        total_steps: int | None = None,
        population_positive_rate: declared.Rates | None = None,
        class_names: declared.ClassNames | None = None,
        select: str | Sequence[str] | None = None,
        ignore: str | Sequence[str] | None = None,
        on_finding: OnFinding = "warn",
        tensorboard: TensorBoardTarget = None,
        rules: Sequence[Rule] | None = None,
        optimizer: torch.optim.Optimizer | None = None,
        target_metric: str | None = None,
    ) -> None:
        every = _steps(every, "every")
        total_steps = None if total_steps is None else _steps(total_steps, "total_steps")
        if tensorboard is True and run_dir is None:
            raise ValueError(
                "tensorboard=True writes into run_dir, which is None; "
                "give a run_dir or a TensorBoard directory"
            )
        if target_metric is not None and target_metric not in METRICS:
            raise ValueError(
                f"expected target_metric to be one of {', '.join(METRICS)}; got {target_metric!r}"
            )
        rate = None
        if population_positive_rate is not None:
            rate = declared.rates(population_positive_rate, "population_positive_rate")
        self.run_dir = None if run_dir is None else _resolved(Path(run_dir))
        self.every = every
        self._announce = announcer(on_finding)
        chosen = choose_rules(rules, select=select, ignore=ignore)
        info = RunInfo(
            every=every,
            total_steps=total_steps,
            population_positive_rate=rate,
            class_names=declared.class_names(class_names),
            target_metric=target_metric,
            started=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            versions={"python": platform.python_version(), "torch": str(torch.__version__)},
            rules={
                "select": None if select is None else as_list(select),
                "ignore": None if ignore is None else as_list(ignore),
                "thresholds": changed_thresholds(chosen),
            },
        )
        self._journal = Journal(info, chosen, self.run_dir, tensorboard)
        self._watchers = Watchers(every, total_steps, self._journal.note, self.run_dir)
        self._optimizer = optimizer
        self._turns = Turns(self._tidy)
        self._ticker = Ticker(self._tick)
        # For whoever never closes: at the end of this doctor, or of its process.
        weakref.finalize(self, _let_go, self._watchers.handles, self._journal, self._turns, self._ticker)
        self._steps = 0  # calls of `step`, which is what the schedule counts
        self._step: int | None = None  # the newest step's number
        self._before: int | None = None  # the newest one of the session that this one resumes
        self._resumed: list[Finding] = []  # findings of that session
        self._goes_back = False  # to a checkpoint of the session itself
        self._early: list[tuple[int | None, dict[str, Array]]] = []  # evaluations before the first step
        self._unspoken: list[Finding] = []  # opened since the last step, by records that somebody read
        self._untold: list[Finding] = []  # opened and told since the last step, by an evaluation
        self._treatments: list[str] = []  # of this session, in words
        self._closed = False
        self._copied = False  # whether it came out of a file, or from another process, and has not said so
        self._warned_of_numbers = False
        self._remarked: set[str] = set()  # kinds of remarks that were made
        self._in_a_row = 0  # calls that have failed, without a step that went well between them
        self._failures: dict[str, str] = {}  # what has failed, and what was lost
        self._tidying = Guard("going on after an interruption", "findings may be missing")

    # --- watching ---------------------------------------------------------------------------------------

    @guarded("watch", "this loss is not watched", lambda self: None, passes=(TypeError, ValueError))
    def watch(self, loss_fn: nn.Module, name: str | None = None) -> None:
        """Listen to a loss: one of `losses`, a plain torch loss, or any module called ``(logits, targets)``.

        Args:
            loss_fn: The loss.
            name: What to call it in findings; its kind by default.

        Raises:
            TypeError: `loss_fn` is not a module.
            ValueError: The name is taken, or the loss is watched already.
        """
        self._turns.ask(self._watch, loss_fn, name)

    def _watch(self, loss_fn: nn.Module, name: str | None) -> None:
        watcher = self._watchers.add(loss_fn, name, self._steps)
        if self._step is not None:  # others are put on record at the first step
            self._tell_later(self._put_on_record(watcher, self._step))

    # --- the loop ---------------------------------------------------------------------------------------

    def step(self, step: int | None = None, **metrics: float) -> list[Finding]:
        """Say that a training step is over.

        Args:
            step: Its number; counted from 0 by default. Give it when a run resumes: records of an earlier
                session from this step on are superseded. Numbers grow: one that does not, or that is no whole
                number up to 2**53, is counted on.
            metrics: Numbers to keep beside the statistics of recorded steps, such as ``lr``. What is no
                number is left out.

        Returns:
            Findings that opened or grew graver since the step before, by an evaluation or in this step.

        Raises:
            ImbalanceError: A finding of severity "error" opened and ``on_finding="raise"``.
        """
        self._steps += 1
        last = self._step
        if self._steps < self._watchers.wake and last is not None:  # nothing is due, in the next one neither
            if step is None:
                self._step = last + 1
                return []
            if type(step) is int and last < step <= MOST_STEPS:
                self._step = step
                return []
        return self._step_that_is_due(step, metrics)

    @guarded("step", "the records of this step may be missing", lambda self: [], passes=(ImbalanceError,))
    def _step_that_is_due(self, step: int | None, metrics: Mapping[str, Any]) -> list[Finding]:
        self._turns.take(self._over, step, metrics)
        untold, self._untold = self._untold, []
        return untold + self._say()

    def _over(self, step: int | None, metrics: Mapping[str, Any]) -> None:
        """Put down what a step has left."""
        if self._closed or not self._is_the_run():
            if self._copied:
                self._copied = False
                warn(
                    "imbalance-doctor: this Doctor came out of a saved copy of one, and records nothing. "
                    "Make the Doctor in the process that trains."
                )
            return
        current = self._steps - 1
        number = self._number(step)
        if self._step is None or self._goes_back:
            self._begin(number)
        self._step = number
        drafts, may_wait = self._watchers.take(current, number, partial(self._metrics, metrics))
        self._journal.wait(drafts)
        if not may_wait:
            self._settle()
        elif self._journal.waits:
            self._ticker.start()
        if not self._closed:  # by the handler of a signal, in the middle of this
            self._watchers.arm(self._steps)
        self._in_a_row = 0

    @guarded("log_eval", "this evaluation is left out", lambda self: None, passes=(ImbalanceError,))
    def log_eval(
        self, scores: Any, targets: Any, step: int | None = None, *, budget: float | None = None
    ) -> None:
        """Record validation metrics per class: AP, AUROC, recall and partial AUC at a budget, calibration.

        Classes that exclude each other are ranked by their log-odds where the watched losses are those of a
        softmax, and by their logits where one of them trains each column for itself.

        Probabilities in place of logits are told by what a watched loss was given in training: where logits
        like those cannot all lie between 0 and 1 (and sum to 1, of exclusive classes), one warning says so,
        and they are evaluated as probabilities. With a watched ``nn.BCELoss`` they are what is expected.

        Args:
            scores: Logits, ``[N]`` or ``[N, 1]`` (binary), ``[N, C]`` or ``(N, C, ...)``; -inf is a mask.
                Rows whose score is nan do not count, with one warning.
            targets: Class ids ``[N]``, or ``[N, C]`` of 0/1 for multi-label; or ``(N, ...)`` and
                ``(N, C, ...)``. Those equal to -100 or to the `ignore_index` of a watched loss do not count
                (where that is the id of a class, IMB021 says so); nor do ids and labels that no class has
                (255, -1), with one warning, and nan. A label between 0 and 1 is positive from 0.5 on.
            step: The step they belong to; the newest by default.
            budget: Share of rows (recall) or negatives (partial AUC) that may be flagged; by default that
                of the first watched loss that has one (its quantile or beta), else 1 %.
        """
        self._turns.take(self._evaluate, scores, targets, step, budget)
        self._untold += self._say()
        if self._untold:
            self._watchers.wake = 0  # the next step has something to return

    def _evaluate(self, scores: Any, targets: Any, step: int | None, budget: float | None) -> None:
        if self._closed or not self._is_the_run():
            return
        self._settle()  # millions of rows take longer than a record may wait
        values = self._evaluated(scores, targets, self._budget() if budget is None else budget)
        number = None if step is None else self._known(step, "evaluations are those of the newest step")
        if self._step is None:
            # Only the first step tells where this session begins, and what it supersedes.
            self._early.append((number, values))
        else:
            self._take(EvalRecord(self._step if number is None else number, values))

    def evaluation(self, step: int | None = None, *, budget: float | None = None) -> Evaluation:
        """Collect validation in batches, and record it once: `log_eval` for what does not fit into one call.

        Args:
            step: As in `log_eval`.
            budget: As in `log_eval`.

        Example:
            >>> with doctor.evaluation() as validation:
            ...     for x, y in val_loader:
            ...         validation.update(model(x), y)
        """
        return Evaluation(lambda scores, targets: self.log_eval(scores, targets, step, budget=budget))

    @guarded("treat", "the loss may have been changed", lambda self: None, passes=(ValueError,))
    def treat(self, finding: Finding) -> TreatmentRecord | None:
        """Apply a finding's prescription to the running loss, and log that it was.

        Returns:
            What was changed; None where the setting is already what was prescribed, or beyond it because
            another finding asked for more.

        Raises:
            ValueError: The finding prescribes no setting, its loss is not watched, or the run is closed.
        """
        return self._turns.ask(self._treat, finding)

    def _treat(self, finding: Finding) -> TreatmentRecord | None:
        watcher = self._treatable(finding.code, finding.loss)
        change = apply(finding, watcher.module)
        if change is None:
            return None
        assert finding.prescription is not None  # or `apply` had raised
        return self._treated(watcher, finding.code, finding.prescription["parameter"], change)

    def undo(self, treatment: TreatmentRecord) -> TreatmentRecord:
        """Give a setting the value that it had before a treatment, and log that it was.

        Args:
            treatment: What `treat` returned.

        Returns:
            What was changed.

        Raises:
            ValueError: The setting has changed since, what was done cannot be taken back, its loss is not
                watched, or the run is closed.
        """
        return self._turns.ask(self._undo, treatment)

    def _undo(self, treatment: TreatmentRecord) -> TreatmentRecord:
        watcher = self._treatable(treatment.code, treatment.loss.name)
        change = revert(treatment, watcher.module)
        return self._treated(watcher, treatment.code, treatment.parameter, change)

    def _treatable(self, code: str, loss: str) -> Watcher:
        watcher = self._watchers.get(loss)
        if watcher is None:
            raise ValueError(f"{code} is about {loss!r}, which this doctor does not watch")
        if self._closed:
            raise ValueError("this doctor is closed; a treatment needs a run that goes on")
        return watcher

    def _treated(
        self, watcher: Watcher, code: str, parameter: str, change: tuple[Any, Any]
    ) -> TreatmentRecord:
        record = TreatmentRecord(self._step or 0, watcher.info, code, parameter, *change)
        if self._step is not None:
            self._take(record)
        self._treatments.append(f"{record.loss.name}: {record}")
        watcher.schedule.restart(self._steps)
        self._watchers.arm(self._steps)
        return record

    @guarded("close", "its log may lack an end", lambda self: None, passes=(ImbalanceError,))
    def close(self, *, complete: bool = True) -> None:
        """End the monitoring: a last examination, and the end of the log. A second call does nothing.

        Args:
            complete: Whether the run ended in good order.
        """
        self._turns.take(self._end, complete)
        self._say()

    def _end(self, complete: bool) -> None:
        if self._closed:
            return
        if os.getpid() != self._journal.process and self._step is not None:
            self._closed = True  # a forked worker, and not the run
            return
        if self._step is None and self._early:  # evaluations of a run that is over: they supersede nothing
            first = max(self._journal.next_step(), 0 if self._before is None else self._before + 1)
            self._step = max(first - 1, 0)
            at = self._step if self._before is None else self._before
            self._early = [(at if number is None else number, values) for number, values in self._early]
            self._begin(first)
        self._settle()
        if complete and self._step is not None:
            self._take(EndRecord(self._step))
        self._ticker.stop()
        self._watchers.remove()
        self._journal.close()
        self._closed = True

    def __enter__(self) -> Doctor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(complete=kind is None)

    # --- resuming ---------------------------------------------------------------------------------------

    @guarded("state_dict", "this checkpoint knows the step alone", lambda self: self._state(()))
    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint needs so that a resumed run goes on where this one stood; ready for JSON.

        Returns:
            The step, and the findings so far. Where the run has a log, a resumed `Doctor` reads what came
            before from there, and needs the step alone.
        """
        found = self.findings
        begun = self._step is not None and not self._goes_back
        return self._state(found if begun else self._resumed)

    def _state(self, findings: Sequence[Finding]) -> dict[str, Any]:
        begun = self._step is not None and not self._goes_back
        return {
            "version": STATE,
            "step": self._step if begun else self._before,
            "findings": [finding.to_dict() for finding in findings],
        }

    @guarded("load_state_dict", "the run starts anew", lambda self: None, passes=(ValueError,))
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint.

        Before the first step of a session, or after some: with its next step the run then goes back to where
        it was saved, and what is on record from there on is superseded. A closed doctor does nothing.

        Raises:
            ValueError: The state is none of `state_dict`.
        """
        if not isinstance(state, Mapping) or state.get("version") != STATE:
            raise ValueError(f"expected the state of a Doctor, version {STATE}; got {_described(state)}")
        try:
            findings = [Finding.from_dict(finding) for finding in state["findings"]]
            step = None if state["step"] is None else whole(state["step"])
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"this state of a Doctor cannot be read ({described(error)})") from None
        self._turns.take(self._go_back, findings, step)

    def _go_back(self, findings: list[Finding], step: int | None) -> None:
        if self._closed:
            return
        self._resumed, self._before = findings, step
        if self._step is not None:
            self._goes_back = True
            self._watchers.wake = 0

    # --- results ----------------------------------------------------------------------------------------

    @property
    @guarded("findings", "they are not known now", lambda self: ())
    def findings(self) -> tuple[Finding, ...]:
        """Every finding so far, open ones first."""
        return self._turns.take(self._settled, lambda: self._journal.checkup.findings)

    @property
    @guarded("diagnosis", "it is not known now", lambda self: Diagnosis(notes=tuple(self._failures.values())))
    def diagnosis(self) -> Diagnosis:
        """The state of every rule now."""
        return self._turns.take(self._settled, self._diagnosed)

    @property
    @guarded("run", "it cannot be read back", lambda self: Run(self._journal.info, []), passes=(LogError,))
    def run(self) -> Run:
        """The run so far: tables of its statistics, evaluations and histograms.

        Raises:
            LogError: The log cannot be read back.
        """
        return self._turns.ask(self._settled, lambda: self._journal.run)

    def failed(self, call: str, error: Exception, lost: str) -> None:
        """Say that something which the training loop called has failed: once for each kind of failure."""
        self._in_a_row += 1
        text = f"{call} failed ({described(error)}); {lost}"
        if self._failures.get(call) != text:
            self._failures[call] = text
            warn(f"imbalance-doctor: {text}. Training goes on.")
        if self._in_a_row == MOST_IN_A_ROW:
            self._failures["all"] = text = f"{MOST_IN_A_ROW} calls in a row failed; nothing more is recorded"
            warn(f"imbalance-doctor: {text}. Training goes on.")
            self._give_up()

    def _give_up(self) -> None:
        """Leave the training loop alone: what fails each time would cost time at each step."""
        self._closed = True
        self._watchers.wake = MOST_STEPS
        self._ticker.stop()
        for handle in chain(*self._watchers.handles):
            attempt(handle.remove)

    # --- inside -----------------------------------------------------------------------------------------

    @property
    def _notes(self) -> tuple[str, ...]:
        """What a reader of the diagnosis should know."""
        return (
            *failures(*self._watchers.guards, self._tidying),
            *self._failures.values(),
            *self._journal.notes,
        )

    def _diagnosed(self) -> Diagnosis:
        source = str(self.run_dir or "this process")
        found = self._journal.checkup.diagnosis(source=source, notes=self._notes)
        return replace(found, treatments=tuple(self._treatments))

    def _is_the_run(self) -> bool:
        """Whether this process is the one that trains: a forked worker is not."""
        if os.getpid() == self._journal.process:
            return True
        if self._step is None:  # made before a launcher, or a daemon, has forked: the run is here
            self._journal.process = os.getpid()
            return True
        if "fork" not in self._failures:
            self._failures["fork"] = text = (
                "this process was forked from the one that made the Doctor, when its run had begun: nothing "
                "of this process is recorded. Make the Doctor in the process that trains"
            )
            warn(f"imbalance-doctor: {text}.")
        return False

    def _number(self, step: Any) -> int:
        """What a step is called."""
        goes_on = self._step is None or self._goes_back
        last = self._before if goes_on else self._step
        following = 0 if last is None else last + 1
        number = None if step is None else self._known(step, "the doctor counts for itself")
        if number is None:
            return following
        if goes_on or number >= following:
            return number
        if not self._warned_of_numbers:
            self._warned_of_numbers = True
            warn(
                f"imbalance-doctor: step {number} came after step {last}. Step numbers have to grow, so "
                "the doctor counts for itself from here on. Give the number of the step in the run, not in "
                "the epoch, and call doctor.step once for each optimizer step. A run that goes back to a "
                "checkpoint says so with doctor.load_state_dict(state)."
            )
        return following

    def _known(self, step: Any, instead: str) -> int | None:
        """The number of a step; None where it is none."""
        try:
            return whole(step)
        except ValueError as error:
            if from_outside(error):
                raise
            self._remark("step", f"{error}; {instead}")
            return None

    def _begin(self, step: int) -> None:
        """The first step of a session is known: open the journal, and put on record what came before it."""
        if self._goes_back:
            self._journal.begin_again(step, self._resumed)
            for watcher in self._watchers:
                watcher.schedule.restart(self._steps)
        else:
            self._journal.begin(step, self._resumed)
        for watcher in self._watchers:
            self._tell_later(self._put_on_record(watcher, step))
        while self._early:
            number, values = self._early[0]
            self._take(EvalRecord(step if number is None else number, values))
            del self._early[0]
        self._goes_back = False

    def _tidy(self) -> None:
        """A call was cut short: go on from what is on record."""
        self._tidying(self._make_tidy)

    def _make_tidy(self) -> None:
        self._tell_later(self._journal.recover())
        if self._step is not None and not self._goes_back:
            for watcher in self._watchers:  # one may have been put under watch, or treated, off the record
                self._take(WatchRecord(self._step, watcher.info))
        self._watchers.wake = 0  # whatever is due by now, the next step sees to it

    @guarded("the clock", "records come later than promised", lambda self: None)
    def _tick(self) -> None:
        """Do not let a record wait for a step that may never come."""
        if self._journal.waited > LONGEST_WAIT:
            self._turns.take_if_free(self._settle)

    def _settled(self, read: Callable[[], T]) -> T:
        """What is read, once the records that wait are put down. Findings are told at the next step."""
        self._settle()
        return read()

    def _settle(self) -> None:
        self._tell_later(self._journal.settle())

    def _take(self, record: Record) -> None:
        self._tell_later(self._journal.take(record))

    def _tell_later(self, changed: Sequence[Finding]) -> None:
        self._unspoken += changed
        if self._unspoken:
            self._watchers.wake = 0

    def _put_on_record(self, watcher: Watcher, step: int) -> list[Finding]:
        watcher.rank_local = self._journal.info.rank > 0 and watcher.info.gathers
        changed = self._journal.take(WatchRecord(step, watcher.info))
        watcher.schedule.resume(self._journal.checkup.history.records_of(watcher.name))
        return changed

    def _metrics(self, given: Mapping[str, Any]) -> dict[str, float]:
        """The numbers to keep beside a record."""
        read: dict[str, Callable[[], Any]] = {name: partial(float, value) for name, value in given.items()}
        optimizer = self._optimizer
        if optimizer is not None:
            read.setdefault("lr", lambda: float(optimizer.param_groups[0]["lr"]))
        found = {name: attempt(number) for name, number in read.items()}
        unread = [name for name, number in found.items() if number is None]
        if unread:
            self._remark("metrics", f"{', '.join(unread)} given to step is no number, and is left out")
        return {name: number for name, number in found.items() if number is not None}

    def _say(self) -> list[Finding]:
        """Tell what has opened since something was last told."""
        unspoken, self._unspoken = self._unspoken, []
        opened = [finding for finding in unspoken if finding.status == "open"]
        # What all ranks see alike is rank 0's to tell.
        alike = {watcher.name for watcher in self._watchers if watcher.rank_local} if opened else set()
        told = [finding for finding in opened if finding.loss not in alike]
        if told:
            self._announce(told)
        return opened

    def _evaluated(self, scores: Any, targets: Any, budget: float) -> dict[str, Array]:
        """The metrics of an evaluation, and a remark on what is not as expected in it."""
        logits, labels = flat(scores, targets)
        ignored = self._ignore_index()
        exclusive = logits.shape[1] > 1 == labels.shape[1]
        counted = ((labels != ignored) & (labels != IGNORED)).any(axis=1)
        if are_probabilities(logits if counted.all() else logits[counted], exclusive):
            expected = any(isinstance(watcher.module, nn.BCELoss) for watcher in self._watchers)
            unlike = unlike_training(logits, exclusive, self._journal.checkup.history.windows())
            if expected or unlike:
                logits = as_logits(logits, exclusive)
            if unlike and not expected:
                self._remark(
                    "probabilities",
                    "the scores given to log_eval are evaluated as probabilities: all of them are as "
                    f"probabilities are, and {100 * unlike:.0f} % of the logits in training are not. Give "
                    "log_eval logits, which are what the model has before its sigmoid or softmax",
                )
        data = sheet_of(logits, labels, by_column=self._ranks_columns(), ignore_index=ignored)
        for kind, text in data.left_out.items():
            self._remark(kind, f"in log_eval, {text}; they do not count", aloud=kind != UNLABELLED)
        values = measured(data, budget)
        if exclusive and 0 <= ignored < data.classes:
            left_out = int((labels == ignored).sum())
            values[IGNORED_ROWS] = as_array([left_out * (c == ignored) for c in range(data.classes)])
        return values

    def _remark(self, kind: str, text: str, *, aloud: bool = True) -> None:
        """Note something about evaluations, once for its kind: the next ones are alike."""
        if kind not in self._remarked:
            self._remarked.add(kind)
            self._journal.note(text)
            if aloud:
                warn(f"imbalance-doctor: {text}.")

    def _ranks_columns(self) -> bool:
        """Whether a class's logits are comparable between rows: not if a softmax alone has trained them.

        A loss of a kind that we do not know, over exclusive classes, is most likely a softmax's too.
        """
        return not {watcher.info.kind for watcher in self._watchers} <= kinds.SOFTMAX | {kinds.OTHER}

    def _budget(self) -> float:
        return float(self._setting((int, float), "quantile", "beta", default=DEFAULT_BUDGET))

    def _ignore_index(self) -> int:
        return int(self._setting((int,), "ignore_index", default=IGNORED))

    def _setting(self, types: tuple[type, ...], *names: str, default: float) -> Any:
        """The first of these settings that a watched loss has, or the main loss of a wrapper."""
        for watcher in self._watchers:
            for name in names:
                value = watcher.info.setting(name)
                if isinstance(value, types):
                    return value
        return default

    # --- copies -----------------------------------------------------------------------------------------

    def __copy__(self) -> Doctor:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Doctor:
        # The copy of a model, as an average of its weights is one, is watched by whoever watches the model.
        return self

    def __reduce__(self) -> tuple[Callable[[], Doctor], tuple[()]]:
        # So that a model which holds its doctor can be saved whole.
        return _elsewhere, ()


def _elsewhere() -> Doctor:
    """What a saved doctor becomes where it is loaded: one that is closed, because its run is not there."""
    doctor = Doctor(None)
    doctor.close()
    doctor._copied = True
    return doctor


def _let_go(handles: Sequence[Sequence[Handle]], journal: Journal, turns: Turns, ticker: Ticker) -> None:
    """End what a doctor has set up, without holding the doctor, or a loss that may know it."""
    ticker.stop()
    for handle in chain(*handles):
        handle.remove()
    turns.take(journal.close)


def _resolved(path: Path) -> Path:
    """The whole path, so that a run that changes its working directory finds its log again.

    Where it cannot be known, in a loop of links or a working directory that is gone, opening it will say so.
    """
    return attempt(path.resolve) or path


def _steps(value: Any, name: str) -> int:
    try:
        steps = operator.index(value)
    except TypeError:
        steps = 0
    if steps < 1:
        raise ValueError(f"expected {name} to be a number of steps, at least 1; got {value!r}")
    return steps


def _described(state: Any) -> str:
    if not isinstance(state, Mapping):
        return type(state).__name__
    return f"version {state['version']!r}" if "version" in state else f"keys {[*map(str, state)]}"
