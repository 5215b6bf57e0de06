"""Text that reaches a person: cleaned once, wherever it came from."""

from __future__ import annotations


def clean(text: str) -> str:
    """Text in one line without control characters, which a class name may hold and a terminal would obey."""
    return "".join(
        c if c.isprintable() else " " if c.isspace() else "\N{REPLACEMENT CHARACTER}" for c in text
    )
