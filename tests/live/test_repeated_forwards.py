"""Several forwards of a batch: activation checkpointing computes one again, closures compute several."""

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint, set_checkpoint_early_stop

from imbalance_doctor import Doctor
from losses import SigmoidFocalLoss, SmoothAPLoss

#: Without a queue, which a forward that is computed again would find fed.
LOSSES = {
    "plain": nn.BCEWithLogitsLoss,
    "focal": SigmoidFocalLoss,
    "ranking": lambda: SmoothAPLoss(1, queue_size=0),
}


def recorded(make, mode, batches=1, together=False):
    """Statistics of three steps, with the loss inside a checkpointed part of the model."""
    torch.manual_seed(0)
    layer, loss_fn = nn.Linear(8, 1), make()
    with Doctor(None, every=1, on_finding="log") as doctor, set_checkpoint_early_stop(False):
        doctor.watch(loss_fn)
        for _ in range(3):
            values = []
            for _ in range(batches):
                x, y = torch.randn(32, 8, requires_grad=True), (torch.rand(32) < 0.3).float()

                def part(x, y=y):
                    # Something follows the loss, so that all of it is computed again.
                    return loss_fn(layer(x)[:, 0], y.long() if isinstance(loss_fn, SmoothAPLoss) else y).exp()

                values.append(part(x) if mode is None else checkpoint(part, x, use_reentrant=mode))
                if not together:
                    values.pop().backward()
            if together:
                sum(values).backward()
            doctor.step()
        return [record.stats for record in doctor.run.steps()]


@pytest.mark.parametrize("batches", [1, 3])
@pytest.mark.parametrize("mode", [True, False], ids=["reentrant", "not reentrant"])
@pytest.mark.parametrize("name", LOSSES)
def test_a_forward_that_is_computed_again_is_heard_once(name, mode, batches):
    once, again = (recorded(LOSSES[name], each, batches) for each in (None, mode))
    assert len(once) == 3
    assert "pos_grad_norm" in once[0]
    torch.testing.assert_close(again, once, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("name", LOSSES)
def test_forwards_of_one_backward_are_heard_once_each(name):
    once, again = (recorded(LOSSES[name], each, 2, together=True) for each in (None, False))
    torch.testing.assert_close(again, once, rtol=0, atol=0, equal_nan=True)


def test_a_step_of_several_closures_is_one_record_with_the_mean_of_their_losses():
    torch.manual_seed(0)
    layer, loss_fn = nn.Linear(8, 1), nn.BCEWithLogitsLoss()
    x, y = torch.randn(32, 8), (torch.rand(32) < 0.3).float()
    optimizer, heard = torch.optim.LBFGS(layer.parameters(), max_iter=3), []
    with Doctor(None, every=1, on_finding="log") as doctor:
        doctor.watch(loss_fn)

        def closure():
            optimizer.zero_grad()
            loss = loss_fn(layer(x)[:, 0], y)
            loss.backward()
            heard.append(loss.item())
            return loss

        optimizer.step(closure)
        doctor.step()
        (record,) = doctor.run.steps()
    assert len(heard) > 1
    assert float(record.stats["loss"]) == pytest.approx(heard[0])
    assert float(record.stats["interval_loss"]) == pytest.approx(sum(heard) / len(heard))


@pytest.mark.parametrize("name", ["plain", "focal"])
def test_gradients_of_each_sample_are_no_training_step_and_harm_nothing(name):
    torch.manual_seed(0)
    layer, loss_fn = nn.Linear(8, 1), LOSSES[name]()
    x, y = torch.randn(32, 8), (torch.rand(32) < 0.3).float()

    def one(weights, x, y):
        return loss_fn(torch.func.functional_call(layer, weights, (x[None],))[:, 0], y[None])

    with Doctor(None, every=1, on_finding="raise") as doctor:
        doctor.watch(loss_fn)
        for _ in range(3):
            weights = {key: value.detach() for key, value in layer.named_parameters()}
            each = torch.func.vmap(torch.func.grad(one), in_dims=(None, 0, 0))(weights, x, y)
            loss_fn(layer(x)[:, 0], y).backward()
            doctor.step()
        assert each["weight"].shape == (32, 1, 8)
        assert not doctor.diagnosis.notes
        assert [float(record.stats["pool_size"]) for record in doctor.run.steps()] == [32.0] * 3
