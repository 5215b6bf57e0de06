"""`DoctorCallback` for the Hugging Face Trainer: the loss that it trains with, watched."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from imbalance_doctor.guard import Guard, warn
from imbalance_doctor.integrations import accumulation
from imbalance_doctor.integrations.common import (
    Monitor,
    Speaks,
    hook,
    learning_rate,
    named_losses,
    needs,
    original,
    process_rank,
)
from imbalance_doctor.live.doctor import Doctor
from imbalance_doctor.live.validation.sample import Evaluation
from imbalance_doctor.losses import LossWarmupWrapper, SoftmaxFocalLoss, distributed, ranking

try:
    from transformers import EvalPrediction, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

    from imbalance_doctor.integrations.trainer import (
        StepBatches,
        calling_trainer,
        cautions,
        class_names,
        predicts_next_token,
        takes_model_loss,
    )
except ModuleNotFoundError as error:
    raise ImportError(needs("transformers")) from error

ComputeMetrics: TypeAlias = Callable[..., dict[str, Any]]

#: Losses of class ids, one a row: of the `(N, T, C)` logits of a model of tokens, each token is a row.
_OF_ROWS = (nn.CrossEntropyLoss, nn.NLLLoss, SoftmaxFocalLoss, ranking.RankingLoss, LossWarmupWrapper)


class DoctorCallback(Speaks, TrainerCallback):
    """Monitors the loss of a Trainer, with the steps that the Trainer logs.

    A step is an optimizer step, numbered by ``state.global_step`` after it: the first is 1, and
    ``checkpoint-500`` is saved after step 500. ``total_steps`` comes from the Trainer unless given. The
    learning rate (of the first parameter group) is recorded as ``lr`` where it is a number.

    Give `loss_fn` to the callback and ``callback.compute_loss`` to the Trainer. Evaluations during training
    are recorded through ``callback.compute_metrics()``: one for each step; with a dict of evaluation
    datasets, that of the first dataset. A `LossWarmupWrapper` is told the epochs and steps unless another
    callback does that.

    Beside each checkpoint of the Trainer goes a file with the state of the monitor and of `loss_fn` (its
    queue, its schedule), which the Trainer does not save; ``train(resume_from_checkpoint=...)`` goes on
    from it.

    Args:
        run_dir: Where the run log goes, as for `Doctor`.
        loss_fn: The loss module, called ``(logits, labels)``. None watches the loss modules inside the model,
            for models of your own that compute their loss with one.
        settings: Keyword arguments of `Doctor`: ``every``, ``population_positive_rate``, ``class_names``, ...

    Raises:
        ValueError: A setting is out of range; or, when training begins, there is no loss to watch, or
            `loss_fn` is to train a causal language model.

    Example:
        >>> callback = DoctorCallback("runs/fraud-01", SmoothAPLoss(num_classes=1, queue_size=4096))
        >>> trainer = Trainer(
        ...     model, args, train_dataset=train, eval_dataset=held_out, callbacks=[callback],
        ...     compute_loss_func=callback.compute_loss, compute_metrics=callback.compute_metrics(),
        ... )
        >>> trainer.train()
        >>> print(callback.doctor.diagnosis)
    """

    def __init__(self, run_dir: str | Path | None, loss_fn: nn.Module | None = None, **settings: Any) -> None:
        if loss_fn is not None and not isinstance(loss_fn, nn.Module):
            raise TypeError(f"expected loss_fn to be a loss module, got {type(loss_fn).__name__}")
        self.loss_fn = loss_fn
        self._monitor = Monitor(run_dir, settings)
        self._lr: dict[str, float] = {}
        self._batches: StepBatches | None = None
        self._told_of_absence = False
        self._resumed = False
        self._epoch: int | None = None  # the present one; None before the first of a run
        self._step = 0
        self._evaluation: Evaluation | None = None
        self._evaluated: int | None = None  # the step of the last evaluation
        self._reading = Guard("reading predictions", "evaluations are no longer recorded")
        self._saving = Guard("saving the loss and the monitor", "checkpoints do not hold them")
        self._restoring = Guard("restoring the loss and the monitor", "both start without the checkpoint")

    @property
    def doctor(self) -> Doctor:
        """The doctor of the present run, or of the last one."""
        return self._monitor.doctor

    # --- what the Trainer is given ----------------------------------------------------------------------

    def compute_loss(self, outputs: Any, labels: Tensor, num_items_in_batch: Any = None) -> Tensor:
        """The loss of a batch: for the Trainer's ``compute_loss_func``.

        Under gradient accumulation each batch counts by its share of what `loss_fn` divides by (rows, class
        weights, positives), so that the gradient is that of one batch of the accumulated size. A loss of your
        own says what it divides by with a method ``divisor(labels)``; without one it is taken for a mean over
        the labels that are not -100.

        Args:
            outputs: The model's: a mapping with ``"logits"``, or a tuple that begins with them.
            labels: Of tokens too: torch's and our losses of class ids get one row for each token, and losses
                of single logits a column of logits as it is labelled.
            num_items_in_batch: Labels in the accumulated batch, as the Trainer counts them.

        Raises:
            ValueError: There is no loss, there are no labels, or no logits.
        """
        if self.loss_fn is None:
            raise ValueError(
                "expected a loss for compute_loss, got none: create DoctorCallback(run_dir, loss_fn)"
            )
        if labels is None:
            raise ValueError('expected batches with "labels" for the loss, got none: give the dataset labels')
        # The Trainer sets the model's mode, and knows nothing of the loss: no queue learns from evaluation.
        training = torch.is_grad_enabled()
        self.loss_fn.train(training)
        loss: Tensor = self.loss_fn(*_as_taken(self.loss_fn, _logits(outputs), labels))
        if num_items_in_batch is None:
            return loss
        if training and self._batches is not None and self._batches.labels:
            return self._weighed(loss, labels, self._batches)
        if training and not self._monitor.running and not self._told_of_absence:
            self._told_of_absence = True
            warn(
                "imbalance-doctor: compute_loss is called in training, but no Trainer has the callback, so "
                "nothing is recorded. Pass it to the Trainer: Trainer(..., callbacks=[callback])"
            )
        if accumulation.is_sum(self.loss_fn):
            return loss
        weighed: Tensor = loss * (labels != accumulation.IGNORED).sum() / num_items_in_batch
        return weighed

    def _weighed(self, loss: Tensor, labels: Tensor, batches: StepBatches) -> Tensor:
        """A batch's loss as the Trainer adds it up: over batches, ranks, and the factor that it applies."""
        assert self.loss_fn is not None
        args = batches.args
        averages = bool(args.average_tokens_across_devices)
        gathers = accumulation.gathers(self.loss_fn, loss)
        together = gathers or (averages and args.world_size > 1)  # one divisor for all ranks
        if not accumulation.is_sum(self.loss_fn):
            own = accumulation.divisor(self.loss_fn, labels).float()
            own = distributed.sum_over_ranks(own, None, type(self.loss_fn).__name__) if gathers else own
            loss = accumulation.weighed(loss, own, batches.divisor(self.loss_fn, together))
        # With `average_tokens_across_devices` the Trainer multiplies by the number of processes, against the
        # mean over ranks that follows, or by that of GPUs under DataParallel. That is right for the part of
        # one process, and too much for a loss that has all rows.
        times = args.n_gpu if args.n_gpu > 1 else args.world_size if gathers else 1
        return loss / times if averages else loss

    def compute_metrics(self, inner: ComputeMetrics | None = None) -> ComputeMetrics:
        """Record each evaluation during training: for the Trainer's ``compute_metrics``.

        Args:
            inner: Your own function of metrics, whose result the Trainer gets.
        """

        def compute(prediction: EvalPrediction, compute_result: bool | None = None) -> dict[str, Any]:
            # None unless `batch_eval_metrics` is on: then a batch at a time, and True with the last.
            # Of several datasets, evaluated in turn at one step, the first: one series is one data set.
            if self._monitor.running and self._evaluated != self._step:
                self._evaluation = self._evaluation or self.doctor.evaluation()
                for scores, labels in self._reading(_predicted, prediction) or ():
                    self._evaluation.update(scores, labels)
                if compute_result is not False:
                    self._evaluation.close()
                    self._evaluation, self._evaluated = None, self._step
            if inner is None:
                return {}
            return inner(prediction) if compute_result is None else inner(prediction, compute_result)

        return compute

    # --- the run ----------------------------------------------------------------------------------------

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Start the monitoring, after a checkpoint is loaded."""
        model, trainer = kwargs["model"], calling_trainer()
        losses = named_losses(self.loss_fn, model)
        if self.loss_fn is not None and accumulation.is_known(self.loss_fn) and predicts_next_token(model):
            raise ValueError(
                f"expected a model for classification, got {type(model).__name__}, which predicts the next "
                "token: compute_loss compares each token with its own label. Use a model for classification, "
                "or a loss module of your own that shifts the labels"
            )
        saved: dict[str, Any] = {}
        self._resumed = state.global_step > 0
        self._epoch, self._step = None, state.global_step
        # What an evaluation left that was broken off belongs to the run before.
        self._evaluation, self._evaluated = None, None
        if self.loss_fn is not None:
            self.loss_fn.to(args.device)
        if self._resumed:
            saved = self._restoring(self._load, args, state) or {}
        known = {
            "total_steps": state.max_steps if state.max_steps > 0 else None,
            "class_names": class_names(model),
        }
        self._monitor.begin(losses, known, saved.get("doctor"))
        self._batches = None
        if trainer is None:
            return
        setting, batches = "gradient_accumulation_steps", args.gradient_accumulation_steps
        if takes_model_loss(trainer):
            self._monitor.until_end(accumulation.DivisorCheck(losses, setting, batches))
        else:
            self._batches = StepBatches(trainer)
            self._monitor.until_end(self._batches)
        if process_rank() == 0:
            accumulation.tell_of_ranking(losses, setting, batches)
            for message in cautions(trainer, losses, self.loss_fn):
                warn(f"imbalance-doctor: {message}.")

    @hook("a warmup may not be told of this epoch")
    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Tell a warmup wrapper."""
        begun = state.epoch or 0.0
        # Counted after the first: of a dataset without a length, `state.epoch` is a share of the whole run.
        self._epoch = int(begun) if self._epoch is None else self._epoch + 1
        self._monitor.epoch_begins(self._epoch, resumed=self._resumed and begun % 1 > 0)
        self._resumed = False

    @hook("this step may have no record")
    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Note the step's learning rate, which has moved on when the step is over."""
        self._lr = learning_rate(kwargs.get("optimizer"))
        self._monitor.step_begins(state.global_step)

    @hook("this step may have no record")
    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Record the step."""
        self._step, self._evaluation = state.global_step, None  # an evaluation belongs to one step
        self.doctor.step(state.global_step, **self._lr)

    @hook("the log may lack its end")
    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """End the monitoring."""
        self._monitor.end(complete=True)

    # --- checkpoints ------------------------------------------------------------------------------------

    @hook("the checkpoint does not hold the monitor's state")
    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Put the state of the loss and of the monitor beside the Trainer's."""
        self._saving(self._save, args, state)

    def _save(self, args: TrainingArguments, state: TrainerState) -> None:
        file = _state_file(args, state)
        if file.parent.is_dir():
            loss = None if self.loss_fn is None else self.loss_fn.state_dict()
            torch.save({"doctor": self.doctor.state_dict(), "loss": loss}, file)

    def _load(self, args: TrainingArguments, state: TrainerState) -> dict[str, Any]:
        file = _state_file(args, state)
        if not file.exists():
            warn(
                f"imbalance-doctor: {file} is missing, so the loss and the monitor start without a checkpoint"
            )
            return {}
        saved: dict[str, Any] = torch.load(file, map_location=args.device, weights_only=True)
        if self.loss_fn is not None and saved["loss"] is not None:
            self.loss_fn.load_state_dict(saved["loss"])
        return saved


def _logits(outputs: Any) -> Tensor:
    """The logits of a model's outputs."""
    logits = outputs.get("logits") if isinstance(outputs, Mapping) else outputs[0]
    if not isinstance(logits, Tensor):
        names = list(outputs) if isinstance(outputs, Mapping) else type(logits).__name__
        raise ValueError(f'expected the model\'s outputs to have "logits", a tensor, got {names}')
    return logits


def _predicted(prediction: EvalPrediction) -> list[tuple[Any, Any]]:
    """Logits and labels: of all rows, or with ``eval_do_concat_batches=False`` of each batch."""
    scores, labels = prediction.predictions, prediction.label_ids
    pairs = list(zip(scores, labels, strict=True)) if isinstance(scores, list) else [(scores, labels)]
    pairs = [(first[0] if isinstance(first, tuple) else first, labelled) for first, labelled in pairs]
    for found, _ in pairs:
        if getattr(getattr(found, "dtype", None), "kind", "f") in "iub":
            raise TypeError(
                "expected predictions to be logits, got whole numbers, such as class ids. Let "
                "preprocess_logits_for_metrics return the logits, and take their argmax in compute_metrics"
            )
    return pairs


def _as_taken(loss: nn.Module, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Logits and labels in the form that a loss takes; as they are where it is a user's own."""
    loss = original(loss)
    if not accumulation.is_known(loss):
        return logits, labels
    if isinstance(loss, _OF_ROWS):
        if labels.dim() > 1 and labels.shape == logits.shape[:-1]:
            return logits.flatten(0, -2), labels.flatten()
        return logits, labels
    if logits.shape == (*labels.shape, 1):
        logits = logits.squeeze(-1)
    wants_floats = isinstance(loss, nn.BCEWithLogitsLoss | nn.MSELoss)
    return logits, labels.to(logits.dtype) if wants_floats else labels


def _state_file(args: TrainingArguments, state: TrainerState) -> Path:
    """Where the present step's checkpoint keeps our state; each rank has its own."""
    folder = Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"
    return folder / f"imbalance-doctor-rank{process_rank()}.pt"
