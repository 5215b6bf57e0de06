"""torch.compile sees focal losses and ranking losses as one graph."""

import os

import pytest
import torch
from loss_cases import RANKING, batch
from torch import nn

from losses import LossWarmupWrapper, SigmoidFocalLoss, SmoothAPLoss, SoftmaxFocalLoss

pytestmark = [
    pytest.mark.slow,
    # torch's own, from inside the compiler.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


#: Torch's own compiler writes code of vectors that it then includes no header for, of any model.
INDUCTOR = pytest.param(
    "inductor",
    marks=pytest.mark.skipif(
        os.environ.get("ATEN_CPU_CAPABILITY") == "default", reason="inductor needs a CPU with vectors"
    ),
)


@pytest.fixture(autouse=True)
def _fresh_compiler(monkeypatch, tmp_path):
    # What was compiled for other instructions (ATEN_CPU_CAPABILITY) would be found again, and crash.
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def agree(loss_fn, compiled, logits, targets):
    values = []
    for call in (loss_fn, compiled):
        leaf = logits.clone().requires_grad_()
        loss = call(leaf, targets)
        loss.backward()
        values.append((loss.detach(), leaf.grad))
    assert torch.allclose(values[0][0], values[1][0], atol=1e-6)
    assert torch.allclose(values[0][1], values[1][1], atol=1e-6)


@pytest.mark.parametrize("backend", ["aot_eager", INDUCTOR])
@pytest.mark.parametrize("kind", ["sigmoid", "softmax"])
def test_focal_compiles_without_a_break(kind, backend):
    loss_fn = SigmoidFocalLoss() if kind == "sigmoid" else SoftmaxFocalLoss(alpha=[0.2, 0.3, 0.5])
    compiled = torch.compile(loss_fn, fullgraph=True, backend=backend)
    for step in range(2):
        logits, targets = batch(16, 3, step, dtype=torch.float32)
        agree(loss_fn, compiled, logits, targets if kind == "softmax" else (logits > 0).float())


@pytest.mark.parametrize("name", RANKING)
def test_ranking_losses_compile_without_a_break_and_keep_their_queue(name):
    eager, other = RANKING[name](3, queue_size=16), RANKING[name](3, queue_size=16)
    compiled = torch.compile(other, fullgraph=True, backend="aot_eager")
    for step in range(4):
        logits, targets = batch(12, 3, step, dtype=torch.float32)
        values = []
        for call in (eager, compiled):
            leaf = logits.clone().requires_grad_()
            loss = call(leaf, targets)
            loss.backward()
            values.append((loss.detach(), leaf.grad))
        assert torch.allclose(values[0][0], values[1][0], atol=1e-6)
        assert torch.allclose(values[0][1], values[1][1], atol=1e-6)
    for a, b in zip(eager.state_dict().values(), other.state_dict().values(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("name", RANKING)
def test_a_falling_temperature_does_not_recompile_at_each_step(name):
    from torch._dynamo.utils import counters

    counters.clear()
    loss_fn = RANKING[name](3, queue_size=16)
    compiled = torch.compile(loss_fn, backend="aot_eager")
    for step in range(8):
        loss_fn.temperature = 0.1 * 0.9**step
        compiled(*batch(12, 3, step, dtype=torch.float32))
    # The first forward, one more once the queue knows its type, one more once the temperature moves.
    assert counters["stats"]["unique_graphs"] <= 3


@pytest.mark.parametrize("warmup", [None, nn.CrossEntropyLoss, nn.BCEWithLogitsLoss])
def test_an_ignored_id_that_a_byte_cannot_hold_ignores_nothing(warmup):
    main = SmoothAPLoss(200, queue_size=0, temperature=0.3)  # in uint8, -100 means 156
    loss_fn = main if warmup is None else LossWarmupWrapper(warmup(), main, warmup_epochs=1).eval()
    logits, ids = batch(400, 200, dtype=torch.float32)
    compiled = torch.compile(loss_fn, backend="eager")
    assert torch.equal(compiled(logits, ids.to(torch.uint8)), compiled(logits, ids))


class Inherits(nn.CrossEntropyLoss):
    """Has torch's own forward."""


class Weighted(nn.Module):
    def forward(self, logits, targets, sample_weight):
        return (nn.functional.cross_entropy(logits, targets, reduction="none") * sample_weight).mean()


@pytest.mark.parametrize("step", [0, 1, 2])
@pytest.mark.parametrize(
    "warmup",
    [nn.CrossEntropyLoss, nn.BCEWithLogitsLoss, SigmoidFocalLoss, SoftmaxFocalLoss, Inherits, Weighted],
)
def test_a_compiled_wrapper_hands_out_weights_as_it_does_uncompiled(warmup, step):
    def make():
        loss_fn = LossWarmupWrapper(warmup(), SmoothAPLoss(3, 0), warmup_steps=1, blend_steps=1)
        loss_fn.on_train_batch_start(step)
        return loss_fn

    data = batch(20, 3, dtype=torch.float32)
    weight = torch.linspace(0.1, 5, 20)
    compiled = torch.compile(make(), backend="eager", fullgraph=True)
    assert torch.allclose(compiled(*data, sample_weight=weight), make()(*data, sample_weight=weight))
