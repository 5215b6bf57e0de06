"""The warmup wrapper: schedule, switch, resume, warnings, and what it reports in each phase."""

import copy
import math
import pickle
import warnings

import pytest
import torch
import torch.nn.functional as F
from loss_cases import batch
from torch import nn

from losses import LossWarmupWrapper, SigmoidFocalLoss, SmoothAPLoss, SoftmaxFocalLoss
from losses.diagnostics.listening import STATS, Detail, Diagnosable

WARMUP_LOSSES = {
    "bce": nn.BCEWithLogitsLoss,
    "cross_entropy": nn.CrossEntropyLoss,
    "sigmoid_focal": SigmoidFocalLoss,
    "softmax_focal": SoftmaxFocalLoss,
}


def wrapper(warmup=None, main=None, **settings):
    # A compiled module has no truth value.
    warmup = nn.CrossEntropyLoss() if warmup is None else warmup
    return LossWarmupWrapper(warmup, SmoothAPLoss(3, queue_size=32) if main is None else main, **settings)


def drive(loss_fn, steps, per_epoch=2, start=0):
    """Call both hooks as a training loop does, and yield (epoch, step)."""
    for step in range(start, steps):
        if step % per_epoch == 0:
            loss_fn.on_train_epoch_start(step // per_epoch)
        loss_fn.on_train_batch_start(step)
        yield step // per_epoch, step


def test_epochs_warm_up_then_blend_then_train_on_the_main_loss():
    loss_fn = wrapper(warmup_epochs=1, blend_epochs=3, final_main_weight=0.8)
    weights = {}
    for epoch, _ in drive(loss_fn, 12):
        weights[epoch] = loss_fn.main_weight
        assert loss_fn.in_warmup == (epoch < 1)
        assert loss_fn.in_blend == (1 <= epoch < 4)
    assert list(weights.values()) == pytest.approx([0.0, 0.2, 0.4, 0.6, 0.8, 0.8])


def test_the_loss_is_the_weighted_sum_of_both():
    loss_fn = wrapper(main=SmoothAPLoss(3, queue_size=0), warmup_steps=1, blend_steps=1, temp_end=0.05)
    logits, targets = batch(20, 3)
    warm = F.cross_entropy(logits, targets)
    main = SmoothAPLoss(3, queue_size=0, temperature=0.05)(logits, targets)
    expected = [warm, 0.5 * warm + 0.5 * main, main]
    for (_, step), value in zip(drive(loss_fn, 3), expected, strict=True):
        assert torch.allclose(loss_fn(logits, targets), value, atol=1e-12), step


def test_the_switch_empties_the_queue_and_starts_the_temperature():
    loss_fn = wrapper(warmup_epochs=2, temp_start=0.5, temp_end=0.05, temp_decay_steps=4)
    main = loss_fn.main_loss
    temperatures = []
    for epoch, step in drive(loss_fn, 10):
        if step == 3:
            main(*batch(8, 3))  # rows from before the switch
        if step == 4:
            assert main.queue.fill() == 0
        loss_fn(*batch(8, 3, step))
        assert (main.queue.fill() > 0) == (epoch >= 2 or step == 3)
        temperatures.append(main.temperature)
        assert loss_fn.current_temperature == main.temperature
    decay = [0.5 * 0.1 ** (k / 4) for k in range(5)]
    assert temperatures == pytest.approx([0.5] * 4 + decay + [0.05])


def test_a_first_step_of_50000_does_not_jump_to_the_end_of_the_decay():
    loss_fn = wrapper(temp_decay_steps=100)
    loss_fn.on_train_batch_start(50_000)
    assert loss_fn.current_temperature == 0.05
    loss_fn.on_train_batch_start(50_050)
    assert loss_fn.current_temperature == pytest.approx((0.05 * 0.005) ** 0.5)


@pytest.mark.parametrize("cut", range(1, 12))
@pytest.mark.parametrize("mode", ["epochs", "steps"])
def test_a_resume_at_any_step_continues_the_schedule(cut, mode):
    lengths = {"epochs": ("warmup_epochs", "blend_epochs"), "steps": ("warmup_steps", "blend_steps")}[mode]
    settings = {lengths[0]: 2, lengths[1]: 2, "temp_decay_steps": 6}

    def trace(loss_fn, start):
        seen = []
        for _, step in drive(loss_fn, 12, start=start):
            seen.append(
                (loss_fn.main_weight, loss_fn.current_temperature, loss_fn(*batch(8, 3, step)).item())
            )
        return seen

    whole = trace(wrapper(**settings), 0)
    first = wrapper(**settings)
    for _, step in drive(first, cut):
        first(*batch(8, 3, step))
    resumed = wrapper(**settings)
    resumed.load_state_dict(first.state_dict())
    assert resumed.current_temperature == first.current_temperature
    resumed.on_train_epoch_start(cut // 2)
    assert trace(resumed, cut) == whole[cut:]


def test_the_state_loads_without_pickled_code(tmp_path):
    loss_fn = wrapper(warmup_epochs=1)
    for _, step in drive(loss_fn, 5):
        loss_fn(*batch(8, 3, step))
    torch.save(loss_fn.state_dict(), tmp_path / "state.pt")
    other = wrapper(warmup_epochs=1)
    other.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert other.current_temperature == loss_fn.current_temperature


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_copies_continue_like_the_original(clone):
    loss_fn = wrapper(warmup_epochs=1)
    for _, step in drive(loss_fn, 5):
        loss_fn(*batch(8, 3, step))
    other = clone(loss_fn)
    assert other.config() == loss_fn.config()
    assert torch.equal(other(*batch(8, 3, 9)), loss_fn(*batch(8, 3, 9)))


def test_each_epoch_may_start_with_an_empty_queue():
    loss_fn = wrapper(reset_queue_each_epoch=True)
    for _, step in drive(loss_fn, 6):
        if step % 2 == 0:
            assert loss_fn.main_loss.queue.fill() == 0
        loss_fn(*batch(8, 3, step))


def test_a_queue_to_reset_that_is_not_there_is_told():
    told = r"reset_queue_each_epoch=True does nothing, because main_loss SigmoidFocalLoss has no reset_queue"
    with pytest.warns(UserWarning, match=told) as seen:
        wrapper(main=SigmoidFocalLoss(), reset_queue_each_epoch=True)
    assert len(seen) == 1
    assert seen[0].filename == __file__
    loss_fn = wrapper(main=SigmoidFocalLoss())
    with pytest.warns(UserWarning, match=told):
        loss_fn.reconfigure(reset_queue_each_epoch=True)
    loss_fn.reconfigure(reset_queue_each_epoch=False)


@pytest.mark.parametrize(
    ("settings", "called", "missing"),
    [
        ({"warmup_epochs": 1}, "on_train_batch_start", "on_train_epoch_start"),
        ({"blend_epochs": 1}, "on_train_batch_start", "on_train_epoch_start"),
        ({"warmup_epochs": 1}, "on_train_epoch_start", "on_train_batch_start"),
        ({}, "on_train_epoch_start", "on_train_batch_start"),
        ({"warmup_steps": 5}, "on_train_epoch_start", "on_train_batch_start"),
        ({"warmup_steps": 5, "reset_queue_each_epoch": True}, "on_train_batch_start", "on_train_epoch_start"),
    ],
)
def test_a_hook_that_was_forgotten_is_warned_of_once(settings, called, missing):
    loss_fn = wrapper(**settings)
    getattr(loss_fn, called)(0)
    with pytest.warns(UserWarning, match=rf"{missing}\(\) was never called") as seen:
        loss_fn(*batch(8, 3))
    assert seen[0].filename == __file__
    assert len(seen) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loss_fn(*batch(8, 3))


def test_no_hook_is_needed_for_evaluation_or_for_a_schedule_that_does_not_move():
    loss_fn = wrapper(warmup_epochs=1).eval()
    loss_fn(*batch(8, 3))
    with torch.no_grad():
        loss_fn.train()(*batch(8, 3))
    wrapper(temp_start=0.01, temp_end=0.01)(*batch(8, 3))


# --------------------------------------------------------------------------------------- forms of targets


def test_class_ids_work_under_a_bce_warmup():
    logits, targets = batch(20, 3)
    loss_fn = wrapper(nn.BCEWithLogitsLoss(), warmup_epochs=1)
    loss_fn.on_train_epoch_start(0)
    loss_fn.on_train_batch_start(0)
    expected = F.binary_cross_entropy_with_logits(logits, F.one_hot(targets, 3).double())
    assert torch.allclose(loss_fn(logits, targets), expected, atol=1e-14)


@pytest.mark.parametrize("shape", ["[N]", "[N, 1]"])
def test_binary_ids_work_under_a_bce_warmup(shape):
    logits, targets = batch(20, 1)
    loss_fn = wrapper(nn.BCEWithLogitsLoss(), SmoothAPLoss(1), warmup_steps=1)
    loss_fn.on_train_batch_start(0)
    expected = F.binary_cross_entropy_with_logits(logits[:, 0], targets.double())
    given = targets if shape == "[N]" else targets[:, None]
    assert torch.allclose(loss_fn(logits, given), expected, atol=1e-14)


@pytest.mark.parametrize("name", WARMUP_LOSSES)
@pytest.mark.parametrize("weighted", [False, True])
def test_ignored_rows_count_for_nothing_in_the_warmup(name, weighted):
    logits, targets = batch(20, 3)
    weight = torch.linspace(0.5, 2, 20, dtype=torch.float64) if weighted else None
    keep = torch.arange(20) % 3 != 0
    marked = torch.where(keep, targets, -7)
    values = []
    for z, t, w in (
        (logits, marked, weight),
        (logits[keep], targets[keep], None if weight is None else weight[keep]),
    ):
        loss_fn = wrapper(WARMUP_LOSSES[name](), SmoothAPLoss(3, ignore_index=-7), warmup_steps=1)
        loss_fn.on_train_batch_start(0)
        leaf = z.clone().requires_grad_()
        loss = loss_fn(leaf, t, sample_weight=w)
        loss.backward()
        values.append((loss.detach(), leaf.grad))
    assert torch.allclose(values[0][0], values[1][0], atol=1e-14)
    assert torch.allclose(values[0][1][keep], values[1][1], atol=1e-14)
    assert (values[0][1][~keep] == 0).all()


@pytest.mark.parametrize("name", WARMUP_LOSSES)
def test_an_ignored_row_that_is_nan_reaches_no_gradient(name):
    logits, targets = batch(20, 3)
    logits[4], targets[4] = torch.nan, -100
    loss_fn = wrapper(WARMUP_LOSSES[name](), warmup_steps=1, blend_steps=1)
    for _, _ in drive(loss_fn, 3):
        leaf = logits.clone().requires_grad_()
        loss_fn(leaf, targets).backward()
        assert leaf.grad.isfinite().all()
        assert (leaf.grad[4] == 0).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", WARMUP_LOSSES)
def test_half_precision_works_in_every_phase(name, dtype):
    loss_fn = wrapper(WARMUP_LOSSES[name](), warmup_steps=1, blend_steps=1)
    for _, step in drive(loss_fn, 3):
        logits, targets = batch(20, 3, step, dtype=dtype)
        leaf = logits.requires_grad_()
        loss_fn(leaf, targets).backward()
        assert leaf.grad.isfinite().all()


# ------------------------------------------------------------------------------------------ keywords


class Weighted(nn.Module):
    """A loss of the user's own, which keeps what it was given."""

    def forward(self, x, y, /, sample_weight=None, *, margin=0.0, iid_mask=None):
        self.given = {"sample_weight": sample_weight, "margin": margin, "iid_mask": iid_mask}
        rows = F.cross_entropy(x, y, reduction="none")
        weight = torch.ones_like(rows) if sample_weight is None else sample_weight
        return (rows * weight).sum() / weight.sum() + margin


class Everything(Weighted):
    def forward(self, x, y, **given):
        return super().forward(x, y, **given)


class Nothing(nn.Module):
    def forward(self, x, y):
        return F.cross_entropy(x, y)


class OfTorch(nn.CrossEntropyLoss):
    """A subclass with a forward of its own is no longer torch's cross-entropy."""

    def forward(self, input, target, sample_weight=None):
        return Weighted()(input, target, sample_weight)


class OnlySettings(nn.CrossEntropyLoss):
    """A subclass with torch's own forward still is."""

    def __init__(self):
        super().__init__(label_smoothing=0.1)


@pytest.mark.parametrize("own", [Weighted, Everything, OfTorch])
@pytest.mark.parametrize("place", ["warmup", "main"])
def test_weights_reach_a_loss_of_the_users_own_in_every_phase(own, place):
    logits, targets = batch(20, 3)
    weight = torch.linspace(0.1, 5, 20, dtype=torch.float64)
    losses_ = {"warmup": nn.CrossEntropyLoss(), "main": SmoothAPLoss(3, 0), place: own()}
    loss_fn = wrapper(**losses_, warmup_steps=1, blend_steps=1, temp_end=0.05)
    weighted = (F.cross_entropy(logits, targets, reduction="none") * weight).sum() / weight.sum()
    last = (
        weighted
        if place == "main"
        else SmoothAPLoss(3, 0, temperature=0.05)(logits, targets, sample_weight=weight)
    )
    for (_, step), share in zip(drive(loss_fn, 3), (0.0, 0.5, 1.0), strict=True):
        loss = loss_fn(logits, targets, sample_weight=weight)
        assert torch.allclose(loss, (1 - share) * weighted + share * last, atol=1e-12), step


def test_each_keyword_reaches_the_losses_that_take_it():
    logits, targets = batch(20, 3)
    mask = torch.ones(20, dtype=torch.bool)
    first, second = Weighted(), Everything()
    loss_fn = wrapper(first, second, blend_steps=1)
    loss_fn.on_train_batch_start(0)
    loss_fn(logits, targets, mask, margin=0.5)
    assert first.given == second.given == {"sample_weight": None, "margin": 0.5, "iid_mask": mask}
    other = wrapper(nn.CrossEntropyLoss(), second, blend_steps=1)
    other.on_train_batch_start(0)
    expected = 0.5 * F.cross_entropy(logits, targets) + 0.5 * (F.cross_entropy(logits, targets) + 2)
    assert torch.allclose(other(logits, targets, margin=2.0), expected)


@pytest.mark.parametrize("name", ["margin", "iid_mask", "input", "sample_weight"])
def test_a_keyword_that_neither_loss_takes_is_an_error_in_every_phase(name):
    loss_fn = wrapper(Nothing(), Nothing(), warmup_steps=1, blend_steps=1)
    for _ in drive(loss_fn, 3):
        with pytest.raises(TypeError, match=f"unexpected keyword argument '{name}': neither warmup_loss No"):
            loss_fn(*batch(8, 3), **{name: torch.ones(8)})


@pytest.mark.parametrize(("place", "steps"), [("warmup", (0, 1)), ("main", (1, 2))])
def test_weights_that_a_loss_cannot_take_are_warned_of_once(place, steps):
    losses_ = {"warmup": nn.CrossEntropyLoss(), "main": SmoothAPLoss(3, 0), place: Nothing()}
    loss_fn = wrapper(**losses_, warmup_steps=1, blend_steps=1)
    warned = []
    for _, step in drive(loss_fn, 3):
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            loss_fn(*batch(8, 3), sample_weight=torch.ones(8))
        warned += [(step, str(each.message), each.filename) for each in seen]
    ((step, message, filename),) = warned
    assert step == steps[0]
    assert f"{place}_loss Nothing does not take it" in message
    assert filename == __file__


def test_a_subclass_that_only_sets_options_reads_targets_like_its_base():
    logits, targets = batch(20, 3)
    weight = torch.linspace(0.1, 5, 20, dtype=torch.float64)
    marked = targets.clone()
    marked[3:6] = -7
    values = []
    for warmup in (OnlySettings(), nn.CrossEntropyLoss(label_smoothing=0.1)):
        loss_fn = wrapper(warmup, SmoothAPLoss(3, ignore_index=-7), warmup_steps=1)
        loss_fn.on_train_batch_start(0)
        values.append(loss_fn(logits, marked, sample_weight=weight))
    assert torch.equal(*values)


def test_weights_of_a_wrong_shape_are_errors_in_the_warmup():
    for warmup in WARMUP_LOSSES.values():
        loss_fn = wrapper(warmup(), warmup_steps=1)
        loss_fn.on_train_batch_start(0)
        for weight in (torch.ones(7), torch.ones(8, 1, 1), -torch.ones(8)):
            with pytest.raises(ValueError, match="sample_weight"):
                loss_fn(*batch(8, 3), sample_weight=weight)


def test_a_loss_that_is_replaced_is_asked_anew():
    loss_fn = wrapper(Weighted(), SmoothAPLoss(3), warmup_steps=1)
    loss_fn.on_train_batch_start(0)
    loss_fn(*batch(8, 3), margin=1.0)
    loss_fn.warmup_loss = Nothing()
    with pytest.raises(TypeError, match="unexpected keyword argument 'margin'"):
        copy.deepcopy(loss_fn)(*batch(8, 3), margin=1.0)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own
@pytest.mark.parametrize("place", ["warmup", "main"])
@pytest.mark.parametrize(
    "make",
    [
        torch.jit.script,
        pytest.param(lambda loss: torch.compile(loss, backend="eager"), marks=pytest.mark.slow),
    ],
    ids=["scripted", "compiled"],
)
def test_scripted_and_compiled_losses_get_the_keywords_that_they_take(make, place):
    logits, targets = batch(20, 3)
    weight = torch.linspace(0.1, 5, 20, dtype=torch.float64)
    losses_ = {"warmup": nn.CrossEntropyLoss(), "main": SmoothAPLoss(3, 0), place: make(Scripted())}
    loss_fn = wrapper(**losses_, warmup_steps=int(place == "warmup"))
    loss_fn.on_train_batch_start(0)
    expected = (F.cross_entropy(logits, targets, reduction="none") * weight).mean()
    assert torch.allclose(loss_fn(logits, targets, sample_weight=weight), expected)
    with pytest.raises(TypeError, match="unexpected keyword argument 'margin'"):
        loss_fn(logits, targets, margin=1.0)


class Scripted(nn.Module):
    def forward(self, x: torch.Tensor, y: torch.Tensor, sample_weight: torch.Tensor) -> torch.Tensor:
        return (F.cross_entropy(x, y, reduction="none") * sample_weight).mean()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own
@pytest.mark.parametrize("name", [*WARMUP_LOSSES, "smooth_ap"])
def test_a_compiled_loss_reads_targets_and_reports_like_the_original(name):
    logits, targets = batch(20, 3)
    weight = torch.linspace(0.1, 5, 20, dtype=torch.float64)
    targets[4] = -7
    results = []
    for compiled in (False, True):
        leads = {**WARMUP_LOSSES, "smooth_ap": lambda: SmoothAPLoss(3, 0, ignore_index=-7)}[name]()
        leads = torch.compile(leads, backend="eager") if compiled else leads
        if name == "smooth_ap":
            loss_fn = wrapper(main=leads, temp_end=0.05)
        else:
            loss_fn = wrapper(leads, SmoothAPLoss(3, 0, ignore_index=-7), warmup_steps=1)
        loss_fn.on_train_batch_start(0)
        results.append(loss_fn(logits, targets, None, True, True, sample_weight=weight))
    (loss, per_class, _, stats), (expected, of_classes, _, known) = results[1], results[0]
    assert torch.allclose(loss, expected)
    assert torch.allclose(per_class, of_classes)
    assert stats.keys() == known.keys()
    torch._dynamo.reset()


# ----------------------------------------------------------------------------------------- diagnostics


@pytest.mark.parametrize("name", [*WARMUP_LOSSES, "other"])
def test_statistics_flow_in_every_phase(name):
    loss_fn = wrapper(WARMUP_LOSSES.get(name, nn.MultiMarginLoss)(), warmup_steps=1, blend_steps=1)
    heard = []
    loss_fn.register_diagnostics_hook(lambda module, stats: heard.append((module, stats)))
    for _, step in drive(loss_fn, 3):
        loss, stats = loss_fn(*batch(20, 3, step), return_diagnostics=True)
        assert stats.keys() <= STATS.keys()
        assert stats["phase"] == step
        assert stats["main_weight"].item() == pytest.approx([0.0, 0.5, 1.0][step])
        assert stats["temperature"].item() == pytest.approx(loss_fn.current_temperature)
        assert stats["pool_pos_count"].sum() > 0
        assert ("saturation" in stats) == (step > 0), "the loss that leads reports"
        assert torch.equal(stats["loss"], loss)
        assert not any(value.requires_grad for value in stats.values())
    assert [module for module, _ in heard] == [loss_fn] * 3


@pytest.mark.parametrize("name", WARMUP_LOSSES)
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_per_class_losses_are_those_of_the_loss_that_leads(name, reduction):
    settings = {"warmup_steps": 1, "blend_steps": 1, "temp_end": 0.05}
    loss_fn = wrapper(WARMUP_LOSSES[name](), SmoothAPLoss(3, 0, reduction=reduction), **settings)
    for _, step in drive(loss_fn, 3):
        data = batch(20, 3, step)
        loss, per_class, valid = loss_fn(*data, return_per_class=True)
        assert loss.dim() == 0
        _, again, _, stats = loss_fn(*data, None, True, True)
        assert torch.equal(again, per_class)
        assert torch.equal(stats["per_class_loss"], per_class)
        assert torch.equal(stats["valid"], valid)
        if step > 0:
            expected = SmoothAPLoss(3, 0, temperature=0.05, reduction="none")(*data)
            assert torch.equal(per_class, expected)


def test_a_loss_without_per_class_values_says_so():
    loss_fn = wrapper(nn.MultiMarginLoss(), warmup_steps=1)
    loss_fn.on_train_batch_start(0)
    with pytest.raises(ValueError, match=r"leads in this phase to have per-class values, got other"):
        loss_fn(*batch(8, 3), return_per_class=True)
    loss_fn.on_train_batch_start(1)
    assert len(loss_fn(*batch(8, 3), return_per_class=True)) == 3


def test_a_main_loss_without_a_temperature_has_no_current_one():
    loss_fn = wrapper(main=SigmoidFocalLoss())
    loss_fn.on_train_batch_start(0)
    assert loss_fn.current_temperature is None
    loss_fn.reconfigure(temp_end=0.1)
    assert loss_fn.current_temperature is None


def test_the_temperature_reported_is_the_one_in_use():
    loss_fn = wrapper(temp_end=0.05)
    loss_fn.on_train_batch_start(0)
    loss_fn.main_loss.temperature = 0.7
    assert loss_fn.current_temperature == 0.7
    _, stats = loss_fn(*batch(20, 3), return_diagnostics=True)
    assert stats["temperature"].item() == pytest.approx(0.7)
    loss_fn.on_train_batch_start(1)
    assert loss_fn.current_temperature == loss_fn.main_loss.temperature == 0.05


@pytest.mark.parametrize("warmup", [SigmoidFocalLoss, SoftmaxFocalLoss])
def test_nothing_is_registered_where_nobody_listens(warmup, monkeypatch):
    loss_fn = wrapper(warmup(), warmup_steps=1, blend_steps=1)
    monkeypatch.setattr(Diagnosable, "_listen", lambda *_: pytest.fail("a listener was registered"))
    for _, step in drive(loss_fn, 3):
        loss_fn(*batch(20, 3, step))


def test_a_skipped_forward_costs_no_statistics(monkeypatch):
    def fail(*args, **kwargs):
        raise AssertionError("statistics were computed")

    for place in ("losses.ranking.base.ranking_stats", "losses.warmup.wrapper.likelihood_stats"):
        monkeypatch.setattr(place, fail)
    loss_fn = wrapper(warmup_steps=1)
    loss_fn.register_diagnostics_hook(lambda *_: None, wants=lambda: Detail.NOTHING)
    for _, step in drive(loss_fn, 3):
        loss_fn(*batch(20, 3, step))


def test_the_configuration_names_both_losses():
    loss_fn = wrapper(nn.BCEWithLogitsLoss(pos_weight=torch.tensor([2.0])), warmup_epochs=3)
    config = loss_fn.config()
    assert config["warmup_epochs"] == 3
    assert config["warmup_loss"] == {"kind": "bce", "reduction": "mean", "pos_weight": [2.0]}
    assert config["main_loss"]["kind"] == "smooth_ap"
    assert config["main_loss"]["queue_size"] == 32


# ------------------------------------------------------------------------------------------ reconfigure


def test_a_longer_decay_continues_from_the_present_temperature():
    loss_fn = wrapper(temp_start=0.1, temp_end=0.001, temp_decay_steps=10)
    loss_fn.on_train_batch_start(0)
    loss_fn.on_train_batch_start(5)
    before = loss_fn.current_temperature
    loss_fn.reconfigure(temp_decay_steps=105)
    assert loss_fn.current_temperature == pytest.approx(before)
    loss_fn.on_train_batch_start(55)
    assert loss_fn.current_temperature == pytest.approx((before * 0.001) ** 0.5)
    loss_fn.on_train_batch_start(105)
    assert loss_fn.main_loss.temperature == 0.001


@pytest.mark.parametrize("settings", [{"temp_decay_steps": 20}, {"temp_end": 0.002}, {"temp_end": 0.5}])
@pytest.mark.parametrize("step", [0, 5, 50, 99, 100, 500])
def test_a_changed_decay_never_jumps(settings, step):
    loss_fn = wrapper(temp_start=0.1, temp_end=0.001, temp_decay_steps=100)
    for at in {0, step}:
        loss_fn.on_train_batch_start(at)
    before = loss_fn.current_temperature
    loss_fn.reconfigure(**settings)
    assert loss_fn.current_temperature == loss_fn.main_loss.temperature == pytest.approx(before)
    resumed = wrapper(temp_start=0.1, temp_end=0.001, temp_decay_steps=100)
    resumed.load_state_dict(loss_fn.state_dict())
    for later in range(step + 1, step + 102):
        for one in (loss_fn, resumed):
            one.on_train_batch_start(later)
        assert resumed.current_temperature == loss_fn.current_temperature
        assert abs(math.log(loss_fn.current_temperature / before)) < 0.5
        before = loss_fn.current_temperature
    assert before == loss_fn.temp_end


def test_a_temperature_that_is_set_holds_also_after_a_resume():
    loss_fn = wrapper()
    loss_fn.on_train_batch_start(0)
    loss_fn.reconfigure(temperature=0.3)
    resumed = wrapper()
    resumed.load_state_dict(loss_fn.state_dict())
    for one in (loss_fn, resumed):
        assert one.current_temperature == one.main_loss.temperature == 0.3
        one.on_train_batch_start(1_000)
        assert one.current_temperature == one.main_loss.temperature == 0.3


@pytest.mark.parametrize("first_step", [0, 500])
def test_a_decay_resumes_as_if_it_had_not_been_held(first_step):
    held, free = (wrapper(temp_start=0.1, temp_end=0.001, temp_decay_steps=100) for _ in range(2))
    for loss_fn in (held, free):
        loss_fn.on_train_batch_start(first_step)
    held.reconfigure(temperature=0.3)
    held.on_train_batch_start(first_step + 20)
    held.resume_decay(0.1, 0.001)
    resumed = wrapper(temp_start=0.1, temp_end=0.001, temp_decay_steps=100)
    resumed.load_state_dict(held.state_dict())
    for step in range(first_step + 21, first_step + 120):
        for loss_fn in (held, free, resumed):
            loss_fn.on_train_batch_start(step)
        assert held.current_temperature == free.current_temperature == resumed.current_temperature
        assert held.main_loss.temperature == held.current_temperature
    with pytest.raises(ValueError, match="expected temp_end to be"):
        held.resume_decay(0.1, 0.0)


def test_other_settings_go_to_the_main_loss():
    loss_fn = wrapper()
    loss_fn.reconfigure(queue_size=8, final_main_weight=0.5, gather_distributed=False)
    assert loss_fn.main_loss.queue_size == 8
    assert loss_fn.main_weight == 0.5
    assert loss_fn.main_loss.gather_distributed is False
    with pytest.raises(ValueError, match=r"SmoothAPLoss can change during training.*, got 'warmup_epochs'"):
        loss_fn.reconfigure(warmup_epochs=3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"warmup_epochs": 1, "warmup_steps": 5}, "in epochs or in steps, got both"),
        ({"blend_epochs": 1, "blend_steps": 5}, "in epochs or in steps, got both"),
        ({"warmup_epochs": -1}, "expected warmup_epochs to be an integer of at least 0, got -1"),
        ({"temp_start": 0.0}, "expected temp_start to be a finite number and > 0, got 0.0"),
        ({"final_main_weight": 1.5}, "expected final_main_weight to be a finite number and > 0.0 and <= 1.0"),
        ({"temp_decay_steps": 1.5}, "expected temp_decay_steps to be an integer of at least 0, got 1.5"),
    ],
)
def test_wrong_settings_are_errors(settings, message):
    with pytest.raises(ValueError, match=message.replace("(", r"\(").split(", got 0")[0]):
        wrapper(**settings)


class WithParts(nn.Module):
    """A loss that also returns what it is made of."""

    def forward(self, logits, targets):
        loss = F.cross_entropy(logits, targets)
        return loss, {"cross_entropy": loss.detach()}


@pytest.mark.parametrize("place", ["warmup", "main"])
def test_a_loss_that_returns_more_than_a_tensor_is_named(place):
    loss_fn = wrapper(**{place: WithParts()}, warmup_steps=1, blend_steps=1)
    told = "expected WithParts to return a tensor, got tuple: return the loss alone"
    for _, step in drive(loss_fn, 3):
        called = (0, 1) if place == "warmup" else (1, 2)
        if step in called:
            with pytest.raises(TypeError, match=told):
                loss_fn(*batch(8, 3))
        else:
            assert loss_fn(*batch(8, 3)).dim() == 0


def test_losses_of_different_shapes_cannot_be_blended():
    loss_fn = wrapper(nn.CrossEntropyLoss(reduction="none"), blend_steps=2)
    loss_fn.on_train_batch_start(0)
    with pytest.raises(ValueError, match=r"to return the same shape, got \[\] from the main loss"):
        loss_fn(*batch(8, 3))
