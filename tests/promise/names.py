"""Hostile names, wherever a name can be, through every renderer."""

from __future__ import annotations

from collections.abc import Iterable

from tests.promise.trials import Tried, tried
from tests.render.hostile import HOSTILE
from tests.render.test_hostile import RENDERERS, test_a_name_stays_a_name


def trials() -> list[Tried]:
    """A trial for each name and renderer."""

    def trial(label: str) -> Iterable[str]:
        kind, _, renderer = label.rpartition(" in ")
        try:
            test_a_name_stays_a_name(kind, renderer)
        except Exception as error:
            return [f"{type(error).__name__}: {str(error)[:200]}"]
        return []

    labels = [f"{kind} in {renderer}" for kind in HOSTILE for renderer in RENDERERS]
    return [tried("a hostile name in a renderer", labels, trial)]
