"""What a watched loss is asked: its settings, and the losses that it wraps."""

import ast
from pathlib import Path

import pytest
from torch import nn

from imbalance_doctor.live.listening.loss_info import info_of
from imbalance_doctor.records import LossInfo
from losses import LossWarmupWrapper, RecallAtQuantileLoss, SigmoidFocalLoss, SmoothAPLoss
from losses.warmup.schedule import Phase

ROOT = Path(__file__).parents[2]


def wrapper(**settings):
    return LossWarmupWrapper(nn.BCEWithLogitsLoss(), RecallAtQuantileLoss(1, 0.1, **settings), warmup_steps=5)


def test_a_wrapper_has_two_losses_with_their_kinds_and_settings():
    loss_fn = wrapper(queue_size=8)
    info = info_of("w", loss_fn)
    assert info.main == LossInfo("w", "recall_at_quantile", loss_fn.main_loss.config())
    assert info.warmup == LossInfo("w", "bce", {"reduction": "mean"})


def test_one_of_them_is_active_at_a_time():
    info = info_of("w", wrapper())
    assert [info.active(phase) for phase in Phase] == [info.warmup, info.main, info.main]


@pytest.mark.parametrize(
    "loss_fn", [SmoothAPLoss(1), SigmoidFocalLoss(), nn.CrossEntropyLoss(), nn.MSELoss()]
)
def test_any_other_loss_has_none_and_is_active_itself(loss_fn):
    info = info_of("loss", loss_fn)
    assert info.main is info.warmup is None
    assert info.active(Phase.WARMUP) is info.active(Phase.MAIN) is info


def test_a_setting_of_a_wrapper_is_its_own_or_else_that_of_its_main_loss():
    info = info_of("w", wrapper(queue_size=8))
    assert info.setting("warmup_steps") == 5
    assert info.setting("queue_size") == 8
    assert info.setting("quantile") == 0.1
    assert info.setting("pos_weight") is None
    assert info.setting("pos_weight", 1.0) == 1.0
    assert info_of("ap", SmoothAPLoss(1)).setting("queue_size") == 1024
    loss_fn = wrapper()
    for name in (name for name, setting in wrapper()._SETTINGS.items() if setting.changes):
        loss_fn.reconfigure(**{name: info_of("w", loss_fn).setting(name)})  # both speak of the same one


@pytest.mark.parametrize("config", [{}, {"main_loss": 3}, {"main_loss": None}, {"main_loss": {}}])
def test_a_wrapper_whose_losses_are_unknown_has_some_of_no_kind(config):
    info = LossInfo("w", "warmup_wrapper", config)
    assert info.main == info.warmup == LossInfo("w", "other", {})
    assert not info.gathers


def test_ranks_are_gathered_as_the_main_loss_says():
    assert info_of("w", wrapper()).gathers
    assert not info_of("w", wrapper(gather_distributed=False)).gathers
    assert info_of("ap", SmoothAPLoss(1)).gathers
    assert not info_of("focal", SigmoidFocalLoss()).gathers


def test_the_temperature_that_a_wrapper_moves_makes_no_other_loss():
    one, other, colder = info_of("w", wrapper()), info_of("w", wrapper(queue_size=8)), wrapper()
    colder.main_loss.temperature = 0.001
    assert info_of("w", colder).identity == one.identity != other.identity
    alone = SmoothAPLoss(1), SmoothAPLoss(1, temperature=0.001)
    assert info_of("ap", alone[0]).identity != info_of("ap", alone[1]).identity


def test_what_shape_the_settings_of_a_wrapper_have_is_known_to_it_and_to_the_records_alone():
    knows = {ROOT / "losses" / "warmup" / "wrapper.py", ROOT / "imbalance_doctor" / "records.py"}
    spell = set()
    for package in ("losses", "imbalance_doctor"):
        for path in (ROOT / package).rglob("*.py"):
            texts = [
                node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)
            ]
            if "main_loss" in texts or "warmup_loss" in texts:
                spell.add(path)
    assert spell == knows
