"""The monitor hears a loss and touches nothing: not the logits, not what is returned, not the run."""

import gc
import itertools
import sys
import threading
import weakref

import pytest
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits as bce
from torch.utils.checkpoint import checkpoint

from imbalance_doctor import Doctor, ImbalanceWarning
from imbalance_doctor.live.listening.own_gradient import MOST_NODES
from losses import SigmoidFocalLoss, SmoothAPLoss

GENERATOR = torch.Generator().manual_seed(0)
LOGITS = torch.randn(40, 1, generator=GENERATOR)
LABELS = (torch.rand(40, 1, generator=GENERATOR) < 0.4).float()


class Plain(nn.Module):
    def forward(self, logits, targets):
        return bce(logits, targets)


def leaf():
    return LOGITS.clone().requires_grad_()


def recorded(loss_fn, train):
    """Statistics of one step that does this with the loss."""
    with Doctor(None, every=1, on_finding="log") as doctor:
        doctor.watch(loss_fn)
        train(loss_fn)
        doctor.step()
        assert not doctor.diagnosis.notes
    (record,) = doctor.run.steps()
    return record.stats


def norms(stats):
    return [float(stats[name][0]) for name in ("pos_grad_norm", "neg_grad_norm")]


def expected(scale=1.0):
    logits = leaf()
    bce(logits, LABELS).backward()
    return [scale * float(logits.grad[label == LABELS].norm()) for label in (1, 0)]


# --- the gradient of this loss alone ----------------------------------------------------------------------


class RowByRow(nn.Module):
    def forward(self, logits, targets):
        return sum(bce(z, y) for z, y in zip(logits, targets, strict=True)) / len(logits)


class Broadcast(nn.Module):
    def forward(self, logits, targets):
        return bce(logits.expand(-1, 3), targets.expand(-1, 3))


class _Function(torch.autograd.Function):
    @staticmethod
    def forward(ctx, logits, targets):
        ctx.save_for_backward(logits, targets)
        return bce(logits, targets)

    @staticmethod
    def backward(ctx, gradient):
        logits, targets = ctx.saved_tensors
        return gradient * (logits.sigmoid() - targets) / logits.numel(), None


class OwnFunction(nn.Module):
    def forward(self, logits, targets):
        return _Function.apply(logits, targets)


class InPlace(nn.Module):
    def forward(self, logits, targets):
        return bce((logits * 1.0).mul_(1.0), targets)


class Checkpointed(nn.Module):
    def __init__(self, reentrant):
        super().__init__()
        self.reentrant = reentrant

    def forward(self, logits, targets):
        return checkpoint(bce, logits, targets, use_reentrant=self.reentrant)


LOSSES = {
    "plain": Plain,
    "row by row": RowByRow,
    "broadcast": Broadcast,
    "a function of its own": OwnFunction,
    "in place": InPlace,
    "checkpointed": lambda: Checkpointed(False),
    "checkpointed with reentry": lambda: Checkpointed(True),
    "scripted": lambda: torch.jit.script(Plain()),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own, about scripts
@pytest.mark.parametrize("make", LOSSES.values(), ids=LOSSES)
def test_the_gradient_is_that_of_the_loss_whatever_else_uses_the_logits(make):
    def shared(loss_fn):
        logits = leaf() * 1.0
        (loss_fn(logits, LABELS) + 5 * logits.square().sum()).backward()

    for train in (lambda loss_fn: loss_fn(leaf(), LABELS).backward(), shared):
        assert norms(recorded(make(), train)) == pytest.approx(expected(), rel=1e-5)


def scaled_in_place(loss_fn):
    loss = loss_fn(leaf(), LABELS)
    loss /= 4
    loss.backward()


def twice(loss_fn):
    loss = loss_fn(leaf(), LABELS)
    loss.backward(retain_graph=True)
    loss.backward()


def penalised(loss_fn):
    logits = leaf() * 1.0
    loss = loss_fn(logits, LABELS)
    (slope,) = torch.autograd.grad(loss, logits, create_graph=True)
    (loss + slope.square().sum()).backward()


def one_of_two(loss_fn):
    first, second = torch.cat([LOGITS, LOGITS], 1).requires_grad_().split(1, 1)
    (loss_fn(second, LABELS) + first.sum()).backward()


def behind_a_deep_model(loss_fn):
    logits = leaf()
    for _ in range(MOST_NODES + 1):
        logits = logits * 1.0
    loss_fn(logits, LABELS).backward()


def in_another_thread(loss_fn):
    logits, losses = leaf() * 1.0, []
    thread = threading.Thread(target=lambda: losses.append(loss_fn(logits, LABELS)))
    thread.start()
    thread.join()
    losses[0].backward()


WAYS = {
    "scaled in place": (scaled_in_place, 0.25),
    "twice": (twice, 1.0),
    "penalised": (penalised, 1.0),
    "one of two views": (one_of_two, 1.0),
    "behind a deep model": (behind_a_deep_model, 1.0),
    "in another thread": (in_another_thread, 1.0),
}


@pytest.mark.parametrize(("train", "scale"), WAYS.values(), ids=WAYS)
def test_the_first_backward_is_heard(train, scale):
    assert norms(recorded(Plain(), train)) == pytest.approx(expected(scale), rel=1e-5)


def test_of_a_graph_that_is_too_large_the_gradient_is_left_out():
    class Deep(nn.Module):
        def forward(self, logits, targets):
            for _ in range(MOST_NODES + 1):
                logits = logits * 1.0
            return bce(logits, targets)

    stats = recorded(Deep(), lambda loss_fn: loss_fn(leaf(), LABELS).backward())
    assert "pos_grad_norm" not in stats
    assert stats["live_pos_count"] == LABELS.sum()


# --- nothing is touched -----------------------------------------------------------------------------------


class _Marked(torch.Tensor):
    pass


@pytest.mark.parametrize("make", [Plain, SigmoidFocalLoss])
def test_a_loss_is_handed_the_very_logits_of_the_loop(make):
    logits = (leaf() * 1.0).as_subclass(_Marked)
    logits.row_weight = torch.ones(40)

    class Looks(make):
        def forward(self, inputs, targets):
            assert inputs is logits
            assert inputs.row_weight.sum() == 40
            inputs.retain_grad()
            return super().forward(inputs, targets)

    recorded(Looks(), lambda loss_fn: loss_fn(logits, LABELS).backward())
    assert logits.grad is not None


def test_nothing_is_left_on_the_logits_and_nothing_holds_their_graph():
    loss_fn = Plain()
    with Doctor(None, every=1, on_finding="log") as doctor:
        doctor.watch(loss_fn)
        gc.disable()
        try:
            for backward in (True, False):
                logits = leaf() * 1.0
                hidden, loss = weakref.ref(logits), loss_fn(logits, LABELS)
                if backward:
                    loss.backward()
                assert not logits._backward_hooks
                del logits, loss
                assert hidden() is None
                doctor.step()
        finally:
            gc.enable()


OURS = {
    "focal": (SigmoidFocalLoss, LABELS),
    "focal, unreduced": (lambda: SigmoidFocalLoss(reduction="none"), LABELS),
    "ranking": (lambda: SmoothAPLoss(1, queue_size=0), LABELS[:, 0].long()),
    "ranking, unreduced": (lambda: SmoothAPLoss(1, queue_size=0, reduction="none"), LABELS[:, 0].long()),
    "plain": (nn.BCEWithLogitsLoss, LABELS),
    "plain, unreduced": (lambda: nn.BCEWithLogitsLoss(reduction="none"), LABELS),
}


@pytest.mark.parametrize(("make", "targets"), OURS.values(), ids=OURS)
def test_what_is_recorded_is_what_was_computed_and_not_what_the_loop_makes_of_it(make, targets):
    def train(change):
        loss_fn = make()
        with Doctor(None, every=2, on_finding="log") as doctor:
            doctor.watch(loss_fn)
            for _ in range(3):
                loss = loss_fn(leaf(), targets)
                if change:
                    loss /= 4
                loss.mean().backward()
                doctor.step()
        return [record.stats for record in doctor.run.steps()]

    for before, after in zip(train(change=False), train(change=True), strict=True):
        for name in before.keys() - {"pos_grad_norm", "neg_grad_norm"}:
            torch.testing.assert_close(after[name], before[name], equal_nan=True)


# --- nothing ends the run, or the listening ---------------------------------------------------------------


@pytest.mark.parametrize("fails", ["hear_forward", "_wants", "_receive", "_receive_gradients"])
@pytest.mark.parametrize("make", [Plain, SigmoidFocalLoss])
def test_whatever_fails_in_a_hook_the_loop_goes_on(make, fails, monkeypatch):
    def fail(*args):
        raise RuntimeError("of ours")

    monkeypatch.setattr(f"imbalance_doctor.live.listening.watcher.Watcher.{fails}", fail)
    loss_fn = make()
    with Doctor(None, every=1) as doctor:
        doctor.watch(loss_fn)
        ours = make is SigmoidFocalLoss
        if ours == (fails != "hear_forward") or fails == "_wants":
            with pytest.warns(ImbalanceWarning, match="of ours") as caught:
                for _ in range(3):
                    loss_fn(leaf(), LABELS).backward()
                    doctor.step()
            assert len(caught) == 1
    assert torch.is_grad_enabled()


class _PreemptedError(Exception):
    """Raised by a handler of the user's."""


def interrupted_at(count, error):
    """A trace function that raises at one of the instructions of ours that are run."""
    left = itertools.count(count, -1)

    def trace(frame, event, argument):
        if not any(folder in frame.f_code.co_filename for folder in ("/imbalance_doctor/", "/losses/")):
            return None
        frame.f_trace_opcodes = True
        if event == "opcode" and next(left) == 0:
            sys.settrace(None)
            raise error
        return trace

    return trace


@pytest.mark.parametrize("error", [KeyboardInterrupt, _PreemptedError])
@pytest.mark.parametrize("make", [Plain, SigmoidFocalLoss])
def test_what_interrupts_a_hook_passes_and_the_next_steps_are_recorded(make, error):
    for count in range(1, 2000, 97):
        loss_fn, passed = make(), False
        with Doctor(None, every=1, on_finding="log") as doctor:
            doctor.watch(loss_fn)
            loss_fn(leaf(), LABELS).backward()
            doctor.step()
            before = sys.gettrace()
            sys.settrace(interrupted_at(count, error))
            try:
                loss_fn(leaf(), LABELS).backward()
            except error:
                passed = True
            finally:
                ended, _ = sys.gettrace() is None, sys.settrace(before)
            assert passed == ended, "it was swallowed"
            assert torch.is_grad_enabled()
            doctor.step()
            for _ in range(2):
                loss_fn(leaf(), LABELS).backward()
                doctor.step()
            assert [record.step for record in doctor.run.steps()][-2:] == [2, 3]
            assert not doctor.diagnosis.notes


def test_half_a_hook_that_an_interruption_left_is_replaced(monkeypatch):
    loss_fn, register = Plain(), nn.Module.register_forward_hook

    def half(module, hook, **keywords):
        register(module, hook)  # without its keywords, as if interrupted there
        monkeypatch.undo()
        raise KeyboardInterrupt

    with Doctor(None, every=1, on_finding="log") as doctor:
        monkeypatch.setattr(nn.Module, "register_forward_hook", half)
        with pytest.raises(KeyboardInterrupt):
            doctor.watch(loss_fn)
        for _ in range(2):
            loss_fn(leaf(), LABELS).backward()
            doctor.step()
        assert len(loss_fn._forward_hooks) == 1
        assert [record.step for record in doctor.run.steps()] == [1]
    assert not loss_fn._forward_hooks


@pytest.mark.parametrize("make", [Plain, SigmoidFocalLoss])
def test_a_loss_may_be_called_from_several_threads(make):
    loss_fn, errors = make(), []

    def work():
        try:
            for _ in range(30):
                loss_fn(leaf(), LABELS).backward()
        except Exception as error:
            errors.append(error)

    with Doctor(None, every=1, on_finding="log") as doctor:
        doctor.watch(loss_fn)
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for _ in range(30):
            doctor.step()
        for thread in threads:
            thread.join()
        assert not errors
        assert not doctor.diagnosis.notes or all(
            "was not recorded between steps" in note for note in doctor.diagnosis.notes
        )


# --- compiled ---------------------------------------------------------------------------------------------


class Model(nn.Module):
    def __init__(self, loss_fn):
        super().__init__()
        self.layer, self.loss_fn = nn.Linear(8, 1), loss_fn

    def forward(self, x, targets):
        return self.loss_fn(self.layer(x), targets)


@pytest.fixture
def _fresh_compiler():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.slow
@pytest.mark.usefixtures("_fresh_compiler")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own, from inside the compiler
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@pytest.mark.parametrize("make", [Plain, SigmoidFocalLoss])
@pytest.mark.parametrize("late", [False, True], ids=["watched before", "watched after"])
def test_a_graph_that_may_not_break_leaves_the_loss_out_and_says_so_once(make, backend, late):
    loss_fn = make()
    step = torch.compile(Model(loss_fn), fullgraph=True, backend=backend)
    with Doctor(None, every=1, on_finding="log") as doctor:
        if late:
            step(torch.randn(16, 8), LABELS[:16]).backward()
        else:
            doctor.watch(loss_fn)
        with pytest.warns(ImbalanceWarning, match="compiled into a graph that may not break") as caught:
            if late:
                doctor.watch(loss_fn)
                torch._dynamo.reset()  # as another shape would have it compiled anew
            for rows in (16, 16, 24, 32):
                step(torch.randn(rows, 8), LABELS[:rows]).backward()
                doctor.step()
        assert len([each for each in caught if each.category is ImbalanceWarning]) == 1
        (note,) = doctor.diagnosis.notes
    assert "Compile the model without the loss" in note
    assert not doctor.run.steps()


@pytest.mark.slow
@pytest.mark.usefixtures("_fresh_compiler")
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:The .grad attribute")  # torch's own
@pytest.mark.parametrize("make", [Plain, SigmoidFocalLoss])
def test_a_graph_that_may_break_is_heard_between_its_parts_without_a_word_of_the_compiler(make):
    from torch._dynamo.utils import counters

    counters.clear()
    loss_fn = make()
    step = torch.compile(Model(loss_fn), backend="eager")
    with Doctor(None, every=1, on_finding="log") as doctor:
        doctor.watch(loss_fn)
        for _ in range(5):
            step(torch.randn(16, 8), LABELS[:16]).backward()
            doctor.step()
        assert not doctor.diagnosis.notes
    assert [record.step for record in doctor.run.steps()] == list(range(5))
    # Those of the model and the loss, and of our loss one for each level of detail: none of the monitor's.
    assert counters["stats"]["unique_graphs"] <= (4 if make is Plain else 12)
