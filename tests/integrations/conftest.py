"""Runs of real frameworks: what they warn of is theirs, what the losses warn of is not the subject here."""

import pytest
import torch


@pytest.fixture(autouse=True)
def same_start():
    torch.manual_seed(0)


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.is_relative_to(__file__.removesuffix("conftest.py")):
            item.add_marker(pytest.mark.filterwarnings("ignore"))
