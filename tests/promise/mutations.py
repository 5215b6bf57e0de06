"""Mutations of a real log, by type and by byte: what is read is checked.

The law: a log is read, and then everything that shows it works; or it is refused with its file and line.
Never another exception, never "a bug", never a hang.
"""

from __future__ import annotations

import copy
import gzip
import io
import json
import random
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import torch
from torch import nn

from imbalance_doctor import Doctor, LogError, load_run
from imbalance_doctor.cli import main
from losses import LossWarmupWrapper, PAUCAtBudgetLoss, SmoothAPLoss
from tests.promise.trials import Tried

FORMATS = ("text", "json", "markdown", "junit", "sarif", "github", "html")
#: What shows a run: each format of the report, TensorBoard, and the tables.
CONSUMERS = (*FORMATS, "tensorboard", "tables")

#: Seconds that one mutation may take; a hundred times what it takes.
PATIENCE = 30.0

#: What a value is replaced by.
ODD_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 7, 2**53, 2**53 + 1, -(2**53), 2**63, 10**20, 10**400, -(10**400)),
    *(0.5, -0.0, 1e-320, 1e39, 1e300, float("inf"), float("-inf"), float("nan")),
    *(
        "",
        "x",
        "inf",
        "-inf",
        "nan",
        "1",
        "\ud800",
        "a\x00b",
        "\x1b[31m",
        "x" * 20_001,
        "step",
        "warmup_wrapper",
    ),
    *(
        [],
        [[]],
        [[], []],
        [1],
        [[1]],
        [[1], [2, 3]],
        [[[1]]],
        [None],
        ["a"],
        [True],
        [1, [2]],
        list(range(300)),
    ),
    *({}, {"a": 1}, {"kind": "x"}, {"": None}, [{}], {"a": {"b": {"c": []}}}),
    *(json.loads("[" * 90 + "]" * 90), json.loads('{"a":' * 90 + "1" + "}" * 90)),
)


# --- a real log -----------------------------------------------------------------------------------------


def record(folder: Path) -> bytes:
    """Train a little: two sessions, three losses, histograms, evaluations, a treatment, notes, findings."""
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of labels that no class has, which are to leave a note
        for first in (0, 30):
            _session(folder, first)
    return (folder / "diagnostics-rank0.jsonl").read_bytes()


def _session(folder: Path, first: int) -> None:
    sick, plain = PAUCAtBudgetLoss(num_classes=1, beta=0.005, queue_size=64), nn.BCEWithLogitsLoss()
    main = SmoothAPLoss(3, queue_size=64)
    wrapped = LossWarmupWrapper(nn.BCEWithLogitsLoss(), main, warmup_steps=15, blend_steps=10)
    model, many = nn.Linear(8, 1), nn.Linear(8, 3)
    names = ["ok", "fraud"]
    with Doctor(folder, every=5, on_finding="log", total_steps=75, class_names=names) as doctor:
        for loss, name in ((sick, "sick"), (plain, "plain"), (wrapped, "wrapped")):
            doctor.watch(loss, name)
        for step in range(first, first + 45):
            wrapped.on_train_batch_start(step)
            x, y = torch.randn(64, 8), (torch.rand(64) < 0.05).long()
            labels = (torch.rand(64, 3) < 0.3).float()
            loss = sick(model(x), y) + plain(model(x), y[:, None].float()) + wrapped(many(x), labels)
            loss.backward()
            doctor.step(step, lr=0.1)
            if step % 15 == 14:
                labels[:3, 0] = 255.0
                doctor.log_eval(many(x).detach(), labels, step)
            if step == first + 35:
                doctor.treat(next(each for each in doctor.findings if each.prescription))


# --- mutations ------------------------------------------------------------------------------------------

Lines = list[Any]


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every value in a tree; of long lists, to a few of their items."""
    if path:
        yield path
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _places(item, (*path, key))
    elif isinstance(value, list):
        for index in range(min(len(value), 3)):
            yield from _places(value[index], (*path, index))


def _chosen(lines: Lines, rng: random.Random) -> tuple[Any, Any]:
    """A container somewhere in a line, and a key of it. Each kind of line is as likely as another."""
    kinds: dict[tuple[Any, Any], list[Any]] = {}
    for line in lines:
        kinds.setdefault((line.get("kind"), line.get("event")), []).append(line)
    line = rng.choice(kinds[rng.choice(list(kinds))])
    *way, key = rng.choice(list(_places(line)))
    for step in way:
        line = line[step]
    return line, key


def replaced(lines: Lines, rng: random.Random) -> Lines:
    """A value becomes an odd one."""
    holder, key = _chosen(lines, rng)
    holder[key] = copy.deepcopy(rng.choice(ODD_VALUES))
    return lines


def deleted(lines: Lines, rng: random.Random) -> Lines:
    """A value is gone."""
    holder, key = _chosen(lines, rng)
    del holder[key]
    return lines


def doubled(lines: Lines, rng: random.Random) -> Lines:
    """An item of a list is there twice, or a value under a second name."""
    holder, key = _chosen(lines, rng)
    if isinstance(holder, list):
        holder.insert(key, copy.deepcopy(holder[key]))
    else:
        holder[rng.choice(["", "more", f"{key} ", "loss", "step", "value", "class"])] = copy.deepcopy(
            holder[key]
        )
    return lines


def nested(lines: Lines, rng: random.Random) -> Lines:
    """A value is one level deeper."""
    holder, key = _chosen(lines, rng)
    holder[key] = rng.choice(
        [[holder[key]], [holder[key]] * 2, {"value": holder[key]}, {str(key): holder[key]}]
    )
    return lines


def retyped(lines: Lines, rng: random.Random) -> Lines:
    """A value is what it was, as another type."""
    holder, key = _chosen(lines, rng)
    value = holder[key]
    if isinstance(value, dict):
        holder[key] = rng.choice([list(value.values()), list(value), json.dumps(value)])
    elif isinstance(value, list):
        holder[key] = rng.choice(
            [{str(i): item for i, item in enumerate(value)}, value[0] if value else None, value[:-1]]
        )
    elif isinstance(value, str):
        holder[key] = rng.choice([list(value), len(value), {value: 1}, value.encode().hex()])
    else:
        holder[key] = rng.choice(
            [str(value), bool(value), float(value or 0) + 0.5, int(value or 0), [value], None]
        )
    return lines


def exchanged(lines: Lines, rng: random.Random) -> Lines:
    """A value stands where another one stood."""
    (holder, key), (other, its) = _chosen(lines, rng), _chosen(lines, rng)
    holder[key] = copy.deepcopy(other[its])
    return lines


def renamed(lines: Lines, rng: random.Random) -> Lines:
    """A field has another name."""
    holder, key = _chosen(lines, rng)
    if isinstance(holder, dict):
        holder[rng.choice(["", "value", "class", "\ud800", "x" * 300, "score_hist_edges", "phase"])] = (
            holder.pop(key)
        )
    return lines


def reclassed(lines: Lines, rng: random.Random) -> Lines:
    """From a record on there are more classes, or fewer."""
    classes = rng.choice([1, 2, 5, 12])
    first = rng.randrange(len(lines))
    last = rng.choice([first + 1, len(lines)])
    for line in lines[first:last]:
        values = line.get("stats") if line["kind"] != "eval" else line["metrics"]
        for name, value in (values or {}).items():
            if isinstance(value, list):
                values[name] = [value[0]] * classes
    return lines


def moved(lines: Lines, rng: random.Random) -> Lines:
    """A line is gone, there twice, or elsewhere."""
    line = rng.choice(lines)
    if rng.random() < 0.6:
        lines.remove(line)
    for _ in range(rng.choice([0, 1, 1, 3])):
        lines.insert(rng.randrange(len(lines) + 1), copy.deepcopy(line))
    return lines


def resumed(lines: Lines, rng: random.Random) -> Lines:
    """A session more, from any step on."""
    header = {**lines[0], "start_step": rng.choice([-5, 0, 3, 30, 41, 10**6, 2**53])}
    lines.insert(rng.randrange(1, len(lines) + 1), header)
    return lines


def later(lines: Lines, rng: random.Random) -> Lines:
    """A line of a kind, an event or with a field of a later version."""
    line = copy.deepcopy(rng.choice(lines[1:]))
    line[rng.choice(["kind", "event", "more"])] = rng.choice(["later", "unwatch", "", "run"])
    lines.insert(rng.randrange(1, len(lines) + 1), line)
    return lines


#: Of the lines as data.
OF_LINES: tuple[Callable[[Lines, random.Random], Lines], ...] = (
    *(replaced, replaced, replaced, deleted, doubled, nested, retyped, retyped, exchanged, renamed),
    *(reclassed, moved, resumed, later),
)


def cut(data: bytes, rng: random.Random) -> bytes:
    """The file ends early."""
    return data[: rng.randrange(len(data))]


def torn(data: bytes, rng: random.Random) -> bytes:
    """Some bytes are gone."""
    start = rng.randrange(len(data))
    return data[:start] + data[start + rng.choice([1, 2, 20, 500]) :]


def flipped(data: bytes, rng: random.Random) -> bytes:
    """Some bytes are others."""
    changed = bytearray(data)
    for _ in range(rng.choice([1, 1, 3, 30])):
        changed[rng.randrange(len(data))] = rng.choice(
            [0, 10, 34, 44, 48, 57, 91, 93, 123, 125, 255, rng.randrange(256)]
        )
    return bytes(changed)


def stuffed(data: bytes, rng: random.Random) -> bytes:
    """Something is in the middle that does not belong there."""
    start = rng.choice([0, len(data), rng.randrange(len(data)), data.index(b"\n") + 1])
    more = [
        b"\0" * 512,
        b"\n\n\n",
        b"\xff\xfe",
        "\ufeff".encode(),
        b"[" * 5_000,
        b"9" * 5_000,
        b"null\n",
        b"{}\n",
        b"\r",
    ]
    return data[:start] + rng.choice(more) + data[start:]


def recoded(data: bytes, rng: random.Random) -> bytes:
    """The file went through something."""
    text = data.decode()
    return rng.choice(
        [
            text.encode("utf-16"),
            text.encode("utf-8-sig"),
            text.replace("\n", "\r\n").encode(),
            gzip.compress(data, 1),
            json.dumps([json.loads(line) for line in text.splitlines()], indent=1).encode(),
            data * 2,
            b"",
        ]
    )


#: Of the file as bytes.
OF_BYTES: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    cut,
    torn,
    flipped,
    flipped,
    stuffed,
    recoded,
)


def mutated(data: bytes, rng: random.Random) -> tuple[str, bytes]:
    """One mutation of a log: its kind, and the file after it."""
    if rng.random() < 0.15:
        change = rng.choice(OF_BYTES)
        return _words(change), change(data, rng)
    of_lines = rng.choice(OF_LINES)
    lines = of_lines([json.loads(line) for line in data.splitlines()], rng)
    return _words(of_lines), "".join(json.dumps(line) + "\n" for line in lines).encode()


def _words(mutation: Callable[..., Any]) -> str:
    """What a mutation does, in words."""
    text = mutation.__doc__ or ""
    return text[0].lower() + text[1:].removesuffix(".")


# --- the law --------------------------------------------------------------------------------------------


def fault(folder: Path, consumers: Sequence[str]) -> str | None:
    """What is wrong with how a run is read and shown; None if nothing is."""
    began = time.monotonic()
    try:
        run = load_run(folder)
    except LogError as error:
        refused = str(error)
        log = folder / "diagnostics-rank0.jsonl"
        if not refused.startswith((f"{log}:", f"{folder}:")) or len(refused) > len(str(log)) + 600:
            return f"refused without its place, or at length: {refused[:200]}"
    except Exception as error:
        return f"load_run: {type(error).__name__}: {error}"[:300]
    else:
        refused = ""
    for consumer in consumers:
        if consumer == "tables":
            try:
                _ = refused or [run.stats, run.stats_long, run.evals, run.histograms, run.treatments]
            except Exception as error:
                return f"tables: {type(error).__name__}: {error}"[:300]
        elif wrong := _command(folder, consumer, refused):
            return f"{consumer}: {wrong}"
    return None if time.monotonic() - began < PATIENCE else "took too long"


def _command(folder: Path, consumer: str, refused: str) -> str | None:
    arguments = ["report", str(folder), "--format", consumer, "-o", str(folder / "out")]
    if consumer == "tensorboard":
        arguments = ["tensorboard", str(folder), "--logdir", str(folder / "tb")]
    said = io.StringIO()
    with redirect_stderr(said), redirect_stdout(io.StringIO()):
        code = main(arguments)
    told = said.getvalue()
    if "this is a bug" in told or "Traceback" in told:
        return told[:300]
    if refused and (code != 2 or " ".join(refused.split())[:80] not in " ".join(told.split())):
        return f"refused, but exit {code}: {told[:200]}"
    return None


def trials(
    count: int, seed: int = 0, *, consumers: int = len(CONSUMERS), log: bytes | None = None
) -> list[Tried]:
    """Try mutations of a real log.

    Args:
        count: How many.
        seed: Of the choice.
        consumers: How many of `CONSUMERS` each mutation goes through, in turn.
        log: The log; one is recorded by default.

    Returns:
        The trials of each kind of mutation.
    """
    kinds: dict[str, Tried] = {}
    with tempfile.TemporaryDirectory() as place, warnings.catch_warnings():
        if log is None:
            log = record(Path(place) / "real")
        warnings.simplefilter("error")
        folder = Path(place) / "run"
        folder.mkdir()
        for trial in range(count):
            rng = random.Random(f"{seed} {trial}")
            kind, data = mutated(log, rng)
            (folder / "diagnostics-rank0.jsonl").write_bytes(data)
            turn = [CONSUMERS[(trial + i) % len(CONSUMERS)] for i in range(consumers)]
            wrong = fault(folder, turn)
            result = kinds.setdefault(kind, Tried(f"a log in which {kind}"))
            result.add([] if wrong is None else [wrong], f"{seed} {trial}")
    return list(kinds.values())
