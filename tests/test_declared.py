"""What users declare of their classes is taken in any form that has an order or ids, and checked."""

import numpy as np
import pandas as pd
import pytest
import torch

from imbalance_doctor import Doctor, preflight
from imbalance_doctor.declared import MOST_CLASSES, class_names, rates
from imbalance_doctor.log import read_log
from imbalance_doctor.records import RunInfo
from losses import SmoothAPLoss, SoftmaxFocalLoss

IN_ORDER = {
    "list": ["ok", "fraud"],
    "tuple": ("ok", "fraud"),
    "generator": (name for name in ["ok", "fraud"]),
    "array": np.array(["ok", "fraud"]),
    "array of objects": np.array(["ok", "fraud"], dtype=object),
    "Series": pd.Series(["ok", "fraud"]),
    "Index": pd.Index(["ok", "fraud"]),
    "values of a dict": {"a": "ok", "b": "fraud"}.values(),
}
BY_ID = {
    "ids in another order": {1: "fraud", 0: "ok"},
    "ids as text": {"1": "fraud", "0": "ok"},
    "numpy's ids": {np.int64(1): "fraud", np.int32(0): "ok"},
    "whole floats": {1.0: "fraud", 0.0: "ok"},
    "a Series by id": pd.Series({1: "fraud", 0: "ok"}),
}


@pytest.mark.parametrize("given", [*IN_ORDER.values(), *BY_ID.values()], ids=[*IN_ORDER, *BY_ID])
def test_names_are_those_of_the_ids_whatever_their_form(given):
    assert class_names(given) == ("ok", "fraud")


def test_twelve_ids_as_text_are_in_the_order_of_numbers():
    assert class_names({str(i): f"name of {i}" for i in range(12)}) == tuple(
        f"name of {i}" for i in range(12)
    )


@pytest.mark.parametrize(
    ("given", "classes", "expected"),
    [
        ({0: "ok", 2: "fraud"}, 3, ["ok", None, "fraud"]),
        ({1: "fraud"}, 2, [None, "fraud"]),
        ({1: "fraud"}, 1, ["fraud"]),
        ({0: "ok"}, 2, ["ok", None]),
        ({0: "ok"}, 1, [None]),  # the one column is that of id 1
        (["fraud"], 1, ["fraud"]),
        (["ok", "fraud"], 1, ["fraud"]),
        (["a", "b", "c"], 1, [None]),
        (["a", "b"], 4, ["a", "b", None, None]),
        (["a", "b", "c"], 2, ["a", "b"]),
        (["a", None, "c"], 3, ["a", None, "c"]),
        ([], 2, [None, None]),
        ({}, 2, [None, None]),
        (torch.tensor([3, 7]), 2, ["3", "7"]),
    ],
)
def test_a_class_is_called_by_its_own_name_or_by_none(given, classes, expected):
    info = RunInfo(class_names=class_names(given))
    assert [info.class_name(index, classes) for index in range(classes)] == expected


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("fraud", "a list of names, got the text 'fraud'"),
        (
            {"fraud": 1, "ok": 0},
            r"got the key 'fraud'. Give id2label in place of label2id, such as \{1: 'fraud'\}",
        ),
        ({"3": 0, "7": 1}, r"got \{'3': 0\}, which is a label2id. Give id2label, such as \{0: '3'\}"),
        ({"fraud": "yes"}, "got the key 'fraud'. Give id2label in place of label2id$"),
        ({0: "ok", "0": "fraud"}, "each id once, got 0 twice"),
        ({-100: "ignored", 0: "ok"}, "ids from 0 to 999,999, got -100. Leave out ids that are not classes"),
        ({MOST_CLASSES: "far"}, "ids from 0 to 999,999, got 1000000"),
        ({0.5: "half"}, "got the key 0.5"),
        ({"ok", "fraud"}, "got a set, which has no order"),
        (np.array([["ok", "fraud"]]), "to be a list of names, got"),
        (5, "to be a list of names, got 5"),
    ],
)
def test_names_that_cannot_be_told_apart_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        Doctor(None, class_names=given)
    with pytest.raises(ValueError, match=message):
        preflight(SmoothAPLoss(1), batch_size=64, positive_rate=0.1, class_names=given)


def test_ids_without_a_name_stay_without_one_in_the_log(tmp_path):
    with Doctor(tmp_path, class_names={2: "fraud"}) as doctor:
        doctor.step()
    (path,) = tmp_path.glob("*.jsonl")
    assert read_log(path).info.class_names == (None, None, "fraud")


def test_a_preflight_names_classes_by_id():
    found = preflight(
        SoftmaxFocalLoss(alpha=[1.0, 1.0, 1.0]), batch_size=64, positive_rate=[0.6, 0.399, 0.00001],
        class_names={"2": "fraud"},
    )  # fmt: skip
    assert {(each.class_index, each.class_name) for each in found.findings} == {(2, "fraud")}


# --- rates ------------------------------------------------------------------------------------------------

ONE = [0.25, np.float64(0.25), np.float32(0.25), np.array(0.25), torch.tensor(0.25)]
EACH = [
    [0.25, 0.75], (0.25, 0.75), np.array([0.25, 0.75]), torch.tensor([0.25, 0.75]), pd.Series([0.25, 0.75]),
    [torch.tensor(0.25), np.float32(0.75)], (rate for rate in (0.25, 0.75)),
]  # fmt: skip


@pytest.mark.parametrize("given", ONE, ids=lambda given: type(given).__name__)
def test_one_rate_may_be_any_number(given):
    assert rates(given, "rate") == 0.25
    assert type(rates(given, "rate")) is float


@pytest.mark.parametrize("given", EACH, ids=lambda given: type(given).__name__)
def test_rates_of_classes_may_be_any_list(given):
    assert rates(given, "rate") == (0.25, 0.75)


@pytest.mark.parametrize(
    "given",
    [0.0, 1, -0.1, np.nan, torch.tensor(float("nan")), [0.5, np.nan], np.array([0.5, 1.0]), [], "0.5",
     {1: 0.5}, {0.5}, None, True, np.array([[0.5]])],
)  # fmt: skip
def test_a_rate_outside_0_to_1_is_refused(given):
    with pytest.raises(ValueError, match="expected rate to be between 0 and 1, got"):
        rates(given, "rate")


def test_doctor_and_preflight_take_arrays():
    doctor = Doctor(None, population_positive_rate=torch.tensor([0.25, 0.75]))
    assert doctor.run.info.population_positive_rate == (0.25, 0.75)
    plan = {"loss_fn": SmoothAPLoss(1), "batch_size": 64}
    one, other = (preflight(**plan, positive_rate=rate) for rate in (np.float32(0.25), 0.25))
    assert one.to_dict() == other.to_dict()
