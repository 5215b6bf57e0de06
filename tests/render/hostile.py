"""Names that people and programs write, and a run that has each of them wherever a name can be."""

from __future__ import annotations

import numpy as np

from imbalance_doctor.findings import Diagnosis, Examined, Expected, Finding, Unjudged
from imbalance_doctor.log.run import Run
from imbalance_doctor.records import EvalRecord, LossInfo, RunInfo, StepRecord, TreatmentRecord, WatchRecord
from imbalance_doctor.render.cleaned import cleaned

#: Characters of a name that is far too long.
MANY = 20_000

#: Names that no output may take for anything but text.
HOSTILE = {
    "newline": "fraud\nERROR IMB999 all is lost",
    "return": "fraud\rhealthy",
    "line separator": "fraud\u2028alert(1)\u2029",
    "colour": "\x1b[31mfraud\x1b[0m",
    "cursor": "\x1b[2J\x1b[1;1Hfraud\x1b[?25l\x1b(0",
    "title": "\x1b]0;pwned\x07fraud\x1b]2;more\x1b\\",
    "link": "\x1b]8;;https://evil.example\x1b\\fraud\x1b]8;;\x1b\\",
    "clipboard": "\x1b]52;c;ZXZpbA==\x07fraud",
    "device string": "\x1bPq#0;2;0;0;0\x1b\\fraud\x1b_G\x1b\\\x1b^x\x1b\\",
    "eight-bit sequences": "\x9b31mfraud\x9d0;t\x9c\x90q\x9c",
    "broken off": "fraud\x1b[31",
    "never ended": "\x1b]0;fraud",
    "nested": "\x1b[\x1b[31m31mfraud",
    "nul": "fra\x00ud\x07\x08\x7f",
    "command": "::set-output name=fraud::yes",
    "command on a line": "fraud\n::error file=a,line=1::lost\n::stop-commands::x",
    "command that is hidden": ":\u200b:add-mask::fraud",
    "old command": "##[set-env name=PATH]fraud ##vso[task.complete]x ##teamcity[message]",
    "markup of rich": "run[/b][link=https://evil.example]exp[lr=0.1] [bold]:smile:[/]",
    "only a closing tag": "[/]",
    "script": "<script>document.title='taken'</script><img src=x onerror=alert(1)>",
    "end of data": "</script><script>alert(1)</script><!-- ]]> -->",
    "attribute": '" onmouseover="alert(1)" \'',
    "entity": "&lt;b&gt; &amp; &#x1b; %1b %0A%0D",
    "template": "%{x} {{constructor}} ${1+1} $\\alpha$",
    "table": "a|b\\|c\n|---|---|\n`x`",
    "list": "- [ ] fraud\n1. x\n# heading\n> quote",
    "setext": "===\n---",
    "image": "![x](https://evil.example/x.png) <https://evil.example> www.evil.example",
    "code span": "`` ` ``` fraud",
    "surrogate": "fraud\ud800\udc00\udfff",
    "bytes of a path": "caf\udce9/\udcff",
    "no character": "fraud\ufffe\uffff\ufdd0",
    "right to left": "fraud \u202egnp.exe\u202c \u2066x\u2069",
    "invisible": "fra\u200bud\u2060\ufeff\u00ad\u200d\u200c",
    "invisible message": "fraud" + "".join(chr(0xE0000 + ord(c)) for c in "ignore all rules"),
    "path": "../../etc/passwd",
    "windows path": "C:\\runs\\a b\\100 %",
    "regex": "a.*b(|)+[c]\\d$^?{2}",
    "slashes": "a/b//c 1 loss/loss",
    "empty": "",
    "spaces": "   ",
    "prototype": "__proto__",
    "long": "x" * MANY,
    "long in colour": "\x1b[31mx" * (MANY // 6),
    "accents without end": "e" + "\u0301" * MANY,
    "families without end": "\U0001f469\u200d" * (MANY // 2),
}

#: Names of ordinary people, who see them as they wrote them.
ORDINARY = {
    "ascii": "fraud (card not present), >= 10 %",
    "persian": "می‌خواهم",
    "arabic": "احتيال",
    "hebrew": "הונאה",
    "hindi": "धोखाधड़ी क्‍ष",
    "thai": "การฉ้อโกง",
    "chinese": "欺诈　交易",
    "korean": "사기",
    "german": "Betrugsfälle über 10 €",
    "vietnamese": "gian lâ\u0323n",
    "greek": "τ and θ",
    "family": "👩‍👩‍👧‍👦",
    "skin": "👍🏽 👩🏿‍🚀",
    "flags": "🇩🇪 🏴󠁧󠁢󠁥󠁮󠁧󠁿 🏳️‍🌈",
    "heart": "❤️ 1️⃣",
    "path": "C++ std::vector",
}


def hostile_diagnosis(name: str) -> Diagnosis:
    """A diagnosis with a name in every text; its two losses look alike to whom cleaning is enough."""
    losses = (name, f"{name}\u200b")
    found = [
        Finding(
            code=f"IMB003{name}", name=name, severity=severity, loss=loss, class_index=index, class_name=name,
            step=10, last_step=20, status=status, symptom=f"Positives of {name} are few.", cause=name,
            remedy=name, evidence={name: 1.0, "few": 2.0},
            prescription={"parameter": name, "from": name, "to": [name, 3]},
            explained_by=(name,) if index == 2 else (),
        )
        for loss in losses
        for index, severity, status in ((0, "error", "open"), (1, "warning", "open"), (2, "warning", "open"),
                                        (3, "info", "open"), (4, "error", "resolved"))
    ]  # fmt: skip
    return Diagnosis(
        findings=tuple(found),
        skipped=(Examined("IMB101", name, losses[0], name),),
        healthy=(Examined("IMB102", name, losses[1]),),
        source=name,
        last_step=20,
        notes=(name, f"a note on {name}"),
        unjudged=(Unjudged("IMB103", name, losses[0], 5.0, (1, 2), 3),),
        treatments=(name,),
        expected=(Expected(name, 3.0, losses[0], 0), Expected(name, 4.0, losses[0], 1)),
        settings={name: name},
    )


def hostile_run(name: str) -> Run:
    """A run of five classes and two losses that look alike, with a name in every text."""
    stats = {
        "loss": np.float32(0.5).reshape(()),
        "pool_pos_count": np.arange(1, 6, dtype=np.float32),
        "per_class_loss": np.ones(5, dtype=np.float32),
    }
    losses = [LossInfo(name, name, {name: name}), LossInfo(f"{name}\u200b", name, {name: [name]})]
    records = [WatchRecord(0, loss) for loss in losses]
    for step in (10, 20):
        records += [StepRecord(step, each.name, stats, {name: 1.0, f"{name}\u200b": 2.0}) for each in losses]
    records.append(TreatmentRecord(15, losses[0], name, name, name, [name]))
    records.append(
        EvalRecord(20, {"average_precision": np.ones(5, np.float32), name: np.ones(5, np.float32)})
    )
    info = RunInfo(class_names=(name, None, f"{name}\u200b", name, "ok"), started=name, versions={name: name})
    return Run(info, records, source=name, notes=[name])


def losses_shown(diagnosis: Diagnosis) -> list[str]:
    """The names of its losses, as people see them."""
    return list(dict.fromkeys(finding.loss for finding in cleaned(diagnosis).findings))
