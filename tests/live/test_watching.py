"""What a Doctor hears: every kind of loss, every shape, every way of calling it."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from imbalance_doctor import Doctor, ImbalanceWarning, diagnose, load_run
from imbalance_doctor.examine.checkup import is_look
from imbalance_doctor.live.listening import plain_losses
from imbalance_doctor.live.listening import watcher as recorder
from losses import LossWarmupWrapper, PAUCAtBudgetLoss, SigmoidFocalLoss, SmoothAPLoss, SoftmaxFocalLoss
from losses.diagnostics.likelihood import _device_stats, _read_ids
from losses.diagnostics.listening import Detail
from tests.live.loop import batches, train


class _Own(nn.Module):
    """A loss that nobody has heard of."""

    def forward(self, logits, targets):
        return F.softplus(-logits * (2 * targets - 1)).mean()


def ids(*shape, classes=5):
    return torch.randint(classes, shape)


SHAPES = {
    "bce, one logit a row": (nn.BCEWithLogitsLoss(), (32,), lambda: ids(32, classes=2).float(), 1),
    "bce, multi-label": (nn.BCEWithLogitsLoss(), (32, 5), lambda: ids(32, 5, classes=2).float(), 5),
    "bce, a sequence of labels": (
        nn.BCEWithLogitsLoss(),
        (8, 3, 7),
        lambda: ids(8, 3, 7, classes=2).float(),
        3,
    ),
    "cross-entropy": (nn.CrossEntropyLoss(), (32, 5), lambda: ids(32), 5),
    "cross-entropy, a sequence": (nn.CrossEntropyLoss(), (8, 5, 7), lambda: ids(8, 7), 5),
    "cross-entropy, an image": (nn.CrossEntropyLoss(ignore_index=0), (4, 5, 6, 6), lambda: ids(4, 6, 6), 5),
    "cross-entropy, probabilities": (
        nn.CrossEntropyLoss(),
        (32, 5),
        lambda: torch.rand(32, 5).softmax(1),
        5,
    ),
    "own": (_Own(), (32,), lambda: ids(32, classes=2).float(), 1),
    "softmax focal, a sequence": (SoftmaxFocalLoss(), (8, 5, 7), lambda: ids(8, 7), 5),
    "sigmoid focal, multi-label": (SigmoidFocalLoss(), (32, 5), lambda: ids(32, 5, classes=2).float(), 5),
    "smooth-ap, multi-label": (SmoothAPLoss(5, queue_size=64), (32, 5), lambda: ids(32, 5, classes=2), 5),
    "partial auc": (PAUCAtBudgetLoss(1, beta=0.5, queue_size=64), (32, 1), lambda: ids(32, classes=2), 1),
}


def gradient_by_hand(loss_fn, logits, targets):
    """The gradient at the logits, with classes last, and which entries are positive and which count."""
    logits = logits.detach().clone().requires_grad_()
    loss_fn(logits, targets).backward()
    classes = logits.shape[1] if logits.dim() > 1 else 1
    gradient = logits.grad.movedim(1, -1).reshape(-1, classes) if logits.dim() > 1 else logits.grad[:, None]
    if targets.shape == logits.shape and not isinstance(loss_fn, nn.CrossEntropyLoss):
        flat = targets.movedim(1, -1).reshape(-1, classes) if logits.dim() > 1 else targets[:, None]
        return gradient, flat >= 0.5, torch.ones_like(flat, dtype=torch.bool)
    rows = targets.argmax(1) if targets.is_floating_point() else targets.reshape(-1)
    if classes == 1:
        return gradient, rows[:, None] == 1, torch.ones_like(gradient, dtype=torch.bool)
    counted = rows != getattr(loss_fn, "ignore_index", -100)
    return gradient, (rows[:, None] == torch.arange(classes)) & counted[:, None], counted[:, None]


@pytest.mark.parametrize(("loss_fn", "shape", "targets", "classes"), SHAPES.values(), ids=SHAPES)
def test_any_loss_of_any_shape_is_recorded_per_class_with_its_gradients(loss_fn, shape, targets, classes):
    torch.manual_seed(0)
    logits, labels = torch.randn(shape, requires_grad=True), targets()
    expected = gradient_by_hand(loss_fn, logits, labels)
    if isinstance(loss_fn, (SmoothAPLoss, PAUCAtBudgetLoss)):
        loss_fn.reset_queue()
    with Doctor(None, on_finding="log", every=1) as doctor:
        doctor.watch(loss_fn)
        loss = loss_fn(logits, labels)
        loss.backward()
        doctor.step()
    (record,) = doctor.run.steps()
    gradient, positive, counted = expected
    for name, mask in (("pos_grad_norm", positive & counted), ("neg_grad_norm", ~positive & counted)):
        wanted = (gradient * mask).square().sum(0).sqrt()
        assert record.stats[name] == pytest.approx(wanted.numpy(), rel=1e-5, abs=1e-9), name
    assert record.stats["live_pos_count"].shape == (classes,)
    assert record.stats["live_pos_count"].sum() == (positive & counted).sum()
    assert float(record.stats["loss"]) == pytest.approx(float(loss.detach()), rel=1e-6)


@pytest.mark.parametrize("most", [0, plain_losses.MOST_KEPT], ids=["large batch", "small batch"])
@pytest.mark.parametrize("named", [False, True])
def test_the_gradient_is_that_of_the_watched_loss_where_several_share_the_logits(most, named, monkeypatch):
    monkeypatch.setattr(plain_losses, "MOST_KEPT", most)
    torch.manual_seed(0)
    ranking, focal, plain = SmoothAPLoss(1, temperature=0.5), SigmoidFocalLoss(), nn.BCEWithLogitsLoss()
    x, y = next(batches(64, 0.2, 0))
    logits, labels = x[:, :1].clone().requires_grad_(), y[:, None].float()
    called = {"ranking": (ranking, y), "focal": (focal, labels), "plain": (plain, labels)}
    alone = {name: torch.autograd.grad(loss(logits, to), logits)[0] for name, (loss, to) in called.items()}
    ranking.reset_queue()
    with Doctor(None, on_finding="log", every=1) as doctor:
        for name, (loss_fn, _) in called.items():
            doctor.watch(loss_fn, name)
        of_plain = plain(target=labels, input=logits) if named else plain(logits, labels)
        (ranking(logits, y) + focal(logits, labels) + of_plain).backward()
        doctor.step()
    records = doctor.run.steps()
    assert [record.loss for record in records] == list(called)
    for record in records:
        norm = alone[record.loss][y == 1].norm().item()
        assert record.stats["pos_grad_norm"].item() == pytest.approx(norm, rel=1e-5), record.loss
    assert logits.grad == pytest.approx(sum(alone.values()), rel=1e-5)


def test_several_forwards_a_step_are_one_record_and_all_are_in_the_mean():
    loss_fn, losses = SmoothAPLoss(1), []
    with Doctor(None, on_finding="log", every=2) as doctor:
        doctor.watch(loss_fn)
        stream = batches(64, 0.1, 0)
        for _ in range(5):
            for _ in range(3):  # gradient accumulation
                x, y = next(stream)
                loss = loss_fn(x[:, 0].clone().requires_grad_(), y)
                loss.backward()
                losses.append(loss.item())
            with torch.no_grad():  # and an evaluation in between
                loss_fn(x[:, 0], y)
            doctor.step()
    steps = doctor.run.steps()
    assert [record.step for record in steps] == [0, 2, 4]
    means = [np.mean(losses[:3]), np.mean(losses[3:9]), np.mean(losses[9:15])]
    assert [float(record.stats["interval_loss"]) for record in steps] == pytest.approx(means, rel=1e-6)
    assert [float(record.stats["loss"]) for record in steps] == pytest.approx(losses[::6], rel=1e-6)


@pytest.mark.parametrize("make", [nn.BCEWithLogitsLoss, SigmoidFocalLoss, lambda: SmoothAPLoss(1)])
def test_mixed_precision_is_recorded(make):
    loss_fn, model = make(), nn.Linear(8, 1)
    ranks = isinstance(loss_fn, SmoothAPLoss)
    with Doctor(None, on_finding="log", every=1) as doctor:
        doctor.watch(loss_fn)
        for x, y in (next(batches(64, 0.2, seed)) for seed in range(3)):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                logits = model(x)
                assert logits.dtype is torch.bfloat16
                loss = loss_fn(logits, y if ranks else y[:, None].float())
            loss.backward()
            doctor.step()
    for record in doctor.run.steps():
        assert all(value.dtype == np.float32 for value in record.stats.values())
        assert np.isfinite(record.stats["loss"])
    assert doctor.run.steps()[0].stats["pos_grad_norm"] > 0


@pytest.mark.parametrize(
    "make", [SmoothAPLoss, lambda _: SigmoidFocalLoss(), lambda _: nn.BCEWithLogitsLoss()]
)
def test_the_mean_is_that_of_all_forwards_however_many(make, monkeypatch):
    monkeypatch.setattr(recorder, "MOST_LOSSES", 4)
    loss_fn, losses = make(1), []
    with Doctor(None, on_finding="log", every=3) as doctor:
        doctor.watch(loss_fn)
        stream = batches(64, 0.2, 0)
        for _ in range(4):
            for _ in range(5):
                x, y = next(stream)
                losses.append(loss_fn(x[:, 0].clone().requires_grad_(), y.float()).item())
            doctor.step()
    of_this_step = isinstance(loss_fn, nn.BCEWithLogitsLoss)  # others of a plain loss are not heard
    means = [float(record.stats["interval_loss"]) for record in doctor.run.steps()]
    assert means == pytest.approx(
        [np.mean(losses[:5]), np.mean(losses[15 if of_this_step else 5 :])], rel=1e-6
    )


def test_losses_that_take_turns_are_both_recorded():
    turns = [nn.BCEWithLogitsLoss(), SigmoidFocalLoss(), nn.BCEWithLogitsLoss()]
    with Doctor(None, on_finding="log") as doctor:
        for loss_fn in turns:
            doctor.watch(loss_fn)
        for step, (x, y) in zip(range(300), batches(64, 0.2, 0), strict=False):
            turns[step % 3](x[:, 0].clone().requires_grad_(), y.float()).backward()
            doctor.step()
        assert not doctor.diagnosis.notes
    for watched, loss_fn in enumerate(turns):
        records = doctor.run.steps(next(w.name for w in doctor._watchers if w.module is loss_fn))
        assert len(records) > 15
        assert all(record.step % 3 == watched for record in records)
        # The scores are in the records at which the rules are asked, whatever steps were missed.
        assert {
            number for number, record in enumerate(records, 1) if "pos_score_quantiles" in record.stats
        } == {number for number in range(1, len(records) + 1) if is_look(number)}


def test_a_loss_that_is_called_no_longer_is_noted_and_not_warned_of():
    loss_fn, next_one = nn.BCEWithLogitsLoss(), SigmoidFocalLoss()
    with Doctor(None) as doctor:
        doctor.watch(loss_fn)
        doctor.watch(next_one)
        for step, (x, y) in zip(range(400), batches(64, 0.4, 0), strict=False):
            (loss_fn if step < 100 else next_one)(x[:, 0].clone().requires_grad_(), y.float())
            doctor.step()
        (note,) = doctor.diagnosis.notes
    assert "BCEWithLogitsLoss was not recorded between steps 90 and" in note


def test_a_resumed_run_takes_the_scores_where_the_rules_are_asked(tmp_path):
    for first, steps in ((0, 7), (7, 20)):
        loss_fn = nn.BCEWithLogitsLoss()
        with Doctor(tmp_path, on_finding="log", every=1) as doctor:
            doctor.watch(loss_fn)
            train(doctor, loss_fn, steps=steps, first_step=first)
    records = load_run(tmp_path).steps()
    scored = {number for number, record in enumerate(records, 1) if "pos_score_quantiles" in record.stats}
    first_of_the_session = 8  # nobody knew yet how many there were
    assert scored == {number for number in range(1, 28) if is_look(number)} | {first_of_the_session}


@pytest.mark.filterwarnings("default")  # what the compiler says of torch's own code
def test_a_plain_loss_that_is_compiled_is_watched():
    loss_fn = torch.compile(nn.BCEWithLogitsLoss(), backend="aot_eager")
    with Doctor(None, on_finding="log") as doctor:
        doctor.watch(loss_fn)
        for _, (x, y) in zip(range(50), batches(64, 0.2, 0), strict=False):
            loss_fn(x[:, 0].clone().requires_grad_(), y.float()).backward()
            doctor.step()
    (watch,) = doctor.run.losses.values()
    assert watch.kind == "bce"
    assert [record.step for record in doctor.run.steps()] == [0, 10, 20, 30, 40]
    assert doctor.run.steps()[4].stats["pos_grad_norm"] > 0


def test_labels_that_are_named_first_are_labels():
    x, y = next(batches(64, 0.2, 0))
    loss_fn = nn.BCEWithLogitsLoss()
    with Doctor(None, on_finding="log", every=1) as doctor:
        doctor.watch(loss_fn)
        loss_fn(target=y.float(), input=x[:, 0].clone().requires_grad_())
        doctor.step()
    assert doctor.run.steps()[0].stats["live_pos_count"] == y.sum()


def test_a_weight_of_each_batch_is_the_one_that_it_was_called_with():
    """`criterion.weight` set anew before each call, for batches of unequal length."""
    loss_fn = nn.BCEWithLogitsLoss()
    with Doctor(None, on_finding="log", every=1) as doctor:
        doctor.watch(loss_fn)
        for rows in (64, 32):
            labels = (torch.arange(rows) % 4 == 0).float()
            loss_fn.weight = torch.where(labels == 1, 9.0, 1.0)
            loss_fn(torch.zeros(rows, requires_grad=True), labels)
        doctor.step()
    (record,) = doctor.run.steps()
    assert record.stats["pos_loss_share"] == pytest.approx(9 * 16 / (9 * 16 + 48), rel=1e-6)


def test_logits_that_are_used_again_do_not_collect_hooks():
    logits = torch.zeros(64, requires_grad=True)
    loss_fn = nn.BCEWithLogitsLoss()
    with Doctor(None, on_finding="log", every=1) as doctor:
        doctor.watch(loss_fn)
        for _ in range(50):
            loss_fn(logits, (torch.arange(64) % 4 == 0).float()).backward()
            doctor.step()
    assert not logits._backward_hooks
    with_gradient = [number for number, r in enumerate(doctor.run.steps(), 1) if "pos_grad_norm" in r.stats]
    assert with_gradient == [number for number in range(1, 51) if is_look(number)]


def test_a_gradient_that_is_itself_differentiated_is_let_go():
    loss_fn, logits = nn.BCEWithLogitsLoss(), torch.zeros(64, requires_grad=True)
    with Doctor(None, on_finding="log", every=1) as doctor:
        doctor.watch(loss_fn)
        loss = loss_fn(logits * 1.0, torch.ones(64))
        torch.autograd.grad(loss, logits, create_graph=True)
        (watcher,) = doctor._watchers
        assert not watcher._pending.main.gradient.requires_grad
        doctor.step()
    assert doctor.run.steps()[0].stats["pos_grad_norm"] > 0


def test_a_compiled_model_is_trained_under_watch():
    model, loss_fn = nn.Linear(8, 1), SmoothAPLoss(1)
    compiled = torch.compile(model, backend="aot_eager")
    with Doctor(None, on_finding="log", every=1) as doctor:
        doctor.watch(loss_fn)
        x, y = next(batches(64, 0.2, 0))
        loss_fn(compiled(x), y).backward()
        doctor.step()
    assert doctor.run.steps()[0].stats["pos_grad_norm"] > 0


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # what the compiler says of torch's own code and of ours
@pytest.mark.parametrize("main", ["smooth_ap", "wrapper"])
def test_a_compiled_loss_is_watched(main):
    loss_fn = SmoothAPLoss(1, queue_size=64)
    if main == "wrapper":
        loss_fn = LossWarmupWrapper(nn.BCEWithLogitsLoss(), loss_fn, warmup_steps=2, temp_end=0.05)
    compiled = torch.compile(loss_fn, backend="aot_eager")
    with Doctor(None, on_finding="log", every=1) as doctor:
        doctor.watch(compiled)
        for step, (x, y) in zip(range(5), batches(64, 0.2, 0), strict=False):
            if main == "wrapper":
                loss_fn.on_train_batch_start(step)
            compiled(x[:, 0].clone().requires_grad_(), y).backward()
            doctor.step()
    assert [record.step for record in doctor.run.steps()] == list(range(5))


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_a_compiled_loss_is_not_compiled_anew_as_the_monitor_goes_on():
    torch.compiler.reset()
    torch._dynamo.utils.counters.clear()
    loss_fn = SmoothAPLoss(1, queue_size=64)
    compiled = torch.compile(loss_fn, backend="eager")
    with Doctor(None, on_finding="log") as doctor:
        doctor.watch(compiled)
        for _, (x, y) in zip(range(120), batches(64, 0.2, 0), strict=False):
            compiled(x[:, 0].clone().requires_grad_(), y).backward()
            doctor.step()
    assert len(doctor.run.steps()) == 12
    # One for each level of detail, at the most, and what surrounds them; the compiler gives up at 8 of one.
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] <= 8


def test_a_wrapper_is_recorded_in_each_phase():
    loss_fn = LossWarmupWrapper(
        nn.BCEWithLogitsLoss(), SmoothAPLoss(1), warmup_steps=40, blend_steps=40, temp_end=0.05
    )
    loss_fn.on_train_batch_start(0)
    with Doctor(None, on_finding="log") as doctor:
        doctor.watch(loss_fn)
        train(doctor, loss_fn, steps=160, each_step=lambda step: loss_fn.on_train_batch_start(step + 1))
    phases = {record.step: float(record.stats["phase"]) for record in doctor.run.steps()}
    assert phases == {step: (step >= 40) + (step >= 80) for step in range(0, 160, 10)}
    with_gradients = {float(r.stats["phase"]) for r in doctor.run.steps() if "pos_grad_norm" in r.stats}
    assert with_gradients == {0.0, 1.0, 2.0}


def test_records_are_close_again_after_a_phase_ends():
    loss_fn = LossWarmupWrapper(nn.BCEWithLogitsLoss(), SmoothAPLoss(1), warmup_steps=600, temp_end=0.05)
    loss_fn.on_train_batch_start(0)
    with Doctor(None, on_finding="log") as doctor:
        doctor.watch(loss_fn)
        train(doctor, loss_fn, steps=700, each_step=lambda step: loss_fn.on_train_batch_start(step + 1))
    steps = np.array([record.step for record in doctor.run.steps()])
    assert np.diff(steps[steps < 600]).max() > 20
    assert (np.diff(steps[steps > 630]) == 10).all()


# --- beside the losses --------------------------------------------------------------------------------


def test_the_learning_rate_of_an_optimizer_is_recorded():
    loss_fn, weight = SmoothAPLoss(1), nn.Parameter(torch.ones(()))
    optimizer = torch.optim.SGD([weight], lr=0.5)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    with Doctor(None, on_finding="log", every=1, optimizer=optimizer) as doctor:
        doctor.watch(loss_fn)
        for x, y in (next(batches(64, 0.2, seed)) for seed in range(3)):
            loss_fn(weight * x[:, 0], y).backward()
            optimizer.step()
            doctor.step()
            schedule.step()
    assert doctor.run.stats["lr"].tolist() == [0.5, 0.25, 0.125]


@pytest.mark.parametrize("classes", [1, 4])
def test_an_evaluation_in_batches_is_that_of_all_rows(classes):
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(500, classes, generator=generator)
    targets = torch.randint(max(classes, 2), (500,), generator=generator)
    with Doctor(None, on_finding="log") as doctor:
        doctor.watch(nn.BCEWithLogitsLoss())
        doctor.step()
        doctor.log_eval(scores, targets)
        with doctor.evaluation() as validation:
            for part in range(0, 500, 64):
                validation.update(scores[part : part + 64], targets[part : part + 64])
        whole, parts = doctor.run.evaluations
    for name, value in whole.metrics.items():
        assert parts.metrics[name] == pytest.approx(value, nan_ok=True), name


class _Tokens(nn.Module):
    """A loss of tokens that ignores what torch ignores by default, and says so nowhere."""

    def forward(self, logits, targets):
        return F.cross_entropy(logits, targets)


@pytest.mark.parametrize("dtype", [torch.int64, torch.int16])
def test_ids_that_are_no_class_do_not_count(dtype):
    loss_fn, logits = _Tokens(), torch.randn(60, 5, requires_grad=True)
    ids = torch.arange(60) % 5
    ids[::2] = -100
    with Doctor(None, on_finding="log", every=1) as doctor:
        doctor.watch(loss_fn)
        loss_fn(logits, ids)
        doctor.step()
    (record,) = doctor.run.steps()
    assert float(record.stats["pool_size"]) == 30
    on_a_device = _device_stats(_read_ids(logits.detach(), ids.to(dtype)), Detail.SCORES, None, True)
    for name, value in on_a_device.items():
        np.testing.assert_allclose(record.stats[name], value.numpy(), rtol=2e-5, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("most", [0, plain_losses.MOST_KEPT], ids=["large batch", "small batch"])
def test_classes_may_come_last_as_models_of_tokens_have_them(most, monkeypatch):
    monkeypatch.setattr(plain_losses, "MOST_KEPT", most)

    class Tokens(nn.Module):
        def forward(self, logits, targets):
            return F.cross_entropy(logits.flatten(0, 1), targets.flatten())

    logits, targets = torch.randn(4, 7, 3), torch.randint(3, (4, 7))
    recorded = []
    for loss_fn, given in (
        (Tokens(), logits.clone()),
        (nn.CrossEntropyLoss(), logits.movedim(-1, 1).clone()),
    ):
        with Doctor(None, on_finding="log", every=1) as doctor:
            doctor.watch(loss_fn)
            loss_fn(given.requires_grad_(), targets).backward()
            doctor.step()
        recorded.append(doctor.run.steps()[0].stats)
    for name, value in recorded[0].items():
        np.testing.assert_allclose(value, recorded[1][name], rtol=1e-5, err_msg=name)
    assert "pos_grad_norm" in recorded[0]


def test_labels_that_a_loss_ignores_do_not_count():
    class Masked(nn.Module):
        ignore_index = -1

        def forward(self, logits, targets):
            counts = targets != self.ignore_index
            return F.binary_cross_entropy_with_logits(logits[counts], targets[counts])

    targets = (torch.rand(64, 3) < 0.3).float()
    targets[16:] = -1
    with Doctor(None, on_finding="log", every=1) as doctor:
        doctor.watch(loss_fn := Masked())
        loss_fn(torch.randn(64, 3, requires_grad=True), targets)
        doctor.step()
    (record,) = doctor.run.steps()
    assert float(record.stats["pool_size"]) == 16
    assert record.stats["pool_pos_count"].tolist() == targets[:16].sum(0).tolist()


def test_one_column_with_a_label_for_each_row_is_binary():
    class Own(nn.Module):
        def forward(self, logits, targets):
            return F.binary_cross_entropy_with_logits(logits[:, 0], targets.float())

    _, y = next(batches(64, 0.2, 0))
    with Doctor(None, on_finding="log", every=1) as doctor:
        doctor.watch(loss_fn := Own())
        loss_fn(torch.randn(64, 1, requires_grad=True), y)
        doctor.step()
    assert doctor.run.steps()[0].stats["pool_pos_count"] == y.sum()


@pytest.mark.parametrize("ignored", [0, 3])
def test_rows_that_a_watched_loss_ignores_are_not_evaluated(ignored):
    with Doctor(None, on_finding="log") as doctor:
        doctor.watch(nn.CrossEntropyLoss(ignore_index=ignored))
        doctor.step()
        doctor.log_eval(torch.randn(100, 4), torch.arange(100) % 4)
        (record,) = doctor.run.evaluations
    assert (record.metrics["rows"] == 75).all()


@pytest.mark.parametrize("padded", [0, 20])
def test_rows_of_an_ignored_class_are_left_out_and_counted_and_padding_is_no_remark(padded):
    targets = torch.arange(100) % 4
    targets[:padded] = -100
    with Doctor(None, on_finding="log") as doctor:
        doctor.watch(nn.CrossEntropyLoss(ignore_index=0))
        doctor.step()
        doctor.log_eval(torch.randn(100, 4), targets)  # warnings are errors
        (record,) = doctor.run.evaluations
    assert record.metrics["ignored_rows"].tolist() == [int((targets == 0).sum()), 0, 0, 0]
    assert (record.metrics["rows"] == (targets > 0).sum().item()).all()


def test_a_log_of_no_ignored_class_says_nothing_of_ignored_rows():
    with Doctor(None, on_finding="log") as doctor:
        doctor.watch(nn.CrossEntropyLoss(ignore_index=255))
        doctor.step()
        doctor.log_eval(torch.randn(100, 4), torch.arange(100) % 4)
        (record,) = doctor.run.evaluations
    assert "ignored_rows" not in record.metrics


def test_a_batch_that_does_not_fit_costs_that_evaluation_alone():
    with Doctor(None, on_finding="log") as doctor:
        doctor.watch(nn.BCEWithLogitsLoss())
        doctor.step()
        with (
            pytest.warns(ImbalanceWarning, match=r"scores \[5\] and targets \[3\].*this evaluation is"),
            doctor.evaluation() as broken,
        ):
            broken.update(torch.zeros(5), torch.zeros(3))
            broken.update(torch.zeros(5), torch.zeros(5))
        with doctor.evaluation() as empty:
            pass
        with pytest.raises(KeyError), doctor.evaluation() as cut_short:
            cut_short.update(torch.zeros(5), torch.tensor([0, 1, 0, 1, 0]))
            raise KeyError
        with doctor.evaluation() as good:
            good.update(torch.zeros(5), torch.tensor([0, 1, 0, 1, 0]))
            assert empty is not good
    assert len(doctor.run.evaluations) == 1


@pytest.mark.parametrize(
    ("how", "message"), [("never", "was never called"), ("in eval", "was called only in eval mode")]
)
def test_a_loss_that_is_not_called_is_asked_about_once(how, message):
    watched, used = SmoothAPLoss(1), SmoothAPLoss(1)
    with Doctor(None) as doctor:
        doctor.watch(watched)
        with pytest.warns(ImbalanceWarning, match=message) as caught:
            train(
                doctor,
                used,
                steps=250,
                each_step=lambda _: (
                    watched.eval()(torch.zeros(4), torch.ones(4)) if how == "in eval" else None
                ),
            )
    assert len(caught) == 1


def test_many_classes_are_recorded_less_often_and_the_diagnosis_says_so(tmp_path):
    loss_fn = nn.CrossEntropyLoss()
    generator = torch.Generator().manual_seed(0)
    with Doctor(tmp_path, on_finding="log") as doctor:
        doctor.watch(loss_fn)
        for _ in range(151):
            logits = torch.randn(8, 1000, generator=generator, requires_grad=True)
            loss_fn(logits, torch.randint(1000, (8,), generator=generator))
            doctor.step()
        (note,) = doctor.diagnosis.notes
    assert [record.step for record in load_run(tmp_path).steps()] == [0, 50, 100, 150]
    assert "1,000 classes: after its first record it is recorded every 50 steps instead of every 10" in note
    assert note in diagnose(tmp_path).notes


# --- resuming without a log ---------------------------------------------------------------------------


def test_a_checkpoint_carries_step_and_findings_so_that_nothing_opens_twice():
    def loss():
        return PAUCAtBudgetLoss(num_classes=1, beta=0.005, queue_size=64)

    with Doctor(None, on_finding="log") as first:
        loss_fn = loss()
        first.watch(loss_fn)
        train(first, loss_fn, steps=200)
        state = first.state_dict()
    assert "IMB401" in {finding["code"] for finding in state["findings"]}
    told = []
    with Doctor(None, on_finding=told.append) as second:
        loss_fn = loss()
        second.watch(loss_fn)
        second.load_state_dict(state)
        x, y = next(batches(64, 0.05, 0))
        for _ in range(100):
            loss_fn(x[:, 0], y)
            second.step()
        assert second.run.steps()[0].step == 200
    assert next(finding for finding in second.findings if finding.code == "IMB401").step < 200
    assert "IMB401" not in {finding.code for finding in told}


def test_a_log_knows_more_than_a_checkpoint(tmp_path):
    with Doctor(tmp_path, on_finding="log") as first:
        loss_fn = PAUCAtBudgetLoss(num_classes=1, beta=0.005, queue_size=64)
        first.watch(loss_fn)
        train(first, loss_fn, steps=200)
        state = first.state_dict()
        live = first.findings
    second = Doctor(tmp_path, on_finding="log")
    second.load_state_dict(state)
    second.watch(loss_fn)
    second.step()
    assert len(second.findings) == len(live)
    second.close()


@pytest.mark.parametrize(
    ("state", "message"),
    [({}, r"got keys \[\]"), ({"version": 99}, "got version 99"), ({"version": 1, "step": 1}, "KeyError")],
)
def test_a_state_of_something_else_is_named(state, message):
    with pytest.raises(ValueError, match=message):
        Doctor(None).load_state_dict(state)
