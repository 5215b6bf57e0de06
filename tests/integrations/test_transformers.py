"""The callback in real runs of the Hugging Face Trainer, on a tiny vision transformer."""

import numpy as np
import pytest
import torch
from torch import nn

from imbalance_doctor import diagnose, load_run
from losses import LossWarmupWrapper, SigmoidFocalLoss, SmoothAPLoss, SoftmaxFocalLoss
from tests.clinic.families import digits
from tests.integrations.rare import OwnRate, fitting, rows, told, too_small

transformers = pytest.importorskip("transformers")
pytest.importorskip("accelerate")
from imbalance_doctor.integrations.transformers import DoctorCallback  # noqa: E402

POOL = {"IMB002", "IMB003"}
BATCH = 64


class Digits(torch.utils.data.Dataset):
    """Handwritten digits, 8 rare against the rest, as a vision model takes them."""

    def __init__(self, batches, rate=0.005, seed=0):
        self.x, self.y = rows(batches * BATCH, law=digits(), rate=rate, seed=seed).tensors

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        return {"pixel_values": self.x[index].view(1, 8, 8), "labels": self.y[index]}


def tiny_model():
    return transformers.ViTForImageClassification(
        transformers.ViTConfig(
            image_size=8, patch_size=4, num_channels=1, hidden_size=16, num_hidden_layers=1,
            num_attention_heads=2, intermediate_size=32, num_labels=1, hidden_dropout_prob=0.0,
        )
    )  # fmt: skip


def quiet(run_dir, loss_fn=None, **settings):
    return DoctorCallback(run_dir, loss_fn, **{"on_finding": "log", **settings})


def make_trainer(tmp_path, callback, data, *callbacks, model=None, kind=None, metrics=None, **options):
    settings = {
        "output_dir": str(tmp_path / "out"),
        "per_device_train_batch_size": BATCH,
        "per_device_eval_batch_size": 200,
        "num_train_epochs": 1,
        "learning_rate": 3e-3,
        "report_to": "none",
        "save_strategy": "no",
        "disable_tqdm": True,
        "use_cpu": True,
        "logging_strategy": "no",
    }
    return (kind or transformers.Trainer)(
        model or tiny_model(),
        transformers.TrainingArguments(**settings | options),
        train_dataset=data,
        eval_dataset=Digits(8, rate=0.1, seed=1),
        callbacks=[*callbacks, callback],
        compute_loss_func=callback.compute_loss if callback.loss_fn is not None else None,
        compute_metrics=callback.compute_metrics(metrics),
    )


def dicts(findings):
    return [finding.to_dict() for finding in findings]


# --- what is found ------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(("loss_fn", "sick"), [(too_small, True), (fitting, False)], ids=["sick", "healthy"])
def test_a_pool_too_small_is_diagnosed_and_one_that_fits_is_not(tmp_path, loss_fn, sick):
    callback = quiet(tmp_path / "run", loss_fn())
    make_trainer(tmp_path, callback, Digits(400)).train()
    codes = {finding.code for finding in callback.doctor.findings}
    assert bool(codes & POOL) == sick
    assert dicts(diagnose(tmp_path / "run").findings) == dicts(callback.doctor.findings)


@pytest.mark.slow
def test_a_resumed_run_tells_nothing_twice_and_supersedes_what_it_repeats(tmp_path):
    heard = []
    run_dir, data = tmp_path / "run", Digits(200)
    callback = quiet(run_dir, too_small(), on_finding=heard.append)
    stops = StopAt(160)
    options = {"save_strategy": "steps", "save_steps": 120}
    make_trainer(tmp_path, callback, data, stops, **options).train()
    assert load_run(run_dir).steps()[-1].step == 151
    callback = quiet(run_dir, too_small(), on_finding=heard.append)
    onward = make_trainer(tmp_path, callback, data)
    onward.train(resume_from_checkpoint=str(tmp_path / "out/checkpoint-120"))
    assert onward.state.global_step == 200

    told = [
        (finding.code, finding.class_index, finding.severity) for finding in heard if finding.code in POOL
    ]
    assert told
    assert len(told) == len(set(told))
    steps = [record.step for record in load_run(run_dir).steps()]
    assert steps == list(range(1, 200, 10))
    assert dicts(diagnose(run_dir).findings) == dicts(callback.doctor.findings)


class StopAt(transformers.TrainerCallback):
    """A run that ends early, as by a time limit."""

    def __init__(self, step):
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        control.should_training_stop = state.global_step >= self.step
        return control


def tensors(module):
    return {name: value.clone() for name, value in module.state_dict().items() if torch.is_tensor(value)}


def test_the_loss_and_the_monitor_go_on_from_the_checkpoint(tmp_path):
    loss_fn = fitting()
    first = make_trainer(
        tmp_path, quiet(None, loss_fn), Digits(6), StopAt(4), save_strategy="steps", save_steps=4
    )
    first.train()
    held = tensors(loss_fn)
    assert held
    resumed = fitting()
    seen = {}

    class AtFirstStep(transformers.TrainerCallback):
        def on_step_begin(self, args, state, control, **kwargs):
            if not seen:
                seen.update(tensors(resumed))

    callback = quiet(tmp_path / "run", resumed, every=1)
    onward = make_trainer(
        tmp_path, callback, Digits(6), AtFirstStep(), restore_callback_states_from_checkpoint=True
    )
    onward.train(resume_from_checkpoint=True)
    torch.testing.assert_close(seen, held)
    assert [record.step for record in load_run(tmp_path / "run").steps()] == [5, 6]


def test_a_checkpoint_without_our_file_starts_anew_and_says_so(tmp_path):
    make_trainer(
        tmp_path, quiet(None, fitting()), Digits(4), StopAt(2), save_strategy="steps", save_steps=2
    ).train()
    (file,) = (tmp_path / "out").rglob("imbalance-doctor-rank0.pt")
    file.unlink()
    with pytest.warns(
        UserWarning, match=r"rank0\.pt is missing, so the loss and the monitor start without a checkpoint"
    ):
        make_trainer(tmp_path, quiet(None, fitting()), Digits(4)).train(resume_from_checkpoint=True)


# --- steps --------------------------------------------------------------------------------------------


class Logged(transformers.TrainerCallback):
    """The steps and learning rates that the Trainer logs."""

    def __init__(self):
        self.steps, self.rates = [], []

    def on_log(self, args, state, control, logs=None, **kwargs):
        if "learning_rate" in logs:
            self.steps.append(state.global_step)
            self.rates.append(logs["learning_rate"])


@pytest.mark.parametrize("accumulation", [1, 4])
def test_a_step_is_an_optimizer_step_with_the_number_and_rate_that_the_trainer_logs(tmp_path, accumulation):
    logged, callback = Logged(), quiet(tmp_path / "run", fitting(), every=1)
    make_trainer(
        tmp_path, callback, Digits(6), logged,
        gradient_accumulation_steps=accumulation, logging_strategy="steps", logging_steps=1,
    ).train()  # fmt: skip
    run = load_run(tmp_path / "run")
    expected = list(range(1, run.info.total_steps + 1))
    assert len(expected) == (6 if accumulation == 1 else 2)
    assert [record.step for record in run.steps()] == logged.steps == expected
    np.testing.assert_allclose(run.stats["lr"], logged.rates, rtol=1e-6)


class Constant:
    """A schedule for an optimizer without a rate to move."""

    def step(self):
        pass

    def get_last_lr(self):
        return [0.0]


def test_a_learning_rate_that_is_no_number_is_left_out(tmp_path):
    callback = quiet(tmp_path / "run", fitting(), every=1)
    trainer = make_trainer(tmp_path, callback, Digits(3))
    trainer.optimizer, trainer.lr_scheduler = OwnRate(trainer.model.parameters()), Constant()
    trainer.train()
    stats = load_run(tmp_path / "run").stats
    assert len(stats) == 3
    assert "lr" not in stats


def test_a_training_of_no_step_ends_as_it_would_have(tmp_path):
    callback = quiet(tmp_path / "run", fitting())
    make_trainer(tmp_path, callback, Digits(2), num_train_epochs=0).train()
    assert callback.doctor.findings == ()


# --- gradient accumulation ----------------------------------------------------------------------------


class Linear(nn.Module):
    """A linear layer that the Trainer takes for a model: of rows, or of tokens."""

    def __init__(self, classes):
        super().__init__()
        self.layer = nn.Linear(6, classes)
        self.config = transformers.PretrainedConfig()

    def forward(self, x, labels=None):
        return {"logits": self.layer(x)}


def rows_of(labels):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(len(labels), *labels.shape[1:2], 6, generator=generator)
    return [{"x": row, "labels": label} for row, label in zip(x, labels, strict=True)]


def class_ids():
    """32 rows, positives in two of the eight batches of four, one batch without labels."""
    labels = (torch.arange(32) % 16 == 5).long()
    labels[8:12] = -100
    return labels


def tokens():
    """Labels of eight tokens in 32 rows, whose number differs."""
    labels = torch.arange(32 * 8).view(32, 8) % 13 % 3
    labels[torch.arange(8) > torch.arange(32)[:, None] % 8] = -100
    return labels


def wrapper():
    likely = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 30.0]))
    return LossWarmupWrapper(likely, SmoothAPLoss(2, queue_size=0), warmup_epochs=9)


class Unknown(nn.Module):
    """A loss that nobody knows: a mean over rows."""

    def forward(self, logits, labels):
        return nn.functional.cross_entropy(logits, labels)


#: Losses, labels and number of logits; the settings that the Trainer counts items by do not fit most of them.
LOSSES = {
    "mean": (nn.CrossEntropyLoss, class_ids, 2),
    "class weights": (lambda: nn.CrossEntropyLoss(weight=torch.tensor([1.0, 30.0])), class_ids, 2),
    "sum": (lambda: nn.CrossEntropyLoss(reduction="sum"), class_ids, 2),
    "positives": (lambda: SoftmaxFocalLoss(reduction="mean_positive"), class_ids, 2),
    "focal sum": (lambda: SigmoidFocalLoss(reduction="sum"), lambda: class_ids() == 1, 1),
    "wrapper": (wrapper, class_ids, 2),
    "tokens": (lambda: SoftmaxFocalLoss(alpha=[1.0, 5.0, 9.0]), tokens, 3),
    "tokens, weights": (lambda: nn.CrossEntropyLoss(weight=torch.tensor([1.0, 5.0, 9.0])), tokens, 3),
    "one logit": (lambda: nn.BCEWithLogitsLoss(pos_weight=torch.tensor([9.0])), lambda: class_ids() == 1, 1),
    "unknown": (Unknown, lambda: (torch.arange(32) % 16 == 5).long(), 2),
}


def gradient(directory, name, accumulation, gpus=1, ranks=1, **options):
    """The gradient of one optimizer step over the same 32 rows, in one batch or in several."""
    make, labels, logits = LOSSES[name]

    class Keeps(transformers.TrainerCallback):
        def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
            self.found = model.layer.weight.grad.clone()

    keeps, callback = Keeps(), quiet(None, make())
    torch.manual_seed(1)
    trainer = transformers.Trainer(
        Linear(logits),
        transformers.TrainingArguments(
            str(directory), per_device_train_batch_size=32 // accumulation // ranks, use_cpu=True,
            gradient_accumulation_steps=accumulation, max_grad_norm=0.0, max_steps=1, report_to="none",
            save_strategy="no", disable_tqdm=True, seed=3, **options,
        ),
        train_dataset=rows_of(labels()),
        callbacks=[callback, keeps],
        compute_loss_func=callback.compute_loss,
    )  # fmt: skip
    trainer.args._n_gpu = gpus  # as DataParallel on several GPUs has it, which takes whole batches
    trainer.train()
    return keeps.found


@pytest.mark.parametrize("name", LOSSES)
def test_accumulated_gradients_are_those_of_the_whole_batch(tmp_path, name):
    whole, parts = gradient(tmp_path, name, 1), gradient(tmp_path, name, 8)
    torch.testing.assert_close(parts, whole, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("average", [True, False])
@pytest.mark.parametrize("name", ["class weights", "sum"])
def test_accumulated_gradients_are_the_same_on_several_gpus_of_one_process(tmp_path, name, average):
    whole = gradient(tmp_path, name, 1)
    parts = gradient(tmp_path, name, 8, gpus=2, average_tokens_across_devices=average)
    torch.testing.assert_close(parts, whole, rtol=1e-4, atol=1e-6)


ON_RANKS = """
import sys
from pathlib import Path
import torch
from tests.integrations.test_transformers import LOSSES, gradient

found = {
    (name, batches): gradient(Path("out"), name, batches, ranks=2, ddp_backend="gloo")
    for name in LOSSES
    for batches in (1, 4)
}
if torch.distributed.get_rank() == 0:
    torch.save(found, "found.pt")
"""


@pytest.mark.slow
def test_gradients_of_two_ranks_are_those_of_the_whole_batch(tmp_path, launch):
    launch(ON_RANKS, processes=2)
    for (name, _), found in torch.load(tmp_path / "found.pt").items():
        whole = gradient(tmp_path, name, 1)
        torch.testing.assert_close(
            found, whole, rtol=1e-4, atol=1e-6, msg=lambda text, name=name: name + text
        )


def told_by(caught):
    return [str(each.message) for each in caught if "imbalance-doctor" in str(each.message)]


@pytest.mark.parametrize(
    ("loss_fn", "batches", "message"),
    [
        (Unknown, 4, "the divisor of Unknown is not known"),
        (lambda: SmoothAPLoss(1), 4, "SmoothAPLoss ranks each batch against its queue"),
        (
            lambda: LossWarmupWrapper(nn.BCEWithLogitsLoss(), SmoothAPLoss(1)),
            4,
            "LossWarmupWrapper ranks each",
        ),
        (Unknown, 1, None),
        (lambda: SmoothAPLoss(1), 1, None),
        (lambda: nn.BCEWithLogitsLoss(pos_weight=torch.tensor([9.0])), 4, None),
        (SigmoidFocalLoss, 4, None),
    ],
)
def test_what_cannot_be_put_together_from_parts_is_told_of_before_the_first_step(
    tmp_path, recwarn, loss_fn, batches, message
):
    class Ends(transformers.TrainerCallback):
        def on_step_begin(self, args, state, control, **kwargs):
            seen.append(told_by(recwarn.list))
            raise KeyboardInterrupt

    seen = []
    make = loss_fn if loss_fn is not Unknown else lambda: Unknown()
    trainer = make_trainer(
        tmp_path, quiet(None, make()), Digits(4), Ends(), gradient_accumulation_steps=batches
    )
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    told = [text for text in seen[0] if "gradient_accumulation_steps" in text]
    assert len(told) == (message is not None)
    assert message is None or message in told[0]


def test_the_trainer_is_as_it_was_after_the_training(tmp_path):
    callback = quiet(None, fitting())
    trainer = make_trainer(tmp_path, callback, Digits(2))
    fetch = trainer.get_batch_samples
    for _ in range(2):
        trainer.train()
        assert trainer.get_batch_samples == fetch
    assert callback._batches.labels == []


# --- settings that do other than they seem ------------------------------------------------------------


class WithLoss(Linear):
    """A model that computes its loss where it is given labels."""

    def __init__(self, loss_fn):
        super().__init__(2)
        self.loss_fn = loss_fn

    def forward(self, x, labels=None):
        found = super().forward(x)
        return found if labels is None else {"loss": self.loss_fn(found["logits"], labels), **found}


@pytest.mark.parametrize(
    ("inside", "message"),
    [
        (False, r"has no effect.*label_smoothing=0\.1\)"),
        (True, r"makes the Trainer compute a loss of its own"),
    ],
)
def test_label_smoothing_that_does_other_than_it_seems_is_told_of(tmp_path, inside, message):
    model = WithLoss(nn.CrossEntropyLoss()) if inside else Linear(2)
    callback = quiet(None, None if inside else nn.CrossEntropyLoss())
    data = rows_of((torch.arange(8) % 4 == 0).long())
    with pytest.warns(UserWarning, match=r"label_smoothing_factor=0\.1 " + message):
        make_trainer(tmp_path, callback, data, model=model, label_smoothing_factor=0.1).train()


def test_a_loss_that_the_trainer_was_not_given_is_told_of(tmp_path):
    callback = quiet(None, nn.BCEWithLogitsLoss())
    trainer = make_trainer(tmp_path, callback, Digits(1), model=OwnModel(fitting()))
    trainer.compute_loss_func = None
    with pytest.warns(UserWarning, match=r"not with the callback's loss_fn.*compute_loss_func="):
        trainer.train()


def test_a_callback_that_the_trainer_was_not_given_is_told_of(tmp_path):
    callback = quiet(None, fitting())
    trainer = make_trainer(tmp_path, callback, Digits(1))
    trainer.remove_callback(callback)
    with pytest.warns(UserWarning, match=r"nothing is recorded.*callbacks=\[callback\]"):
        trainer.train()


class Anything(nn.Module):
    """A model of one's own whose forward takes whatever comes, as transformers' own models do."""

    def __init__(self, loss_fn):
        super().__init__()
        self.inner = OwnModel(loss_fn)
        self.config = self.inner.config

    def forward(self, pixel_values, labels=None, **kwargs):
        return self.inner(pixel_values, labels)


class Declared(Anything):
    accepts_loss_kwargs = False


class Divides(Anything):
    def forward(self, pixel_values, labels=None, num_items_in_batch=None, **kwargs):
        return self.inner(pixel_values, labels)


@pytest.mark.parametrize(
    ("kind", "reduction", "batches", "wrong"),
    [
        (Anything, "mean", 4, True),
        (Anything, "mean", 1, False),
        (Anything, "sum", 4, False),
        (Declared, "mean", 4, False),
        (Divides, "mean", 4, False),
    ],
)
def test_a_models_loss_that_nobody_divides_is_told_of(tmp_path, recwarn, kind, reduction, batches, wrong):
    model = kind(SigmoidFocalLoss(reduction=reduction))
    data = [{**row, "labels": row["labels"].float().view(1)} for row in Digits(1)]
    make_trainer(tmp_path, quiet(None), data, model=model, gradient_accumulation_steps=batches).train()
    found = [text for text in told_by(recwarn.list) if "accepts_loss_kwargs = False" in text]
    assert len(found) == wrong
    assert not wrong or "4 times too large" in found[0]


def test_a_model_of_the_next_token_is_refused(tmp_path):
    class OwnForCausalLM(OwnModel):
        """Transformers reads what a model predicts from its name."""

    with pytest.raises(ValueError, match="got OwnForCausalLM, which predicts the next token"):
        make_trainer(tmp_path, quiet(None, fitting()), Digits(1), model=OwnForCausalLM(fitting())).train()


@pytest.mark.parametrize(
    ("named", "given", "expected"),
    [
        ({0: "ok", 1: "fraud"}, {}, ("ok", "fraud")),
        ({"1": "fraud", "0": "ok"}, {}, ("ok", "fraud")),
        ({0: "LABEL_0", 1: "LABEL_1"}, {}, None),
        ({0: "ok", 1: "fraud"}, {"class_names": ["no", "yes"]}, ("no", "yes")),
    ],
    ids=["names", "ids as text", "made up", "given"],
)
def test_classes_are_called_as_in_the_models_config(tmp_path, named, given, expected):
    model = Linear(2)
    model.config = transformers.PretrainedConfig(id2label=named)
    callback = quiet(tmp_path / "run", nn.CrossEntropyLoss(), every=1, **given)
    make_trainer(tmp_path, callback, rows_of((torch.arange(8) % 4 == 0).long()), model=model).train()
    assert load_run(tmp_path / "run").info.class_names == expected


# --- evaluation ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("batched", [False, True])
def test_each_evaluation_during_training_is_recorded_once(tmp_path, batched):
    calls = []

    def inner(prediction, compute_result=None):
        calls.append(compute_result)
        return {"own": 0.5}

    callback = quiet(tmp_path / "run", fitting(), every=1)
    trainer = make_trainer(
        tmp_path, callback, Digits(4), metrics=inner,
        eval_strategy="steps", eval_steps=2, batch_eval_metrics=batched,
    )  # fmt: skip
    queue = []
    trainer.add_callback(QueueSeen(callback.loss_fn, queue))
    trainer.train()
    assert trainer.evaluate()["eval_own"] == 0.5  # after the training: not part of the run
    evals = load_run(tmp_path / "run").evaluations
    assert [record.step for record in evals] == [2, 4]
    assert {float(record.metrics["rows"][0]) for record in evals} == {8.0 * BATCH}
    assert set(calls) == ({False, True} if batched else {None})
    assert queue == [2 * BATCH, 4 * BATCH]  # no row of the validation data is in the queue


@pytest.mark.parametrize("batched", [False, True])
def test_of_several_evaluation_datasets_the_first_is_the_series(tmp_path, batched):
    callback = quiet(tmp_path / "run", fitting(), every=1)
    trainer = make_trainer(
        tmp_path, callback, Digits(4), eval_strategy="steps", eval_steps=2, batch_eval_metrics=batched,
        metrics=lambda prediction, compute_result=None: {"own": 0.5},
    )  # fmt: skip
    trainer.eval_dataset = {"first": Digits(8, rate=0.1, seed=1), "second": Digits(4, rate=0.1, seed=2)}
    trainer.train()
    assert trainer.state.log_history[-2]["eval_second_own"] == 0.5
    evals = load_run(tmp_path / "run").evaluations
    assert [(record.step, record.metrics["rows"][0]) for record in evals] == [(2, 512), (4, 512)]


def test_an_evaluation_that_was_broken_off_leaves_nothing_to_the_next_run(tmp_path):
    batches = iter(range(100))

    def inner(prediction, compute_result):
        if next(batches) == 1:
            raise RuntimeError("a worker died")
        return {}

    trainer = make_trainer(
        tmp_path, quiet(tmp_path / "run", fitting(), every=1), Digits(4), metrics=inner,
        eval_strategy="steps", eval_steps=2, batch_eval_metrics=True,
    )  # fmt: skip
    with pytest.raises(RuntimeError, match="a worker died"):
        trainer.train()
    trainer.train()
    evals = load_run(tmp_path / "run").evaluations
    assert [(record.step, record.metrics["rows"][0]) for record in evals] == [(2, 512), (4, 512)]


class QueueSeen(transformers.TrainerCallback):
    def __init__(self, loss_fn, seen):
        self.loss_fn, self.seen = loss_fn, seen

    def on_evaluate(self, args, state, control, **kwargs):
        if state.global_step and len(self.seen) < 2:
            self.seen.append(round(float(self.loss_fn.queue.fill()) * self.loss_fn.queue.size))


def test_predictions_of_each_batch_are_one_evaluation(tmp_path):
    callback = quiet(tmp_path / "run", fitting(), every=1)
    make_trainer(
        tmp_path, callback, Digits(2), eval_strategy="epoch", eval_do_concat_batches=False
    ).train()  # 512 rows in batches of 200
    assert [float(e.metrics["rows"][0]) for e in load_run(tmp_path / "run").evaluations] == [512]


def test_class_ids_are_no_scores(tmp_path):
    callback = quiet(tmp_path / "run", fitting(), every=1)
    trainer = make_trainer(tmp_path, callback, Digits(2), eval_strategy="epoch")
    trainer.preprocess_logits_for_metrics = lambda logits, labels: (logits > 0).long()
    with pytest.warns(UserWarning, match=r"expected predictions to be logits, got whole numbers"):
        trainer.train()
    assert load_run(tmp_path / "run").evaluations == []


# --- which loss ---------------------------------------------------------------------------------------


class OwnModel(transformers.PreTrainedModel):
    """A model that computes its loss with a module of its own."""

    config_class = transformers.PretrainedConfig

    def __init__(self, loss_fn):
        super().__init__(transformers.PretrainedConfig())
        self.net, self.loss_fn = nn.Linear(64, 1), loss_fn

    def forward(self, pixel_values, labels=None):
        logits = self.net(pixel_values.flatten(1))
        return {"loss": self.loss_fn(logits, labels), "logits": logits}


def test_the_loss_inside_a_model_is_watched(tmp_path):
    callback = quiet(tmp_path / "run", every=1)
    make_trainer(tmp_path, callback, Digits(3), model=OwnModel(fitting())).train()
    assert [record.step for record in load_run(tmp_path / "run").steps()] == [1, 2, 3]


def test_a_model_without_a_loss_module_says_what_to_do(tmp_path):
    with pytest.raises(
        ValueError, match=r"expected ViTForImageClassification to have a loss module to watch"
    ):
        make_trainer(tmp_path, quiet(None), Digits(1)).train()
    with pytest.raises(
        ValueError, match=r"a loss for compute_loss, got none: create DoctorCallback\(run_dir, loss_fn\)"
    ):
        quiet(None).compute_loss({"logits": torch.zeros(1)}, torch.zeros(1))
    with pytest.raises(TypeError, match="expected loss_fn to be a loss module, got function"):
        quiet(None, lambda logits, labels: None)


def test_a_warmup_wrapper_is_told_epochs_and_steps(tmp_path):
    loss_fn = LossWarmupWrapper(nn.BCEWithLogitsLoss(), fitting(), warmup_epochs=1, temp_decay_steps=10)
    callback = quiet(tmp_path / "run", loss_fn, every=1)
    make_trainer(tmp_path, callback, Digits(2), num_train_epochs=3).train()
    phases = [float(record.stats["phase"]) for record in load_run(tmp_path / "run").steps()]
    assert phases[:2] == [0.0, 0.0]
    assert set(phases[2:]) == {max(phases)}
    assert loss_fn.current_temperature < loss_fn.temp_start


class Stream(torch.utils.data.IterableDataset):
    """Data without a length."""

    def __init__(self, batches):
        self.data = Digits(batches)

    def __iter__(self):
        return (self.data[index] for index in range(len(self.data)))


def test_epochs_of_data_without_a_length_are_counted(tmp_path):
    loss_fn = told(warmup_epochs=1)
    make_trainer(tmp_path, quiet(None, loss_fn), Stream(2), max_steps=6).train()
    assert [number for kind, number in loss_fn.told if kind == "epoch"] == [0, 1, 2]


def test_epochs_go_on_after_a_resume(tmp_path):
    data, options = Digits(2), {"num_train_epochs": 4}
    make_trainer(
        tmp_path, quiet(None, told()), data, StopAt(3), save_strategy="steps", save_steps=3, **options
    ).train()
    loss_fn = told()
    make_trainer(tmp_path, quiet(None, loss_fn), data, **options).train(resume_from_checkpoint=True)
    assert [number for kind, number in loss_fn.told if kind == "epoch"] == [1, 2, 3]
