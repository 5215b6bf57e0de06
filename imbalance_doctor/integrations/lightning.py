"""`DoctorCallback` for Lightning: watches a LightningModule's losses while the Trainer fits it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from torch import Tensor

from imbalance_doctor.guard import Guard, attempt, described, from_outside, warn
from imbalance_doctor.integrations import accumulation
from imbalance_doctor.integrations.common import (
    Losses,
    Monitor,
    Named,
    Speaks,
    hook,
    learning_rate,
    named_losses,
    needs,
    process_rank,
)
from imbalance_doctor.integrations.gathering import Pair, of_all_ranks
from imbalance_doctor.live.boundary import guarded
from imbalance_doctor.live.doctor import Doctor
from imbalance_doctor.live.validation.sample import Sample
from imbalance_doctor.losses import distributed

try:
    from lightning.pytorch import Callback
except ModuleNotFoundError:
    try:
        from pytorch_lightning import Callback  # type: ignore[assignment]
    except ModuleNotFoundError as error:
        raise ImportError(needs("lightning")) from error

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule, Trainer

#: Scores and targets of one validation batch, from what ``validation_step`` returned and the batch.
ReadValidation: TypeAlias = "Callable[[Any, Any], tuple[Tensor, Tensor] | None]"


def read_validation(outputs: Any, batch: Any) -> tuple[Tensor, Tensor] | None:
    """Scores (``"logits"`` or ``"scores"``) and targets (``"targets"`` or ``"labels"``) by their names.

    Looks in what ``validation_step`` returned; targets may also be in the batch. None where they are not.
    """
    places = [place for place in (outputs, batch) if isinstance(place, Mapping)]
    scores = [place[name] for place in places[:1] for name in ("logits", "scores") if name in place]
    targets = [place[name] for place in places for name in ("targets", "labels") if name in place]
    return (scores[0], targets[0]) if scores and targets and isinstance(outputs, Mapping) else None


class DoctorCallback(Speaks, Callback):
    """Monitors the losses of a LightningModule, with the steps that Lightning's loggers show.

    A step is an optimizer step, numbered by ``trainer.global_step`` as it was when the step began; with
    several optimizers that number grows by one for each of them. ``total_steps`` comes from the Trainer
    unless given. The learning rate (of the first optimizer's first group) is recorded as ``lr`` where it is a
    number. Under manual optimization, Lightning counts the steps of ``self.optimizers()``, and not those of
    ``self.optimizers(use_pl_optimizer=False)``.

    A `LossWarmupWrapper` is told the epochs and steps unless the LightningModule does that itself.
    Checkpoints hold the monitor's state: ``fit(ckpt_path=...)`` goes on where it stood.

    Validation during ``fit`` is recorded where ``validation_step`` returns a dict with the logits and the
    targets of its batch; the sanity check is not. Of several ranks, rank 0 records the evaluation of all rows
    and each other rank that of its own.

    Args:
        run_dir: Where the run log goes, as for `Doctor`.
        losses: The loss modules to watch, by name if you like; by default every loss among the
            LightningModule's submodules: those of `losses`, ``nn.BCEWithLogitsLoss`` and
            ``nn.CrossEntropyLoss``.
        read_validation: Gives ``(scores, targets)`` of a validation batch from ``(outputs, batch)``, or None
            for a batch to leave out. By default the dict's ``"logits"`` or ``"scores"``, and ``"targets"`` or
            ``"labels"``. Of several validation dataloaders the first is read. If these are not two
            tensors of matching shapes, there is one warning, and evaluations are no longer recorded.
        settings: Keyword arguments of `Doctor`: ``every``, ``population_positive_rate``, ``class_names``, ...

    Raises:
        ValueError: A setting is out of range; or, when fit begins, there is no loss to watch.

    Example:
        >>> callback = DoctorCallback("runs/fraud-01", class_names=["ok", "fraud"])
        >>> Trainer(max_epochs=10, callbacks=[callback]).fit(model, data)
        >>> print(callback.doctor.diagnosis)
    """

    def __init__(
        self,
        run_dir: str | Path | None,
        *,
        losses: Losses | None = None,
        read_validation: ReadValidation = read_validation,
        **settings: Any,
    ) -> None:
        self._monitor = Monitor(run_dir, settings)
        self._given = losses
        self._losses: Named = ()
        self._saved: dict[str, Any] | None = None
        self._read = read_validation
        self._rows = Sample()
        self._step_begun = 0
        self._lr: dict[str, float] = {}
        self._batches = self._steps = 0
        self._apart = False  # whether it was told that the ranks' rows could not be brought together
        self._reading = Guard("reading validation outputs", "evaluations are no longer recorded")

    @property
    def doctor(self) -> Doctor:
        """The doctor of the present run, or of the last one."""
        return self._monitor.doctor

    # --- the run ----------------------------------------------------------------------------------------

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Forget the checkpoint of a validation or a test: theirs come here too, and are not this fit's."""
        if stage == "fit":  # its own checkpoint is loaded after this
            self._saved = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Find the losses, before anything is trained."""
        self._losses = named_losses(self._given, pl_module)

    @hook("this run is not recorded", TypeError, ValueError)
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the monitoring; the sanity check is over, a checkpoint is loaded."""
        # A checkpoint holds the state of rank 0; the others go on from their own logs.
        state = self._saved if process_rank() == 0 else None
        self._monitor.begin(self._losses, {"total_steps": _total_steps(trainer)}, state)
        self._saved = None
        self._batches = self._steps = 0
        setting, batches = "accumulate_grad_batches", _accumulated(trainer)
        self._monitor.until_end(accumulation.DivisorCheck(self._losses, setting, batches))
        if process_rank() == 0:
            accumulation.tell_of_ranking(self._losses, setting, batches)
        if trainer.global_step > 0:  # if in the middle of an epoch, that does not start again
            self._monitor.epoch_begins(trainer.current_epoch, resumed=True)

    @hook("a warmup may not be told of this epoch")
    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Tell a warmup wrapper."""
        self._monitor.epoch_begins(trainer.current_epoch)

    @hook("this step may have no record")
    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Note the step's number and learning rate: both have moved on when the step is over."""
        self._step_begun = trainer.global_step
        self._lr = learning_rate(trainer.optimizers[0]) if trainer.optimizers else {}
        self._monitor.step_begins(trainer.global_step)

    @hook("this step may have no record")
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Record the step, if this batch ended one."""
        if not _trains(trainer):
            return
        self._batches += 1
        if trainer.global_step > self._step_begun:
            self._steps += 1
            self.doctor.step(self._step_begun, **self._lr)

    @hook("the log may lack its end")
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """End the monitoring in good order."""
        if self._batches and not self._steps and process_rank() == 0:
            warn(
                f"imbalance-doctor: {self._batches} training batches ran and trainer.global_step stayed at "
                f"{trainer.global_step}, so no step was recorded. Under manual optimization, step the "
                "optimizers of self.optimizers(): Lightning does not count the steps of others, such as "
                "those of self.optimizers(use_pl_optimizer=False)."
            )
        self._monitor.end(complete=True)

    @hook("the log may lack its end")
    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """End the monitoring of a run that broke off."""
        self._monitor.end(complete=False)

    # --- validation -------------------------------------------------------------------------------------

    @hook("this evaluation is left out")
    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to collect, without what an interrupted validation left."""
        self._rows = Sample(distributed.group_size())  # all of them meet on rank 0

    @hook("this evaluation is left out")
    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep a batch's scores and targets."""
        if self._monitor.running and _trains(trainer) and dataloader_idx == 0:
            self._reading(self._keep, outputs, batch)

    @hook("this evaluation is left out")
    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Record the evaluation: on rank 0 of all ranks' rows."""
        if self._monitor.running and _trains(trainer):
            stride = self._rows.stride
            # Where reading has failed there are none, but the other ranks wait for this one.
            rows = self._together(self._reading(self._rows.joined), stride)
            with self.doctor.evaluation() as evaluation:
                for scores, targets in rows:
                    evaluation.update(scores, targets)
        self._rows = Sample()

    def _keep(self, outputs: Any, batch: Any) -> None:
        pair: Any = self._read(outputs, batch)  # whatever that is in truth
        if pair is None:
            return
        scores, targets = pair
        if not (isinstance(scores, Tensor) and isinstance(targets, Tensor)):
            kinds = f"{type(scores).__name__} and {type(targets).__name__}"
            raise TypeError(f"expected scores and targets to be tensors, got {kinds}")
        self._rows.add(scores, targets)

    def _together(self, own: Pair | None, stride: int) -> list[Pair]:
        """The rows to evaluate on this rank."""
        try:
            return of_all_ranks(own, stride)
        except Exception as error:
            if from_outside(error):
                raise
            # No `Guard`: once failed, it would keep this rank away from what the others enter next time.
            if not self._apart:
                self._apart = True
                warn(
                    "imbalance-doctor: gathering the validation rows of all ranks failed "
                    f"({described(error)}); each rank records the evaluation of its own rows. "
                    "Training goes on."
                )
            return [] if own is None else [own]

    # --- checkpoints ------------------------------------------------------------------------------------

    @guarded("state_dict", "the checkpoint does not hold the monitor's state", lambda self: {})
    def state_dict(self) -> dict[str, Any]:
        """The monitor's state, for the checkpoint."""
        return self.doctor.state_dict() if self._saved is None else self._saved

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint when the training starts."""
        self._saved = state_dict


def _trains(trainer: Trainer) -> bool:
    """Whether the trainer is past its sanity check, and its batches still train the model.

    Those of the epoch that `StochasticWeightAveraging` adds at the end only give the averaged model its batch
    norm statistics.
    """
    return not (trainer.sanity_checking or getattr(trainer.fit_loop, "_skip_backward", False))


def _accumulated(trainer: Any) -> int:
    """Batches of an optimizer step; the most of them where `GradientAccumulationScheduler` changes that."""
    schedules = [getattr(callback, "scheduling", None) for callback in trainer.callbacks]
    planned = [batches for plan in schedules if isinstance(plan, dict) for batches in plan.values()]
    return max([1, int(trainer.accumulate_grad_batches), *map(int, planned)])


def _total_steps(trainer: Trainer) -> int | None:
    """Length of the run in numbers of ``global_step``; None where it cannot be known."""
    if len(trainer.optimizers) > 1:  # each counts, and which of them step when is up to training_step
        return trainer.max_steps if trainer.max_steps > 0 else None
    # Where accumulation changes between epochs, Lightning refuses to estimate.
    steps = attempt(lambda: trainer.estimated_stepping_batches)
    return int(steps) if steps is not None and 0 < steps < float("inf") else None
