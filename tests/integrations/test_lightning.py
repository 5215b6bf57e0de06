"""The Lightning callback in real Trainer runs."""

import json
import re

import pytest
import torch
from torch import nn

from imbalance_doctor import ImbalanceError, diagnose, load_run
from losses import LossWarmupWrapper, SmoothAPLoss, SoftmaxFocalLoss
from tests.integrations.rare import OwnRate, fitting, loader, rows, small_mlp, told, too_small

pl = pytest.importorskip("lightning.pytorch")
from imbalance_doctor.integrations.common import _WarmupDriver, find_losses  # noqa: E402
from imbalance_doctor.integrations.lightning import DoctorCallback  # noqa: E402

POOL = {"IMB002", "IMB003"}


class Classifier(pl.LightningModule):
    """A small network with its loss as a module."""

    def __init__(self, loss_fn):
        super().__init__()
        self.net, self.loss_fn = small_mlp(), loss_fn

    def training_step(self, batch, batch_idx):
        x, y = batch
        wants_float = isinstance(self.loss_fn, nn.BCEWithLogitsLoss)
        return self.loss_fn(self.net(x)[:, 0], y.float() if wants_float else y)

    def validation_step(self, batch, batch_idx):
        x, y = batch
        return {"logits": self.net(x), "targets": y}

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=3e-3)


def trainer(tmp_path, *callbacks, package=pl, **options):
    settings = {
        "max_epochs": 1,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "accelerator": "cpu",
        "devices": 1,
        "num_sanity_val_steps": 0,
        "default_root_dir": tmp_path,
    }
    return package.Trainer(callbacks=list(callbacks), **settings | options)


def quiet(run_dir, **settings):
    return DoctorCallback(run_dir, **{"on_finding": "log", **settings})


def fit(tmp_path, callback, model=None, batches=25, **options):
    own = trainer(tmp_path, callback, **options)
    own.fit(model or Classifier(fitting()), loader(batches))
    return own


def dicts(findings):
    return [finding.to_dict() for finding in findings]


# --- what is found ------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(("loss_fn", "sick"), [(too_small, True), (fitting, False)], ids=["sick", "healthy"])
def test_a_pool_too_small_is_diagnosed_and_one_that_fits_is_not(tmp_path, loss_fn, sick):
    callback = quiet(tmp_path / "run")
    fit(tmp_path, callback, Classifier(loss_fn()), batches=250)
    codes = {finding.code for finding in callback.doctor.findings}
    assert bool(codes & POOL) == sick
    after = diagnose(tmp_path / "run")
    assert dicts(after.findings) == dicts(callback.doctor.findings)


def saving(tmp_path, step):
    """Lightning's own checkpoints, and where the one of this step will be."""
    callback = pl.callbacks.ModelCheckpoint(tmp_path / "saved", every_n_train_steps=step, save_top_k=-1)
    return callback, tmp_path / "saved" / f"epoch=0-step={step}.ckpt"


@pytest.mark.slow
def test_a_resumed_run_tells_nothing_twice_and_supersedes_what_it_repeats(tmp_path):
    heard = []
    run_dir, data = tmp_path / "run", loader(200)
    saver, saved = saving(tmp_path, 120)
    callback = quiet(run_dir, on_finding=heard.append)
    first = trainer(tmp_path, callback, saver, max_steps=160, enable_checkpointing=True)
    first.fit(Classifier(too_small()), data)
    assert load_run(run_dir).steps()[-1].step == 150
    callback = quiet(run_dir, on_finding=heard.append)
    onward = trainer(tmp_path, callback)
    onward.fit(Classifier(too_small()), data, ckpt_path=saved)

    told = [
        (finding.code, finding.class_index, finding.severity) for finding in heard if finding.code in POOL
    ]
    assert told
    assert len(told) == len(set(told))
    steps = [record.step for record in load_run(run_dir).steps()]
    assert steps == list(range(0, 200, 10))
    assert dicts(diagnose(run_dir).findings) == dicts(callback.doctor.findings)


def test_state_goes_through_the_checkpoint_to_another_directory(tmp_path):
    data = loader(120)
    saver, saved = saving(tmp_path, 100)
    trainer(tmp_path, first := quiet(tmp_path / "one"), saver, max_steps=100, enable_checkpointing=True).fit(
        Classifier(too_small()), data
    )
    held = torch.load(saved, weights_only=True)["callbacks"]["DoctorCallback"]
    assert json.loads(json.dumps(held)) == held
    known = {finding.code for finding in first.doctor.diagnosis.open}
    assert known & POOL
    heard = []
    callback = quiet(tmp_path / "two", on_finding=heard.append)
    trainer(tmp_path, callback).fit(Classifier(too_small()), data, ckpt_path=saved)
    assert known <= {finding.code for finding in callback.doctor.findings}
    assert not known & {finding.code for finding in heard}


def test_a_checkpoint_that_was_validated_is_not_that_of_the_next_fit(tmp_path):
    held_out = torch.utils.data.DataLoader(rows(100, rate=0.1, seed=1), batch_size=100)
    settings = {"every": 1, "select": ["IMB001"]}
    broken = loader(2)
    broken.dataset.tensors[0].fill_(torch.nan)
    old = trainer(tmp_path, first := quiet(tmp_path / "one", **settings))
    old.fit(Classifier(fitting()), broken)
    old.save_checkpoint(tmp_path / "old.ckpt")
    assert first.doctor.findings
    own = trainer(tmp_path, callback := quiet(tmp_path / "two", **settings))
    own.validate(Classifier(fitting()), held_out, ckpt_path=tmp_path / "old.ckpt", verbose=False)
    own.fit(Classifier(fitting()), loader(2))
    assert callback.doctor.findings == ()


# --- steps --------------------------------------------------------------------------------------------


class Seen(pl.Callback):
    """What Lightning's loggers would show as the step of each training batch."""

    def __init__(self):
        self.steps = []

    def on_train_batch_end(self, trainer, *_):
        self.steps.append(trainer.fit_loop.epoch_loop._batches_that_stepped)


@pytest.mark.parametrize(
    ("options", "expected"),
    [({}, 12), ({"accumulate_grad_batches": 5}, 3), ({"max_epochs": 2, "accumulate_grad_batches": 4}, 6)],
    ids=["plain", "accumulated with a rest", "two epochs"],
)
def test_a_step_is_an_optimizer_step_with_the_loggers_number(tmp_path, options, expected):
    callback, seen = quiet(tmp_path / "run", every=1), Seen()
    own = fit(tmp_path, callback, batches=12, **options)  # the callback itself is first in the list
    own = trainer(tmp_path, seen, **options)
    own.fit(Classifier(fitting()), loader(12))
    steps = [record.step for record in load_run(tmp_path / "run").steps()]
    assert own.global_step == expected
    assert steps == list(range(expected)) == sorted(set(seen.steps))
    assert load_run(tmp_path / "run").info.total_steps == expected


def accumulating(recwarn):
    return [str(each.message) for each in recwarn if "accumulate_grad_batches=" in str(each.message)]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"accumulate_grad_batches": 4}, 1),
        ({"callbacks": [pl.callbacks.GradientAccumulationScheduler({1: 4})], "max_epochs": 2}, 1),
        ({}, 0),
    ],
    ids=["accumulated", "scheduled", "plain"],
)
@pytest.mark.parametrize("name", ["ranking", "positives", "mean"])
def test_accumulation_that_is_not_one_batch_is_told_of_once(tmp_path, recwarn, name, options, told):
    class Rows(Classifier):
        def training_step(self, batch, batch_idx):
            logits = self.net(batch[0])
            return self.loss_fn(torch.cat([-logits, logits], dim=1), batch[1])

    loss_fn = {
        "ranking": lambda: SmoothAPLoss(2),
        "positives": lambda: SoftmaxFocalLoss(reduction="mean_positive"),
        "mean": SoftmaxFocalLoss,
    }[name]()
    others, options = options.get("callbacks", []), {k: v for k, v in options.items() if k != "callbacks"}
    own = trainer(tmp_path, quiet(None), *others, **options)
    own.fit(Rows(loss_fn), loader(20, rate=0.02))
    messages = accumulating(recwarn)
    assert len(messages) == (0 if name == "mean" else told)
    assert not loss_fn._forward_pre_hooks
    for message in messages:
        assert ("ranks each batch" if name == "ranking" else "the mean of the batches' means") in message


class Normalised(Classifier):
    def __init__(self, loss_fn):
        super().__init__(loss_fn)
        self.net = nn.Sequential(nn.Linear(16, 8), nn.BatchNorm1d(8), nn.Linear(8, 1))


@pytest.mark.parametrize(
    "averaging",
    [
        lambda: pl.callbacks.StochasticWeightAveraging(1e-3, swa_epoch_start=1),
        lambda: pl.callbacks.WeightAveraging(use_buffers=False),
    ],
    ids=["SWA", "moving average"],
)
def test_forwards_of_an_averaged_model_are_no_training(tmp_path, averaging):
    held_out = torch.utils.data.DataLoader(rows(100, rate=0.1, seed=1), batch_size=50)
    callback = quiet(tmp_path / "run", every=1)
    own = trainer(tmp_path, callback, averaging(), max_epochs=3)
    own.fit(Normalised(nn.BCEWithLogitsLoss()), loader(4), held_out)
    run = load_run(tmp_path / "run")
    assert [record.step for record in run.steps()] == list(range(12))
    assert [record.step for record in run.evaluations] == [3, 7, 11]


class TwoOptimizers(Classifier):
    def __init__(self, loss_fn):
        super().__init__(loss_fn)
        self.automatic_optimization = False

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        first, second = self.optimizers()
        self.manual_backward(loss)
        for optimizer in (first, second):
            optimizer.step()
            optimizer.zero_grad()

    def configure_optimizers(self):
        return [torch.optim.SGD(layer.parameters(), lr=0.1) for layer in (self.net[0], self.net[2])]


def test_several_optimizers_each_count_as_in_global_step(tmp_path):
    callback = quiet(tmp_path / "run", every=1)
    own = fit(tmp_path, callback, TwoOptimizers(fitting()), batches=4)
    run = load_run(tmp_path / "run")
    assert own.global_step == 8
    assert [record.step for record in run.steps()] == [0, 2, 4, 6]
    assert run.info.total_steps is None


class Scheduled(Classifier):
    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=1.0)
        halving = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": halving, "interval": "step"}}


def test_the_learning_rate_is_that_of_the_step(tmp_path):
    fit(tmp_path, quiet(tmp_path / "run", every=1), Scheduled(fitting()), batches=3)
    assert load_run(tmp_path / "run").stats["lr"].tolist() == [1.0, 0.5, 0.25]


@pytest.mark.parametrize("rate", [None, "its own"])
def test_a_learning_rate_that_is_no_number_is_left_out(tmp_path, rate):
    class FindsItsRate(Classifier):
        def configure_optimizers(self):
            return OwnRate(self.parameters(), rate)

    fit(tmp_path, quiet(tmp_path / "run", every=1), FindsItsRate(fitting()), batches=3)
    stats = load_run(tmp_path / "run").stats
    assert len(stats) == 3
    assert "lr" not in stats


class ByHand(Classifier):
    def __init__(self, counted):
        super().__init__(fitting())
        self.automatic_optimization, self.counted = False, counted

    def training_step(self, batch, batch_idx):
        optimizer = self.optimizers(use_pl_optimizer=self.counted)
        optimizer.zero_grad()
        self.manual_backward(super().training_step(batch, batch_idx))
        optimizer.step()


@pytest.mark.parametrize("counted", [True, False])
def test_steps_that_lightning_does_not_count_are_asked_about(tmp_path, recwarn, counted):
    fit(tmp_path, quiet(None), ByHand(counted), batches=3)
    asked = [str(each.message) for each in recwarn if "3 training batches ran" in str(each.message)]
    assert len(asked) == (0 if counted else 1)
    assert counted or "optimizers of self.optimizers()" in asked[0]


def test_a_run_that_breaks_off_has_no_end(tmp_path):
    class Breaks(Classifier):
        def training_step(self, batch, batch_idx):
            if batch_idx == 3:
                raise RuntimeError("a worker died")
            return super().training_step(batch, batch_idx)

    callback = quiet(tmp_path / "run", every=1)
    with pytest.raises(RuntimeError, match="a worker died"):
        fit(tmp_path, callback, Breaks(fitting()))
    kinds = [json.loads(line)["kind"] for line in (tmp_path / "run/diagnostics-rank0.jsonl").open()]
    assert "end" not in kinds
    assert kinds.count("step") == 3


def test_an_error_can_end_the_run(tmp_path):
    callback = quiet(tmp_path / "run", on_finding="raise", select=["IMB001"])
    data = loader(50)
    data.dataset.tensors[0].fill_(torch.nan)
    with pytest.raises(ImbalanceError, match="IMB001"):
        trainer(tmp_path, callback).fit(Classifier(fitting()), data)
    assert not callback._monitor.running


def test_pytorch_lightning_is_served_too(tmp_path):
    package = pytest.importorskip("pytorch_lightning")

    class Old(package.LightningModule):
        training_step, configure_optimizers = Classifier.training_step, Classifier.configure_optimizers

        def __init__(self):
            super().__init__()
            self.net, self.loss_fn = small_mlp(), fitting()

    callback = quiet(tmp_path / "run", every=1)
    trainer(tmp_path, callback, package=package).fit(Old(), loader(3))
    assert len(load_run(tmp_path / "run").steps()) == 3


# --- which losses -------------------------------------------------------------------------------------


class Heads(nn.Module):
    def __init__(self):
        super().__init__()
        self.fraud = nn.ModuleDict({"loss": fitting(), "layer": nn.Linear(2, 1)})
        self.same = self.fraud["loss"]
        self.kind = torch.compile(nn.CrossEntropyLoss(), backend="eager")
        self.main = LossWarmupWrapper(nn.BCEWithLogitsLoss(), fitting(), warmup_steps=3)


def test_losses_are_found_wherever_they_are_and_parts_of_losses_are_not():
    model = Heads()
    assert find_losses(model) == {"fraud.loss": model.fraud["loss"], "kind": model.kind, "main": model.main}


class TwoLosses(Classifier):
    def __init__(self):
        super().__init__(fitting())
        self.auxiliary = nn.BCEWithLogitsLoss()

    def training_step(self, batch, batch_idx):
        x, y = batch
        return super().training_step(batch, batch_idx) + self.auxiliary(self.net(x)[:, 0], y.float())


def test_several_losses_are_named_by_their_attributes(tmp_path):
    fit(tmp_path, quiet(tmp_path / "found", every=1), TwoLosses(), batches=2)
    assert set(load_run(tmp_path / "found").losses) == {"loss_fn", "auxiliary"}
    model = TwoLosses()
    fit(tmp_path, quiet(tmp_path / "given", losses={"aux": model.auxiliary}), model, batches=2)
    assert set(load_run(tmp_path / "given").losses) == {"aux"}


def test_a_loss_that_is_a_function_cannot_be_heard_and_the_error_says_what_to_do(tmp_path):
    class Functional(Classifier):
        def training_step(self, batch, batch_idx):
            return nn.functional.binary_cross_entropy_with_logits(self.net(batch[0])[:, 0], batch[1].float())

    with pytest.raises(
        ValueError, match=r"expected Functional to have a loss module to watch.*self\.loss_fn = nn"
    ):
        fit(tmp_path, quiet(None), Functional(None))


def test_settings_that_do_not_fit_are_named_before_training():
    with pytest.raises(ValueError, match="every to be a number of steps, at least 1, got 0"):
        DoctorCallback(None, every=0)
    with pytest.raises(TypeError, match="evry"):
        DoctorCallback(None, evry=5)


# --- validation ---------------------------------------------------------------------------------------


def test_each_validation_is_one_evaluation_and_the_sanity_check_is_none(tmp_path):
    held_out = rows(500, rate=0.1, seed=1)
    callback = quiet(tmp_path / "run", every=1)
    own = trainer(tmp_path, callback, max_epochs=2, val_check_interval=5, num_sanity_val_steps=2)
    model = Classifier(fitting())
    own.fit(model, loader(10), torch.utils.data.DataLoader(held_out, batch_size=64))
    own.validate(model, torch.utils.data.DataLoader(held_out, batch_size=64), verbose=False)
    evals = load_run(tmp_path / "run").evaluations
    assert [record.step for record in evals] == [4, 9, 14, 19]
    assert {float(record.metrics["rows"][0]) for record in evals} == {500.0}
    assert {float(record.metrics["positives"][0]) for record in evals} == {float(held_out.tensors[1].sum())}


def test_validation_is_read_from_any_outputs(tmp_path):
    class OwnNames(Classifier):
        def validation_step(self, batch, batch_idx):
            return self.net(batch[0])[:, 0]

    held_out = torch.utils.data.DataLoader(rows(300, rate=0.1, seed=1), batch_size=64)
    own = {"read_validation": lambda outputs, batch: (outputs, batch[1])}
    for name, settings in (("own", own), ("none", {})):
        callback = quiet(tmp_path / name, every=1, **settings)
        trainer(tmp_path, callback).fit(OwnNames(fitting()), loader(3), held_out)
    assert [float(record.metrics["rows"][0]) for record in load_run(tmp_path / "own").evaluations] == [300]
    assert load_run(tmp_path / "none").evaluations == []


def test_reading_that_fails_costs_one_warning(tmp_path):
    def read(outputs, batch):
        raise KeyError("probs")

    held_out = torch.utils.data.DataLoader(rows(300, rate=0.1, seed=1), batch_size=64)
    with pytest.warns(UserWarning, match="reading validation outputs failed"):
        trainer(tmp_path, quiet(None, read_validation=read)).fit(Classifier(fitting()), loader(3), held_out)


class Returns(Classifier):
    """A module whose validation_step returns something else."""

    def __init__(self, change):
        super().__init__(fitting())
        self.change = change

    def validation_step(self, batch, batch_idx):
        return self.change(super().validation_step(batch, batch_idx))


@pytest.mark.parametrize(
    ("change", "read", "message"),
    [
        (lambda out: {**out, "logits": [out["logits"]]}, None, "to be tensors, got list and Tensor"),
        (lambda out: {"logits": out["logits"], "labels": ["a"]}, None, "to be tensors, got Tensor and list"),
        (lambda out: out, lambda out, batch: (out["logits"], *batch), "too many values"),
        (lambda out: out, lambda out, batch: 0.5, "cannot unpack"),
        (lambda out: {**out, "targets": out["targets"][:3]}, None, r"scores \[64, 1\] and targets \[3\]"),
    ],
    ids=["a list of logits", "texts", "three values", "one value", "shapes"],
)
def test_what_is_not_scores_and_targets_costs_one_warning(tmp_path, recwarn, change, read, message):
    held_out = torch.utils.data.DataLoader(rows(128, rate=0.1, seed=1), batch_size=64)
    callback = quiet(tmp_path / "run", every=1, **({"read_validation": read} if read else {}))
    trainer(tmp_path, callback, max_epochs=2).fit(Returns(change), loader(3), held_out)
    (told,) = [str(each.message) for each in recwarn if "imbalance-doctor" in str(each.message)]
    assert re.search(f"reading validation outputs failed .*{message}.*no longer recorded", told)
    run = load_run(tmp_path / "run")
    assert len(run.steps()) == 6
    assert run.evaluations == []


def test_a_validation_beyond_the_limit_is_a_sample_of_it(tmp_path, monkeypatch):
    monkeypatch.setattr("imbalance_doctor.live.validation.sample.KEPT", 100)
    held_out = torch.utils.data.DataLoader(rows(500, rate=0.1, seed=1), batch_size=64)
    callback = quiet(tmp_path / "run", every=1)
    trainer(tmp_path, callback, max_epochs=2).fit(Classifier(fitting()), loader(3), held_out)
    evals = load_run(tmp_path / "run").evaluations
    assert [float(record.metrics["rows"][0]) for record in evals] == [63, 63]  # every eighth, each time


# --- the warmup ---------------------------------------------------------------------------------------


def test_a_warmup_wrapper_is_told_epochs_and_steps(tmp_path):
    loss_fn = told(warmup_epochs=1)
    fit(tmp_path, quiet(None), Classifier(loss_fn), batches=2, max_epochs=2)
    assert loss_fn.told == [(k, n) for pair in (
        [("epoch", 0), ("step", 0)], [("step", 1)], [("epoch", 1), ("step", 2)], [("step", 3)]
    ) for k, n in pair]  # fmt: skip
    assert not loss_fn.in_warmup
    assert not loss_fn._forward_pre_hooks
    fit(tmp_path, quiet(None), Classifier(loss_fn), batches=2)  # a second run with the same loss
    assert loss_fn.told[-3:] == [("epoch", 0), ("step", 0), ("step", 1)]


def test_a_compiled_wrapper_is_told_too():
    loss_fn = told(warmup_steps=1)
    compiled = torch.compile(loss_fn, backend="eager")
    driver = _WarmupDriver(compiled)
    for step in range(2):
        driver.step_begins(step)
        compiled(torch.randn(16, requires_grad=True), torch.randint(2, (16,)))
    assert loss_fn.told == [("step", 0), ("step", 1)]


def test_a_module_that_drives_its_wrapper_is_left_to_it(tmp_path):
    class Drives(Classifier):
        def on_train_batch_start(self, batch, batch_idx):
            self.loss_fn.on_train_batch_start(1000 + batch_idx)

    loss_fn = told(warmup_steps=1)
    fit(tmp_path, quiet(None), Drives(loss_fn), batches=3)
    assert [n for kind, n in loss_fn.told if kind == "step"] == [1000, 1001, 1002]


def test_the_schedule_goes_on_after_a_resume(tmp_path):
    data = loader(10)
    loss_fn = told(warmup_steps=3, reset_queue_each_epoch=True)
    saver, saved = saving(tmp_path, 6)
    first = trainer(tmp_path, quiet(None), saver, max_steps=6, enable_checkpointing=True)
    first.fit(Classifier(loss_fn), data)
    resumed = told(warmup_steps=3, reset_queue_each_epoch=True)
    trainer(tmp_path, quiet(None)).fit(Classifier(resumed), data, ckpt_path=saved)
    assert resumed.told[0] == ("step", 6)  # the epoch goes on: no second start that empties the queue
    assert resumed.current_temperature < loss_fn.current_temperature


# --- several processes --------------------------------------------------------------------------------


SEVERAL = """
from pathlib import Path
import torch
from tests.integrations.rare import loader, rows, too_small
from tests.integrations.test_lightning import Classifier, quiet, trainer

def say(finding):
    print(own.global_rank, finding.code, flush=True)

own = trainer(Path(), quiet("run", on_finding=say), devices=2, strategy="ddp")
held_out = rows(401, rate=0.1, seed=1)
own.fit(Classifier(too_small()), loader(160), torch.utils.data.DataLoader(held_out, batch_size=64))
own.save_checkpoint("last.ckpt")
"""


@pytest.mark.slow
def test_each_rank_writes_its_log_and_what_all_see_is_told_once(tmp_path, launch):
    told = [line.split() for line in launch(SEVERAL, processes=2).splitlines() if "IMB" in line]
    assert POOL & {code for _, code in told}
    assert {rank for rank, _ in told} == {"0"}
    # 401 rows of two ranks; the sampler repeats one so that both have the same number.
    for rank, seen in ((0, 402), (1, 201)):
        run = load_run(tmp_path / f"run/diagnostics-rank{rank}.jsonl")
        assert [record.step for record in run.steps()] == list(range(0, 80, 10))
        assert [float(record.metrics["rows"][0]) for record in run.evaluations] == [seen]


APART = """
import json
import warnings
from pathlib import Path
import torch
from imbalance_doctor.integrations.lightning import read_validation
from tests.integrations.rare import fitting, loader, rows
from tests.integrations.test_lightning import Classifier, quiet, trainer

held_out = torch.utils.data.DataLoader(rows(400, rate=0.1, seed=1), batch_size=64)

def read_on_rank_0(outputs, batch):
    return (outputs["logits"] if own.global_rank == 0 else outputs["preds"]), outputs["targets"]

def fails(*_, **__):
    raise RuntimeError("no route to host")

gather = torch.distributed.gather_object
for name, read, send in (("unread", read_on_rank_0, gather), ("unsent", read_validation, fails)):
    torch.distributed.gather_object = send
    callback = quiet(name, every=1, read_validation=read)
    own = trainer(Path(), callback, devices=2, strategy="ddp", max_epochs=2)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        own.fit(Classifier(fitting()), loader(4), held_out)
    messages = [str(warning.message) for warning in caught]
    ours = [message for message in messages if "imbalance-doctor" in message]
    Path(name, f"told{own.global_rank}").write_text(json.dumps(ours))
"""


@pytest.mark.slow
def test_what_fails_on_the_way_to_rank_0_costs_one_warning_and_keeps_nobody_waiting(tmp_path, launch):
    launch(APART, processes=2)

    def seen(name, rank):
        """What a rank warned of, and the rows of its evaluations."""
        told = json.loads((tmp_path / name / f"told{rank}").read_text())
        evals = load_run(tmp_path / f"{name}/diagnostics-rank{rank}.jsonl").evaluations
        return [each.split(" (")[0] for each in told], [float(record.metrics["rows"][0]) for record in evals]

    # What rank 1 cannot read is missing; what cannot be sent is judged where it is.
    assert seen("unread", 0) == ([], [200, 200])
    assert seen("unread", 1) == (["imbalance-doctor: reading validation outputs failed"], [])
    failed = "imbalance-doctor: gathering the validation rows of all ranks failed"
    assert seen("unsent", 0) == seen("unsent", 1) == ([failed], [200, 200])


GATHERED = """
import json
from pathlib import Path
import numpy as np
import torch.distributed as dist
from imbalance_doctor.integrations import gathering

def rows(first, last):
    scores = np.arange(first, last, dtype=np.float32)[:, None]
    return scores, scores.astype(np.int64)

def counted(*args, **kwargs):
    messages.append(1)
    return gather(*args, **kwargs)

dist.init_process_group("gloo")
rank, gather = dist.get_rank(), dist.gather_object
results = {}
gathering.AT_ONCE = 2 * 12 * 4  # four rows of 12 bytes from each of two ranks
for name, (own, stride), known in (
    ("uneven", [(rows(0, 10), 1), (rows(100, 103), 1)][rank], gathering.GATHERING),
    ("one has none", [(None, 1), (rows(0, 3), 1)][rank], gathering.GATHERING),
    ("nobody has any", (None, 1), gathering.GATHERING),
    ("thinned more", [(rows(0, 8), 1), (rows(100, 102), 4)][rank], gathering.GATHERING),
    ("no gather", [(rows(0, 5), 1), (rows(100, 103), 1)][rank], ()),
):
    messages, gathering.GATHERING = [], known
    dist.gather_object = counted
    found = gathering.of_all_ranks(own, stride)
    assert all((scores == targets).all() for scores, targets in found)
    flat = [int(x) for scores, _ in found for x in scores[:, 0]]
    results[name] = [flat, len(messages)]
Path(f"gathered{rank}").write_text(json.dumps(results))
"""


@pytest.mark.slow
def test_rows_of_all_ranks_come_to_rank_0_in_small_pieces(tmp_path, launch):
    launch(GATHERED, processes=2)
    first, other = (json.loads((tmp_path / f"gathered{rank}").read_text()) for rank in (0, 1))
    assert first == {
        "uneven": [[*range(10), 100, 101, 102], 3],
        "one has none": [[0, 1, 2], 1],
        "nobody has any": [[], 0],
        "thinned more": [[0, 4, 100, 101], 2],
        "no gather": [[0, 1, 2, 3, 4, 100, 101, 102], 0],
    }
    assert other == {
        "uneven": [[100, 101, 102], 3],
        "one has none": [[0, 1, 2], 1],
        "nobody has any": [[], 0],
        "thinned more": [[100, 101], 2],
        "no gather": [[100, 101, 102], 0],
    }
