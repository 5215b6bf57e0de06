"""Where a framework is not installed."""

import importlib
import sys

import pytest


@pytest.fixture
def without(monkeypatch):
    """Imports an integration where these packages cannot be."""

    def load(name, *missing):
        for package in missing:
            for loaded in [key for key in sys.modules if key.split(".")[0] == package] or [package]:
                monkeypatch.setitem(sys.modules, loaded, None)
        module = f"imbalance_doctor.integrations.{name}"
        monkeypatch.delitem(sys.modules, module, raising=False)
        try:
            return importlib.import_module(module)
        finally:
            sys.modules.pop(module, None)

    return load


@pytest.mark.parametrize("name", ["lightning", "transformers"])
def test_the_error_names_the_extra(without, name):
    with pytest.raises(ImportError, match=rf"pip install 'imbalance-doctor\[{name}\]'") as error:
        without(name, name, "pytorch_lightning")
    assert "which is not installed" in str(error.value)


def test_pytorch_lightning_alone_is_enough(without):
    pytorch_lightning = pytest.importorskip("pytorch_lightning")
    callback = without("lightning", "lightning").DoctorCallback(None)
    assert isinstance(callback, pytorch_lightning.Callback)
