"""`Doctor`: watches the losses of a training loop, records, examines, and speaks up."""

from __future__ import annotations

import platform
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from imbalance_doctor import declared
from imbalance_doctor.examine.selection import choose_rules, for_log, said_thresholds
from imbalance_doctor.examine.tuning import Thresholds
from imbalance_doctor.findings import Diagnosis, Finding, ImbalanceError
from imbalance_doctor.guard import attempt, warn
from imbalance_doctor.live.announce import OnFinding, announcer
from imbalance_doctor.live.boundary import Failures, Turns, guarded
from imbalance_doctor.live.journal import Journal
from imbalance_doctor.live.listening.watchers import Watchers
from imbalance_doctor.live.monitoring import Monitoring, let_go
from imbalance_doctor.live.session import Checkpoint, Session
from imbalance_doctor.live.sinks import Sink, checked
from imbalance_doctor.live.ticker import Ticker
from imbalance_doctor.live.validation.sample import Evaluation
from imbalance_doctor.log import LogError
from imbalance_doctor.log.run import Run
from imbalance_doctor.records import MOST_STEPS, TreatmentRecord
from imbalance_doctor.rules.base import Rule

if TYPE_CHECKING:
    from imbalance_doctor.render.tensorboard.board import Target

#: Seconds that a record waits for the next one before it is put down without it. With the ticks of the clock
#: that looks at it (see `ticker`) it is on disk within the two seconds that are promised.
LONGEST_WAIT = 1.0


class Doctor:
    """Monitors the losses of one training run.

    It never ends a run that would otherwise continue: a part of it that fails (a full disk, a rule that
    raises) warns once and is switched off. Only ``on_finding="raise"`` raises.

    Args:
        run_dir: Where the run log goes (see `load_run`). None keeps everything in memory.
        every: Steps from one record to the next. The loss itself is followed at every step; records grow
            apart as the run grows, up to twenty times this, and only some have quantiles and histograms (see
            `imbalance_doctor.live.listening.schedule`). 1 records every step to the end.
        total_steps: Length of the run, if known: some rules judge by the share of it that is over.
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
        sinks: Further places for records and findings, with the methods of `imbalance_doctor.Sink`.
        rules: Rules of your own; each replaces the one of the same code.
        thresholds: Thresholds to change, by name, by the code or the name of their rule, such as
            ``{"IMB003": {"poor": 3}}``; `imbalance-doctor explain IMB003` lists them with their reasons.
        optimizer: If given, the learning rate of its first group is recorded as ``lr``.
        target_metric: The validation metric that the run is for, such as ``"average_precision"`` (see
            `imbalance_doctor.scores.metrics.METRICS`); some rules check whether the loss suits it.

    Raises:
        TypeError: One of `rules` is not a rule, or one of `sinks` not a sink.
        ValueError: An argument is out of range, or `select`, `ignore` or `thresholds` names no rule.

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
        tensorboard: bool | Target | None = None,
        sinks: Sequence[Sink] = (),
        rules: Sequence[Rule] | None = None,
        thresholds: Thresholds | None = None,
        optimizer: torch.optim.Optimizer | None = None,
        target_metric: str | None = None,
    ) -> None:
        self.run_dir = None if run_dir is None else _resolved(Path(run_dir))
        tuned = said_thresholds(thresholds, rules)
        chosen = choose_rules(rules, select=select, ignore=ignore, thresholds=tuned)
        info = replace(
            declared.run_info(every, total_steps, population_positive_rate, class_names, target_metric),
            started=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            versions={"python": platform.python_version(), "torch": str(torch.__version__)},
            rules=for_log(select, ignore, chosen),
        )
        self.every = info.every
        self._announce = announcer(on_finding)
        places = [*_panels(tensorboard, self.run_dir), *checked(sinks)]
        self._journal = Journal(info, chosen, self.run_dir, places)
        self._watchers = Watchers(self.every, info.total_steps, self._journal.note, self.run_dir)
        self._session, self._failures = Session(self._journal.remark), Failures()
        self._ticker = Ticker(self._tick)
        self._monitoring = Monitoring(
            self._journal, self._watchers, self._session, self._ticker, self._failures, optimizer
        )
        self._turns = Turns(self._monitoring.tidy)
        # For whoever never closes: at the end of this doctor, or of its process.
        weakref.finalize(self, let_go, self._watchers.handles, self._journal, self._turns, self._ticker)
        self._untold: list[Finding] = []  # opened and told since the last step, by an evaluation
        self._copied = False  # whether it came out of a file, and has not said so

    # --- the loop ---------------------------------------------------------------------------------------

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
        self._turns.ask(self._monitoring.watch, loss_fn, name)

    def step(self, step: int | None = None, **metrics: float) -> list[Finding]:
        """Say that a training step is over.

        Args:
            step: Its number; counted from 0 by default. Give it when a run resumes: records of an earlier
                session from this step on are superseded. Numbers must increase: instead of one that does
                not, or that is not a whole number up to 2**53, the doctor uses the next number.
            metrics: Numbers to keep beside the statistics of recorded steps, such as ``lr``. Other
                values are left out.

        Returns:
            Findings that opened or rose in severity since the step before, by an evaluation or in this step.

        Raises:
            ImbalanceError: A finding of severity "error" opened and ``on_finding="raise"``.
        """
        session = self._session
        session.steps += 1  # here, and not in a method: nothing is due in nearly every step
        last = session.step
        if session.steps < session.wake and last is not None:
            if step is None:
                session.step = last + 1
                return []
            if type(step) is int and last < step <= MOST_STEPS:
                session.step = step
                return []
        return self._step_that_is_due(step, metrics)

    @guarded("step", "the records of this step may be missing", lambda self: [], passes=(ImbalanceError,))
    def _step_that_is_due(self, step: int | None, metrics: Mapping[str, Any]) -> list[Finding]:
        self._turns.take(self._monitoring.step, step, metrics)
        if self._copied:
            self._copied = False
            warn(
                "imbalance-doctor: this Doctor was loaded from a saved copy and records nothing. "
                "Create the Doctor in the process that trains."
            )
        untold, self._untold = self._untold, []
        return untold + self._say()

    @guarded("log_eval", "this evaluation is left out", lambda self: None, passes=(ImbalanceError,))
    def log_eval(
        self, scores: Any, targets: Any, step: int | None = None, *, budget: float | None = None
    ) -> None:
        """Record validation metrics per class: AP, AUROC, recall and partial AUC at a budget, calibration.

        Classes that exclude each other are ranked by their log-odds where the watched losses are those of a
        softmax, and by their logits where one of them trains each column for itself.

        Scores that could be probabilities (all lie between 0 and 1, and rows of exclusive classes sum to 1)
        are evaluated as probabilities, with one warning, if the logits in training could not be. With a
        watched ``nn.BCELoss``, probabilities are expected.

        Args:
            scores: Logits, ``[N]`` or ``[N, 1]`` (binary), ``[N, C]`` or ``(N, C, ...)``; -inf is a mask.
                Rows whose score is nan do not count, with one warning.
            targets: Class ids ``[N]``, or ``[N, C]`` of 0/1 for multi-label; or ``(N, ...)`` and
                ``(N, C, ...)``. Those equal to -100 or to the `ignore_index` of a watched loss do not count
                (where that is the id of a class, IMB021 says so); nor do ids and labels that no class has
                (255, -1), with one warning, and nan. A label between 0 and 1 is positive from 0.5 on.
            step: The step they belong to; the newest by default.
            budget: Share of rows (recall) or negatives (partial AUC) that may be flagged; by default the
                quantile or beta of the first watched loss that has one, else 1 %.
        """
        self._turns.take(self._monitoring.evaluate, scores, targets, step, budget)
        self._untold += self._say()
        if self._untold:
            self._session.wake_up()  # the next step has something to return

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
        """Apply a finding's prescription to the running loss, and log the treatment.

        Returns:
            What was changed; None where the setting is already what was prescribed, or beyond it because
            another finding asked for more.

        Raises:
            ValueError: The finding prescribes no setting, its loss is not watched, or the run is closed.
        """
        return self._turns.ask(self._monitoring.treat, finding)

    def undo(self, treatment: TreatmentRecord) -> TreatmentRecord:
        """Give a setting the value that it had before a treatment, and log the change.

        Args:
            treatment: What `treat` returned.

        Returns:
            What was changed.

        Raises:
            ValueError: The setting has changed since, the treatment was a queue reset, its loss is not
                watched, or the run is closed.
        """
        return self._turns.ask(self._monitoring.undo, treatment)

    @guarded("close", "its log may have no end record", lambda self: None, passes=(ImbalanceError,))
    def close(self, *, complete: bool = True) -> None:
        """End the monitoring: a last look, the end of the log, and of the sinks. A second call does nothing.

        Args:
            complete: Whether the run ended regularly.
        """
        self._turns.take(self._monitoring.end, complete)
        self._journal.join()
        self._say()

    def __enter__(self) -> Doctor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(complete=kind is None)

    # --- resuming ---------------------------------------------------------------------------------------

    @guarded(
        "state_dict",
        "this checkpoint holds the step only",
        lambda self: Checkpoint(self._session.step).to_dict(),
    )
    def state_dict(self) -> dict[str, Any]:
        """The state that a checkpoint needs so that a resumed run goes on from here; ready for JSON.

        Returns:
            The step, and the findings so far. If the run has a log, a resumed `Doctor` reads the earlier
            records from there, and needs only the step.
        """
        return self._session.checkpoint(self.findings).to_dict()

    @guarded(
        "load_state_dict",
        "the run does not go on from this checkpoint",
        lambda self: None,
        passes=(ValueError,),
    )
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint.

        Call it before the first step of a session, or later: with its next step the run then goes back to
        where it was saved, and records from there on are superseded. A closed doctor does nothing.

        Raises:
            ValueError: The state does not come from `state_dict`.
        """
        self._turns.take(self._monitoring.go_on_from, Checkpoint.from_dict(state))

    # --- results ----------------------------------------------------------------------------------------

    @property
    @guarded("findings", "none are returned", lambda self: ())
    def findings(self) -> tuple[Finding, ...]:
        """Every finding so far, open ones first."""
        return self._turns.take(self._monitoring.findings)

    @property
    @guarded(
        "diagnosis", "an empty diagnosis is returned", lambda self: Diagnosis(notes=self._failures.notes)
    )
    def diagnosis(self) -> Diagnosis:
        """The state of every rule now."""
        return self._turns.take(self._monitoring.diagnosis)

    @property
    @guarded("run", "an empty run is returned", lambda self: Run(self._journal.info, []), passes=(LogError,))
    def run(self) -> Run:
        """The run so far: tables of its statistics, evaluations and histograms.

        Raises:
            LogError: The log cannot be read back.
        """
        return self._turns.ask(self._monitoring.run)

    def failed(self, call: str, error: Exception, lost: str) -> None:
        """Say that something which the training loop called has failed: once for each kind of failure."""
        if self._failures.add(call, error, lost):
            self._monitoring.give_up()

    # --- inside -----------------------------------------------------------------------------------------

    @guarded("the clock", "records may be written later than promised", lambda self: None)
    def _tick(self) -> None:
        """Do not let a record wait for a step that may never come."""
        if self._journal.waited > LONGEST_WAIT:
            self._turns.take_if_free(self._monitoring.settle)

    def _say(self) -> list[Finding]:
        """Tell what has opened since something was last told."""
        opened = self._monitoring.opened()
        told = [finding for finding in opened if self._watchers.speaks_of(finding.loss)]
        if told:
            self._announce(told)
        return opened

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


def _panels(target: bool | Target | None, run_dir: Path | None) -> list[Sink]:
    """What draws for TensorBoard; nothing where nobody has asked for it.

    Raises:
        ValueError: It is to draw into the run directory, and there is none.
    """
    if target is None or target is False:
        return []
    place = run_dir if isinstance(target, bool) else target
    if place is None:
        raise ValueError(
            "expected a run_dir for tensorboard=True, got None: give a run_dir, or a TensorBoard directory"
        )
    from imbalance_doctor.render.tensorboard.board import TensorBoardPanels

    # Not by the thread that draws: a process forked in the middle of an import waits for its end for ever.
    # What fails here fails there again, and is told.
    attempt(import_module, "imbalance_doctor.render.tensorboard.events")
    return [TensorBoardPanels(place)]


def _resolved(path: Path) -> Path:
    """The whole path, so that a run that changes its working directory finds its log again.

    Where it cannot be known, in a loop of links or a working directory that is gone, opening it will say so.
    """
    return attempt(path.resolve) or path
