"""Text that reaches a person: cleaned once, wherever it came from.

Names, paths and messages of exceptions come from users, files and other libraries. A terminal would obey what
they hold, a page or a log of a CI system too, and one of ten megabytes fills it.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable

#: Characters of a paragraph. The longest that rules write has some 1,500, and the longest path that Linux
#: opens 4,096; both come out whole.
PARAGRAPH = 5_000
#: Characters of a name. ImageNet's longest class has 131; two lines of a terminal hold this many.
NAME = 200
#: Times the length that is shown are looked at: a traceback in colours is half escape sequences, and ten
#: megabytes cost no more than a page.
LOOKED_AT = 8
#: Where text is cut, this many characters are searched for a place between two letters. Emoji of several
#: people and letters with their accents have up to a dozen; what has more was made to be long.
CLUSTER = 32

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_MARK = "…"

#: What a terminal takes as a command: strings with a payload (titles, links, images), colours and cursor
#: moves, and the short ones. No pattern looks beyond the next control character, so that time stays linear.
_SEQUENCE = (
    r"(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x00-\x1f\x7f-\x9f]*(?:\x07|\x1b\\|\x9c)"
    r"|(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    r"|\x1b[ -/]*[0-~]"
)
#: The flags of England, Scotland and Wales are spelt in characters that are invisible everywhere else.
_FLAG = "\U0001f3f4[\U000e0020-\U000e007e]+\U000e007f"
#: Spaces and ends of lines other than the space, which stays as it is.
_BREAKS = r"[\t-\r\x1c-\x1f\x85\u2028\u2029]+"
#: Invisible, and not needed to write any language: characters that reorder a line or hide in a name.
_HIDDEN = "[\u00ad\u180e\u200b\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"
#: Control characters, halves of characters and what is no character.
_BROKEN = r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]"
_UNCLEAN = re.compile(
    f"(?P<flag>{_FLAG})|(?P<gone>{_SEQUENCE}|{_HIDDEN})|(?P<breaks>{_BREAKS})|(?P<broken>{_BROKEN})"
)
#: What joins or parts letters of Persian, Indic scripts and emoji does nothing after others.
_IDLE_JOINER = re.compile("(?<![\u0300-\U0010ffff])[\u200c\u200d]+")
#: Signs above and below a letter; eight are more than any language puts there, and hundreds cover a page.
_SIGN = (
    "[\u0300-\u036f\u0483-\u0489\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u06d6-\u06ed\u0e31\u0e34-\u0e3a"
    "\u0e47-\u0e4e\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]"
)
_ACCENTS = re.compile(f"({_SIGN}{{8}}){_SIGN}+")
#: Commands to a CI system, which reads them in whatever a job prints.
_COMMAND = re.compile(
    r"(?<=[:#])(?::(?=(?:set-output|set-env|save-state|add-path|add-mask|add-matcher|remove-matcher|echo|debug|notice"
    r"|warning|error|group|endgroup|stop-commands|internal-set-repo-path)\b)|#(?=\[|vso\[|teamcity\[))",
    re.IGNORECASE,
)
_SURROGATE = re.compile(r"[\ud800-\udfff]")
#: Unicode's categories of what belongs to the character before it: accents, variants, joiners.
_CONTINUED = frozenset({"Mn", "Mc", "Me", "Cf"})
_SKINS = "\U0001f3fb\U0001f3fc\U0001f3fd\U0001f3fe\U0001f3ff"
_JOINER = "\N{ZERO WIDTH JOINER}"


def clean(text: str, most: int = PARAGRAPH) -> str:
    r"""Text in one line that nothing obeys, and that is no longer than one reads.

    Escape sequences, and characters that are invisible or reorder a line, are left out; other control
    characters and halves of characters become U+FFFD. Letters of every language and emoji stay as they are,
    and so does what is clean already.

    >>> clean("\x1b[31mfraud\x1b[0m\n::set-output name=x::y")
    'fraud : :set-output name=x::y'
    """
    plain = len(text) <= most and text.isprintable() and "::" not in text and "##" not in text
    if plain and (text.isascii() or not _ACCENTS.search(text)):
        return text  # nearly every text
    text = _UNCLEAN.sub(_replaced, shortened(text, LOOKED_AT * most))
    text = _ACCENTS.sub(r"\1", _IDLE_JOINER.sub("", text))
    text = _COMMAND.sub(r" \g<0>", text)
    return shortened(text, most)


def clean_name(text: str) -> str:
    """A name, clean and no longer than one remembers."""
    return clean(text, NAME)


def shortened(text: str, most: int = PARAGRAPH) -> str:
    """Text whose middle gives way to a mark where it is too long: names often differ in their ends.

    >>> shortened("abcdefghij", 6)
    'abc…ij'
    """
    if len(text) <= most:
        return text
    tail = (most - len(_MARK)) // 2
    start = _between_letters(text, most - len(_MARK) - tail, -1)
    end = _between_letters(text, len(text) - tail, 1)
    return text[:start] + _MARK + text[end:]


def encodable(text: str) -> str:
    """Text that UTF-8 can hold: Python keeps bytes of a path that are no text as halves of characters."""
    return _SURROGATE.sub(_REPLACEMENT, text)


class Names(dict[str, str]):
    r"""Names as they are shown, by what they are; those that look the same once clean are numbered.

    Args:
        names: Names in the order in which they are numbered; others follow as they are asked for.
        clean: What makes a name presentable.

    >>> Names(["fraud", "fra\u200bud"])
    {'fraud': 'fraud', 'fra\u200bud': 'fraud (2)'}
    """

    def __init__(self, names: Iterable[str] = (), clean: Callable[[str], str] = clean_name):
        super().__init__()
        self._clean = clean
        self._taken: Counter[str] = Counter()
        for name in names:
            self[name]

    def __missing__(self, name: str) -> str:
        shown = same = self._clean(name)
        while shown in self._taken:
            self._taken[same] += 1
            shown = f"{same} ({self._taken[same]})"
        self._taken[shown] = 1
        self[name] = shown
        return shown


def _replaced(found: re.Match[str]) -> str:
    kind = found.lastgroup
    return found[0] if kind == "flag" else "" if kind == "gone" else " " if kind == "breaks" else _REPLACEMENT


def _between_letters(text: str, at: int, direction: int) -> int:
    """The nearest place in a direction where no character is cut in two."""
    places = range(at, at + direction * CLUSTER, direction)
    return next((place for place in places if not _inside(text, place)), at)


def _inside(text: str, at: int) -> bool:
    if not 0 < at < len(text):
        return False
    after = text[at]
    return text[at - 1] == _JOINER or after in _SKINS or unicodedata.category(after) in _CONTINUED
