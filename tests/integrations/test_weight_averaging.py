"""Lightning averages the weights of a model that holds its loss; the queue is no weight."""

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from torch import nn
from torch.optim.swa_utils import get_ema_avg_fn
from torch.utils.data import DataLoader, TensorDataset

from losses import SmoothAPLoss

pytestmark = pytest.mark.slow


class Fraud(LightningModule):
    def __init__(self, **options):
        super().__init__()
        self.net = nn.Linear(8, 1)
        self.loss_fn = SmoothAPLoss(1, **options)

    def training_step(self, batch, number):
        if self.global_step == 20 and self.loss_fn.queue_size < 1024:
            self.loss_fn.reconfigure(queue_size=1024)  # what a treatment does
        return self.loss_fn(self.net(batch[0]), batch[1])

    def validation_step(self, batch, number):
        self.log("loss", self.loss_fn(self.net(batch[0]), batch[1]))

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), 1e-2)


@pytest.mark.parametrize("size", [1024, 256])
@pytest.mark.parametrize("average", [{}, {"avg_fn": get_ema_avg_fn(0.9)}, {"use_buffers": True}])
def test_all_rows_are_left_where_weights_are_averaged(tmp_path, average, size):
    torch.manual_seed(0)
    x = torch.randn(1024, 8)
    y = (x[:, 0] > 1.5).long()
    loader = DataLoader(TensorDataset(x, y), 64)
    trainer = Trainer(
        default_root_dir=tmp_path,
        max_epochs=4,
        callbacks=[WeightAveraging(**average)],
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    model = Fraud(queue_size=size)
    trainer.fit(model, loader, DataLoader(TensorDataset(x, y), 512))
    queue = model.loss_fn.queue
    assert int((queue.labels == 1).sum()) == int(y.sum())
    assert int((queue.labels == 0).sum()) == int((y == 0).sum())
    saved = torch.load(trainer.checkpoint_callback.best_model_path)
    Fraud(queue_size=1024).load_state_dict(saved["state_dict"])  # the average, whose queue nobody has fed
    resumed = Fraud(queue_size=1024)
    resumed.load_state_dict(saved["current_model_state"])
    assert int((resumed.loss_fn.queue.labels == 1).sum()) == int(y.sum())
