"""The memory queue is state of the loss and not of the model: whatever treats buffers leaves it alone."""

import copy
import io
import pickle

import imbalanced_losses as peer
import pytest
import torch
from safetensors.torch import load, save
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import losses
from losses import (
    LossWarmupWrapper,
    PAUCAtBudgetLoss,
    RecallAtQuantileLoss,
    SigmoidFocalLoss,
    SmoothAPLoss,
    SoftmaxFocalLoss,
)
from losses.ranking.packing import pack, unpack

RANKING = [SmoothAPLoss, RecallAtQuantileLoss, PAUCAtBudgetLoss]


class Model(nn.Module):
    """A model that holds its loss, as Lightning's and the Trainer's do."""

    def __init__(self, loss):
        super().__init__()
        self.net, self.loss = nn.Linear(4, 1), loss

    def forward(self, x, y):
        return self.loss(self.net(x), y)


def fed(loss, steps=5, rows=8, columns=1, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    for _ in range(steps):
        labels = torch.arange(rows) % max(2, columns)
        loss(torch.randn(rows, columns, generator=generator).to(dtype), labels)
    return loss


def held(loss):
    return {name: value.clone() for name, value in loss.queue.state().items()}


def same(one, other):
    return all(torch.equal(one[name], other[name]) and one[name].dtype == other[name].dtype for name in one)


@pytest.mark.parametrize("loss_class", RANKING)
def test_a_queue_is_no_buffer_and_no_float_of_the_state(loss_class):
    loss = fed(loss_class(1, queue_size=32))
    assert list(loss.buffers()) == []
    state = loss.state_dict()
    assert all(value.dtype is torch.uint8 for value in state.values())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("columns", [1, 3])
def test_every_way_of_saving_gives_the_queue_back_to_the_bit(dtype, columns):
    loss = fed(SmoothAPLoss(columns, queue_size=32, temperature=0.1), columns=columns, dtype=dtype)
    file = io.BytesIO()
    torch.save(loss.state_dict(), file)
    file.seek(0)
    ways = {
        "state_dict": loss.state_dict(),
        "torch.save": torch.load(file, weights_only=True),
        "safetensors": load(save(loss.state_dict())),
        "a plain dict of copies": {key: value.clone() for key, value in loss.state_dict().items()},
    }
    for way, state in ways.items():
        other = SmoothAPLoss(columns, queue_size=32, temperature=0.1)
        other.load_state_dict(state)
        assert same(held(other), held(loss)), way
    for other in (copy.deepcopy(loss), pickle.loads(pickle.dumps(loss))):
        assert same(held(other), held(loss))


def test_a_saved_state_does_not_follow_the_queue():
    loss = fed(SmoothAPLoss(1, queue_size=32))
    state, before = loss.state_dict(), held(loss)
    fed(loss, steps=2)
    other = SmoothAPLoss(1, queue_size=32)
    other.load_state_dict(state)
    assert same(held(other), before)


@pytest.mark.parametrize("use_buffers", [False, True])
@pytest.mark.parametrize("average", [{}, {"multi_avg_fn": get_ema_multi_avg_fn(0.9)}])
def test_weight_averaging_leaves_the_queue_alone_also_once_it_has_been_resized(use_buffers, average):
    model = Model(SmoothAPLoss(1, queue_size=16))
    averaged = AveragedModel(model, use_buffers=use_buffers, **average)
    fed(model.loss)
    before = held(model.loss)
    averaged.update_parameters(model)
    averaged.update_parameters(model)
    assert same(held(model.loss), before)
    model.loss.reconfigure(queue_size=64)
    averaged.update_parameters(model)
    assert model.loss.queue_size == 64


def test_an_average_over_the_floats_of_a_state_dict_leaves_the_queue_alone():
    model = Model(fed(SmoothAPLoss(1, queue_size=16)))
    ema, before = copy.deepcopy(model), held(model.loss)
    model.loss.reconfigure(queue_size=64)
    now = model.state_dict()
    for name, value in ema.state_dict().items():
        if value.is_floating_point():
            value.mul_(0.9).add_(now[name], alpha=0.1)
    assert same(held(ema.loss), before)


def test_a_checkpoint_that_was_averaged_byte_by_byte_starts_with_an_empty_queue_and_says_so():
    one, other = (fed(SmoothAPLoss(1, queue_size=16), steps=steps) for steps in (2, 3))
    soup = {key: (value + other.state_dict()[key]) // 2 for key, value in one.state_dict().items()}
    loss = fed(SmoothAPLoss(1, queue_size=16))
    with pytest.warns(
        UserWarning, match="the memory queue of this checkpoint cannot be read .* starts empty"
    ):
        loss.load_state_dict(soup)
    assert loss.queue.fill() == 0


@pytest.mark.parametrize("change", [lambda m: m.half(), lambda m: m.to(torch.bfloat16), lambda m: m.double()])
def test_the_precision_of_a_model_is_not_that_of_its_queue(change):
    model = Model(fed(SmoothAPLoss(1, queue_size=16)))
    before = held(model.loss)
    change(model)
    assert same(held(model.loss), before)


def test_a_model_that_is_built_without_memory_has_a_queue_all_the_same():
    with torch.device("meta"):
        model = Model(SmoothAPLoss(1, queue_size=16))
    model = model.to_empty(device="cpu")
    nn.init.normal_(model.net.weight)
    nn.init.zeros_(model.net.bias)
    model(torch.randn(8, 4), torch.arange(8) % 2).backward()
    assert model.loss.queue.fill() == 0.5


@pytest.mark.parametrize("strict", [True, False])
def test_a_checkpoint_of_another_loss_is_loaded_strictly(strict):
    before = nn.ModuleDict({"net": nn.Linear(4, 1), "loss": nn.BCEWithLogitsLoss()})
    for loss in (
        SmoothAPLoss(1),
        LossWarmupWrapper(nn.BCEWithLogitsLoss(), SmoothAPLoss(1), warmup_steps=5),
        LossWarmupWrapper(SigmoidFocalLoss(), PAUCAtBudgetLoss(1), warmup_epochs=5),
        SigmoidFocalLoss(pos_weight=3.0),
        SoftmaxFocalLoss(alpha=[0.2, 0.8]),
    ):
        after = nn.ModuleDict({"net": nn.Linear(4, 1), "loss": loss})
        found = after.load_state_dict(before.state_dict(), strict=strict)
        assert not found.missing_keys
        assert torch.equal(after["net"].weight, before["net"].weight)


@pytest.mark.parametrize("module", [peer, losses])
def test_class_weights_are_settings_and_no_state(module):
    older = module.SoftmaxFocalLoss(alpha=torch.tensor([0.5, 0.5])).state_dict()
    older |= {"alpha": torch.tensor([0.5, 0.5], dtype=torch.float64)}
    loss = SoftmaxFocalLoss(alpha=[0.2, 0.8])
    loss.load_state_dict(older)
    assert loss.alpha.tolist() == [0.2, 0.8]
    assert loss.state_dict() == {}
    assert loss.half().alpha.device == torch.device("cpu")


def test_what_a_strict_load_does_not_know_is_still_an_error():
    state = fed(SmoothAPLoss(1)).state_dict() | {"queue.extra": torch.zeros(1)}
    with pytest.raises(RuntimeError, match=r"queue\.extra"):
        SmoothAPLoss(1).load_state_dict(state)


def test_rows_of_another_number_of_classes_are_refused_in_one_sentence():
    state = fed(SmoothAPLoss(3, queue_size=8), columns=3).state_dict()
    with pytest.raises(RuntimeError, match="expected a memory queue with rows of 2 classes, got one of 3"):
        SmoothAPLoss(2, queue_size=8).load_state_dict(state)


@pytest.mark.parametrize("size", [8, 64])
def test_a_checkpoint_of_another_size_keeps_the_newest_rows(size):
    loss = fed(SmoothAPLoss(1, queue_size=32))
    other = SmoothAPLoss(1, queue_size=size)
    other.load_state_dict(loss.state_dict())
    loss.reconfigure(queue_size=size)
    assert same(held(other), held(loss))


def test_buffers_of_an_earlier_checkpoint_load():
    loss = fed(SmoothAPLoss(2, queue_size=16), columns=2)
    older = {f"loss.queue.{name}": value for name, value in loss.queue.state().items()}
    holder = nn.ModuleDict({"loss": SmoothAPLoss(2, queue_size=16)})
    holder.load_state_dict(older)
    assert same(held(holder["loss"]), held(loss))
    del older["loss.queue.born"]
    with pytest.raises(RuntimeError, match="expected all buffers of a memory queue, got one without born"):
        holder.load_state_dict(older)


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("columns", [1, 3])
@pytest.mark.parametrize("name", ["SmoothAPLoss", "RecallAtQuantileLoss", "PAUCAtBudgetLoss"])
def test_a_checkpoint_of_the_reference_goes_on_with_the_same_pool(name, columns, strict):
    options = {"queue_size": 16, "temperature": 0.3}
    theirs = fed(getattr(peer, name)(columns, **options), steps=3, columns=columns)
    ours = {"SmoothAPLoss": SmoothAPLoss, "RecallAtQuantileLoss": RecallAtQuantileLoss}.get(
        name, PAUCAtBudgetLoss
    )
    ours = ours(columns, **options)
    ours.load_state_dict(theirs.state_dict(), strict=strict)
    logits, targets = torch.randn(8, columns), torch.arange(8) % max(2, columns)
    torch.testing.assert_close(ours(logits, targets), theirs(logits, targets))


def test_a_run_on_the_reference_goes_on_where_its_schedule_stood():
    def made(module, **options):
        main = module.SmoothAPLoss(1, queue_size=16)
        return module.LossWarmupWrapper(nn.BCEWithLogitsLoss(), main, temp_decay_steps=100, **options)

    for options, epochs in (({"warmup_epochs": 1}, 3), ({"warmup_epochs": 1, "blend_epochs": 3}, 3), ({}, 1)):
        theirs, ours = made(peer, **options), made(losses, **options)
        step = 0
        for epoch in range(epochs):
            theirs.on_train_epoch_start(epoch)
            for _ in range(5):
                theirs.on_train_batch_start(step)
                theirs(torch.randn(8, 1), (torch.arange(8) % 2)[:, None].float())
                step += 1
        ours.load_state_dict(theirs.state_dict())
        for each in (ours, theirs):
            each.on_train_batch_start(step)
        assert ours.current_temperature == pytest.approx(theirs.current_temperature)
        assert ours.in_warmup == theirs.in_warmup
        assert ours.main_weight == pytest.approx(theirs.main_weight)


def test_the_state_of_something_else_is_named():
    wrapper = LossWarmupWrapper(nn.BCEWithLogitsLoss(), SmoothAPLoss(1), warmup_steps=5)
    state = wrapper.state_dict() | {"_extra_state": {"epoch": 1}}
    with pytest.raises(RuntimeError, match="expected the state of a LossWarmupWrapper, got one without"):
        wrapper.load_state_dict(state)


def test_a_wrapper_inside_a_model_can_be_saved_where_only_tensors_can():
    wrapper = LossWarmupWrapper(nn.BCEWithLogitsLoss(), fed(SmoothAPLoss(1, queue_size=16)), warmup_steps=5)
    wrapper.on_train_batch_start(7)
    other = LossWarmupWrapper(nn.BCEWithLogitsLoss(), SmoothAPLoss(1, queue_size=16), warmup_steps=5)
    other.load_state_dict(load(save(wrapper.state_dict())))
    assert other.get_extra_state().tolist() == wrapper.get_extra_state().tolist()
    assert same(held(other.main_loss), held(wrapper.main_loss))
    shapes = {key: value.shape for key, value in wrapper.state_dict().items()}
    wrapper.on_train_batch_start(123_456)
    assert {key: value.shape for key, value in wrapper.state_dict().items()} == shapes


def test_packing_tells_what_was_changed():
    packed = pack({"a": [1, None]}, {"x": torch.arange(3), "empty": torch.zeros(0, 2)})
    values, tensors = unpack(packed)
    assert values == {"a": [1, None]}
    assert tensors["x"].tolist() == [0, 1, 2]
    assert tensors["empty"].shape == (0, 2)
    for place in (0, 1020, len(packed) - 1):
        broken = packed.clone()
        broken[place] += 1
        with pytest.raises(ValueError, match="expected the bytes of a saved state"):
            unpack(broken)
    for broken in (packed[:-1], packed[:10], packed.float(), torch.empty(0, dtype=torch.uint8)):
        with pytest.raises(ValueError, match="expected"):
            unpack(broken)
