"""Runs of real frameworks: what they warn of is theirs, what the losses warn of is not the subject here."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

HERE = Path(__file__).parent


@pytest.fixture(autouse=True)
def same_start():
    torch.manual_seed(0)


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.filterwarnings("ignore"))


#: What torch says when a process of a gloo group aborts while it ends: 1 of 22 loops without a Doctor did, on
#: two busy cores. Such a launch is made again.
TEARDOWN = "terminate called without an active exception"
ATTEMPTS = 3


@pytest.fixture
def launch(tmp_path):
    """Runs a script as several processes in a directory of its own; what they printed."""

    def run(script, processes):
        file = tmp_path / "train.py"
        file.write_text(script)
        for _ in range(ATTEMPTS):
            shutil.rmtree(tmp_path / "runs", ignore_errors=True)
            done = subprocess.run(
                [
                    sys.executable,
                    "-m",
                    "torch.distributed.run",
                    "--standalone",
                    f"--nproc-per-node={processes}",
                    file,
                ],
                cwd=tmp_path,
                env={**os.environ, "PYTHONPATH": str(HERE.parents[1]), "OMP_NUM_THREADS": "1"},
                capture_output=True,
                text=True,
                timeout=240,  # a rank that waits for another one for ever
            )
            if TEARDOWN not in done.stderr:
                break
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    return run
