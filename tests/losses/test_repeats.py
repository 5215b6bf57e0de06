"""A forward may run twice: the queue and the listeners see a batch once."""

import copy
import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from losses import (
    LossWarmupWrapper,
    PAUCAtBudgetLoss,
    RecallAtQuantileLoss,
    SigmoidFocalLoss,
    SmoothAPLoss,
    SoftmaxFocalLoss,
)

RANKING = {
    "smooth_ap": lambda: SmoothAPLoss(1, queue_size=64, temperature=0.1),
    "recall": lambda: RecallAtQuantileLoss(1, quantile=0.2, queue_size=64, temperature=0.1),
    "pauc": lambda: PAUCAtBudgetLoss(1, beta=0.3, queue_size=64, temperature=0.1),
    "pauc_pairwise": lambda: PAUCAtBudgetLoss(1, beta=0.3, queue_size=64, surrogate="pairwise"),
    "wrapper": lambda: LossWarmupWrapper(
        nn.BCEWithLogitsLoss(), SmoothAPLoss(1, queue_size=64), temp_end=0.05
    ),
}


def batches(count, rows=16, width=4):
    generator = torch.Generator().manual_seed(3)
    for _ in range(count):
        x = torch.randn(rows, width, generator=generator)
        yield x, (torch.rand(rows, generator=generator) < 0.3).long()


def queue_of(loss):
    return getattr(loss, "main_loss", loss).queue


def same_queue(one, other):
    held, others = queue_of(one).state(), queue_of(other).state()
    return all(torch.equal(held[name], others[name]) for name in held)


def gradient(net):
    grads = torch.cat([p.grad.flatten() for p in net.parameters()])
    net.zero_grad()
    return grads


@pytest.mark.parametrize("targets", ["ids", "a column made anew", "floats made anew"])
@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.parametrize("name", RANKING)
def test_activation_checkpointing_changes_neither_the_gradient_nor_the_queue(name, reentrant, targets):
    given = {
        "ids": lambda y: y,
        "a column made anew": lambda y: y[:, None],
        "floats made anew": torch.Tensor.float,
    }
    plain = RANKING[name]()
    again, net = copy.deepcopy(plain), nn.Linear(4, 1)
    for step, (x, y) in enumerate(batches(8)):
        for loss in (plain, again):
            if isinstance(loss, LossWarmupWrapper):
                loss.on_train_batch_start(step)
        plain(net(x), given[targets](y)).backward()
        expected = gradient(net)
        value = checkpoint(
            lambda t, y=y: again(net(t), given[targets](y)), x.requires_grad_(), use_reentrant=reentrant
        )
        value.backward()
        torch.testing.assert_close(gradient(net), expected)
        assert same_queue(plain, again)


def test_several_checkpointed_forwards_before_one_backward_each_see_the_queue_of_their_time():
    plain = SmoothAPLoss(1, queue_size=32, temperature=0.1)
    again, net = copy.deepcopy(plain), nn.Linear(4, 1)
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    for _ in range(3):
        parts = list(batches(3, rows=16))
        sum(plain(net(x), y) for x, y in parts).backward()
        expected = gradient(net)
        inside = lambda t, y: again(net(t), y)  # noqa: E731
        sum(checkpoint(inside, x.requires_grad_(), y, use_reentrant=False) for x, y in parts).backward()
        torch.testing.assert_close(gradient(net), expected)
        assert same_queue(plain, again)
        optimizer.step()


@pytest.mark.filterwarnings("ignore:.*is sampled down")
def test_a_recomputed_forward_draws_the_rows_of_a_capped_pool_again():
    loss, net = SmoothAPLoss(1, queue_size=64, max_pool_size=24, temperature=0.1), nn.Linear(4, 1)
    for x, y in batches(6):
        other = copy.deepcopy(loss)
        other(net(x), y).backward()
        expected = gradient(net)
        checkpoint(lambda t, y=y: loss(net(t), y), x.requires_grad_(), use_reentrant=False).backward()
        torch.testing.assert_close(gradient(net), expected)


def perturb(net, sign, by_data=False):
    for parameter in net.parameters():
        step = sign * 0.05 * torch.ones_like(parameter)
        if by_data:
            parameter.data.add_(step)
        else:
            with torch.no_grad():
                parameter.add_(step)


@pytest.mark.parametrize("by_data", [False, True])
@pytest.mark.parametrize("column", [False, True])
@pytest.mark.parametrize("name", RANKING)
def test_the_second_pass_of_sam_ranks_as_the_first_and_feeds_nothing(name, column, by_data):
    loss, net = RANKING[name](), nn.Linear(4, 1)
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    for step, (x, y) in enumerate(batches(6)):
        given = (lambda y=y: y[:, None]) if column else (lambda y=y: y)
        if isinstance(loss, LossWarmupWrapper):
            loss.on_train_batch_start(step)
        before = copy.deepcopy(loss)
        loss(net(x), given()).backward()
        net.zero_grad()
        after = copy.deepcopy(loss)
        perturb(net, 1, by_data)
        second = loss(net(x), given())
        torch.testing.assert_close(second, before(net(x), given()))
        second.backward()
        perturb(net, -1, by_data)
        optimizer.step()
        optimizer.zero_grad()
        assert same_queue(loss, after)
    assert int(queue_of(loss).step) == 6


class SAM(torch.optim.SGD):
    """Sharpness-aware minimisation with a closure, as its packages have it."""

    def step(self, closure):
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.data.add_(0.05 * parameter.grad)
        with torch.enable_grad():
            closure()
        return super().step()


CLOSURES = {
    "LBFGS": (lambda p: torch.optim.LBFGS(p, max_iter=7, line_search_fn="strong_wolfe"), False),
    "LBFGS after a forward of its own": (lambda p: torch.optim.LBFGS(p, max_iter=7), True),
    "SAM": (SAM, True),
}


@pytest.mark.parametrize("name", CLOSURES)
def test_closures_see_the_queue_of_the_first_evaluation_and_feed_it_once(name):
    loss, net, calls = SmoothAPLoss(1, queue_size=256, temperature=0.3), nn.Linear(4, 1), []
    make, forward_before = CLOSURES[name]
    optimizer = make(net.parameters())

    def evaluate(x, y):
        optimizer.zero_grad()
        value = loss(net(x), y)
        value.backward()
        calls.append(value.item())
        return value

    for step, batch in enumerate(batches(4)):
        if forward_before:
            evaluate(*batch)
        optimizer.step(lambda batch=batch: evaluate(*batch))
        assert int(loss.queue.step) == step + 1
    assert len(calls) > 4
    assert loss.queue.fill() == 64 / 256


def test_batches_that_share_one_tensor_of_labels_are_each_new():
    y = (torch.arange(16) % 4 == 0).long()
    x = [torch.randn(16, 4) for _ in range(8)]
    net = nn.Linear(4, 1)
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    for accumulate in (1, 4):
        loss = SmoothAPLoss(1, queue_size=256, temperature=0.1)
        for step, part in enumerate(x, 1):
            loss(net(part), y).backward()
            if step % accumulate == 0:
                optimizer.step()
                optimizer.zero_grad()
        assert loss.queue.fill() == 0.5


def test_batches_that_are_parts_of_one_tensor_of_labels_are_each_new_whoever_updates_the_weights():
    loss, net = SmoothAPLoss(1, queue_size=256), nn.Linear(4, 1)
    x, y = torch.randn(128, 4), (torch.arange(128) % 4 == 0).long()
    for start in range(0, 128, 16):
        part = slice(start, start + 16)
        loss(net(x[part]), y[part]).backward()
        perturb(net, -1)
    assert loss.queue.fill() == 0.5


def test_a_loop_that_updates_the_weights_by_hand_feeds_the_queue_whatever_its_labels():
    # In a process of its own: no optimizer must have made a step in it.
    code = """
import torch
from torch import nn
from losses import SmoothAPLoss
loss, net, y = SmoothAPLoss(1, queue_size=256), nn.Linear(4, 1), (torch.arange(16) % 4 == 0).long()
for _ in range(9):
    loss(net(torch.randn(16, 4)), y).backward()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter -= 0.1 * parameter.grad
    net.zero_grad()
print(int(loss.queue.step))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) >= 8


def test_two_views_of_a_batch_in_one_step_are_both_rows_of_the_population():
    loss, net = SmoothAPLoss(1, queue_size=64), nn.Linear(4, 1)
    ((x, y),) = batches(1)
    (loss(net(x), y) + loss(net(x + 0.1), y)).backward()
    assert loss.queue.fill() == 0.5


def test_a_step_that_raised_leaves_later_batches_new():
    loss, net = SmoothAPLoss(1, queue_size=64), nn.Linear(4, 1)
    optimizer = torch.optim.LBFGS(net.parameters())

    def closure():
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        optimizer.step(closure)
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    y = (torch.arange(16) % 4 == 0).long()
    for x, _ in batches(3):
        loss(net(x), y).backward()
        optimizer.step()
    assert loss.queue.fill() == 0.75


LISTENED = {
    **RANKING,
    "sigmoid_focal": SigmoidFocalLoss,
    "softmax_focal": SoftmaxFocalLoss,
}


@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.parametrize("name", LISTENED)
def test_a_listener_hears_of_a_checkpointed_batch_once(name, reentrant):
    loss, heard = LISTENED[name](), []
    net = nn.Linear(4, 2 if name == "softmax_focal" else 1)

    def counts():
        return torch.is_grad_enabled()  # as a monitor asks: a forward without gradient is no training

    loss.register_diagnostics_hook(lambda _, stats: heard.append(float(stats["loss"])), wants=counts)
    values = []
    for step, (x, y) in enumerate(batches(5)):
        if isinstance(loss, LossWarmupWrapper):
            loss.on_train_batch_start(step)
        y = y[:, None].float() if name == "sigmoid_focal" else y
        value = checkpoint(lambda t, y=y: loss(net(t), y), x.requires_grad_(), use_reentrant=reentrant)
        value.backward()
        values.append(value.item())
    assert heard == pytest.approx(values)


def test_a_listener_hears_of_the_second_pass_of_sam_and_of_closures_nothing():
    loss, net, heard = SmoothAPLoss(1, queue_size=64), nn.Linear(4, 1), []
    loss.register_diagnostics_hook(lambda _, stats: heard.append(stats))
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    for x, y in batches(3):
        loss(net(x), y).backward()
        perturb(net, 1)
        _, stats = loss(net(x), y, return_diagnostics=True)
        assert stats["pool_size"] == heard[-1]["pool_size"]
        perturb(net, -1)
        optimizer.step()
    assert len(heard) == 3
