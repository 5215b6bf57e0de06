"""A user's own ``losses.py`` beside the training script does not break this package, nor this package it."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

import losses
from imbalance_doctor import losses as second_name

TRAINING = """
import copy, pickle, warnings
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    from imbalance_doctor import Doctor, preflight
    from imbalance_doctor.losses import LossWarmupWrapper, SmoothAPLoss
    from imbalance_doctor.losses.distributed import all_gather_no_grad
import losses
assert losses.MINE == 1, losses
said = [str(warning.message) for warning in caught]
assert len(said) == 1 and "imbalance_doctor.losses" in said[0] and losses.__file__ in said[0], said
import torch
from torch import nn
loss_fn = LossWarmupWrapper(nn.BCEWithLogitsLoss(), SmoothAPLoss(1, queue_size=32), warmup_steps=2)
with Doctor(None, every=1, on_finding="log") as doctor:
    doctor.watch(loss_fn)
    model = nn.Linear(4, 1)
    for step in range(4):
        loss_fn.on_train_batch_start(step)
        loss_fn(model(torch.randn(16, 4)), torch.arange(16) % 4 // 3).backward()
        doctor.step()
assert len(doctor.run.stats) == 4
assert preflight(SmoothAPLoss(1), batch_size=64, positive_rate=0.0001).findings
again = pickle.loads(pickle.dumps(loss_fn))
assert type(again) is LossWarmupWrapper and type(copy.deepcopy(loss_fn.main_loss)) is SmoothAPLoss
print("trained")
"""


def run(folder: Path, code: str) -> subprocess.CompletedProcess[str]:
    (folder / "train.py").write_text(code)
    # As after a plain installation: both packages lie on the path, behind the script's own folder.
    environment = {**os.environ, "PYTHONPATH": str(Path(losses.__file__).parents[1])}
    command = [sys.executable, "train.py"]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize("own", ["losses.py", "losses/__init__.py"])
def test_a_loss_file_of_the_users_own_and_this_package_work_in_one_script(tmp_path, own):
    (tmp_path / own).parent.mkdir(exist_ok=True)
    (tmp_path / own).write_text("MINE = 1\n")
    done = run(tmp_path, TRAINING)
    assert done.stdout.strip() == "trained", done.stderr


def test_a_folder_without_a_package_hides_nothing(tmp_path):
    (tmp_path / "losses").mkdir()
    code = "import losses, imbalance_doctor.losses as same; assert same is losses and losses.SmoothAPLoss"
    done = run(tmp_path, code)
    assert (done.returncode, done.stderr) == (0, "")


def test_both_names_are_the_same_modules_and_classes():
    assert second_name is losses
    for part in ("diagnostics", "kernels", "kernels.dispatch", "ranking"):
        module = importlib.import_module(f"imbalance_doctor.losses.{part}")
        assert module is importlib.import_module(f"losses.{part}")
        assert module.__spec__.name == f"losses.{part}"
    with pytest.raises(ModuleNotFoundError, match="nothing_here"):
        importlib.import_module("imbalance_doctor.losses.nothing_here")
