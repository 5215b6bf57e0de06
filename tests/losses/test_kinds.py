"""`losses.kinds` is the authority on kinds of loss: the losses follow it, and nobody else lists them."""

import ast
from pathlib import Path

import losses
from losses import kinds
from losses.diagnostics.bridge import PLAIN_KINDS
from losses.diagnostics.listening import Diagnosable
from losses.focal import FocalLoss
from losses.ranking.base import RankingLoss

ROOT = Path(__file__).parents[2]
LOSSES = [each for each in (getattr(losses, name) for name in losses.__all__) if isinstance(each, type)]


def kinds_of(family):
    return {loss.kind for loss in LOSSES if issubclass(loss, family)}


def test_every_loss_is_of_a_kind_and_every_kind_is_that_of_a_loss():
    assert kinds_of(RankingLoss) == kinds.RANKING
    assert kinds_of(FocalLoss) == kinds.FOCAL
    assert kinds.FOCAL | set(PLAIN_KINDS.values()) == kinds.LIKELIHOOD
    assert kinds_of(Diagnosable) - kinds.ANY == {kinds.WARMUP}


def test_the_smaller_families_are_parts_of_the_larger_ones():
    assert kinds.THRESHOLDED < kinds.RANKING < kinds.ANY
    assert kinds.SOFTMAX < kinds.LIKELIHOOD < kinds.ANY
    assert not kinds.RANKING & kinds.LIKELIHOOD


def test_kinds_know_nothing_else():
    tree = ast.parse(Path(kinds.__file__).read_text(encoding="utf-8"))
    imported = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    assert [node.module for node in imported] == ["__future__"]


def test_nobody_else_spells_a_kind():
    names = kinds.ANY - {kinds.OTHER} | {kinds.WARMUP}
    for path in (*(ROOT / "losses").rglob("*.py"), *(ROOT / "imbalance_doctor").rglob("*.py")):
        # A rule says its kinds; what a package exports may be called as a loss is.
        if path != Path(kinds.__file__) and path.name != "__init__.py" and "rules" not in path.parts:
            spelled = [n.value for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Constant)]
            assert not names.intersection(text for text in spelled if isinstance(text, str)), path
