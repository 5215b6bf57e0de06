"""The figures of docs/kernels.md (`python -m benchmarks.charts`) and docs/benchmarks.md, as plain SVG."""

import math
from collections.abc import Iterable
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"
COLOURS = {"ours": "#0072b2", "imbalanced-losses": "#d55e00", "torch.sort": "#777777"}
PAIRS = ("#0072b2", "#d55e00", "#009e73", "#777777")
STYLE = (
    "text{font:13px sans-serif;fill:#333}.s{font-size:11px}.h{font-weight:bold;font-size:14px}"
    "@media(prefers-color-scheme:dark){text{fill:#ccc}}"
)


def svg(width: int, height: int, parts: Iterable[str], title: str) -> str:
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">\n'
        f"<title>{title}</title>\n<style>{STYLE}</style>\n{body}\n</svg>\n"
    )


def line(points: Iterable[tuple[float, float]], colour: str, width: float = 2, extra: str = "") -> str:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width}" {extra}/>'


def text(x: float, y: float, words: str, anchor: str = "start", kind: str = "", colour: str = "") -> str:
    paint = f' style="fill:{colour}"' if colour else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{kind}"{paint}>{words}</text>'


def scaling_chart(curves: dict[str, list[tuple[float, float]]]) -> None:
    """Time against rows, both logarithmic."""
    left, right, top, bottom = 70, 600, 20, 340
    every = [point for curve in curves.values() for point in curve]
    x0, x1 = (math.log10(f(p[0] for p in every)) for f in (min, max))
    y0 = math.floor(math.log10(min(p[1] for p in every)))
    y1 = math.ceil(math.log10(max(p[1] for p in every)))

    def place(rows: float, seconds: float) -> tuple[float, float]:
        x = left + (math.log10(rows) - x0) / (x1 - x0) * (right - left)
        return x, bottom - (math.log10(seconds) - y0) / (y1 - y0) * (bottom - top)

    parts = []
    names = {-6: "1 µs", -5: "10 µs", -4: "0.1 ms", -3: "1 ms", -2: "10 ms", -1: "0.1 s", 0: "1 s", 1: "10 s"}
    for power in range(y0, y1 + 1):
        y = place(10**x0, 10.0**power)[1]
        parts += [line([(left, y), (right, y)], "#8884", 1), text(left - 8, y + 4, names[power], "end", "s")]
    for power in range(math.ceil(x0), math.floor(x1) + 1):
        x = place(10.0**power, 10.0**y0)[0]
        parts += [
            line([(x, top), (x, bottom)], "#8884", 1),
            text(x, bottom + 18, f"{10**power:,}", "middle", "s"),
        ]
    parts.append(text((left + right) / 2, bottom + 40, "rows of the pool (5 % positive)", "middle"))
    for name, curve in curves.items():
        places = [place(*point) for point in curve]
        dash = 'stroke-dasharray="5 4"' if name == "torch.sort" else ""
        if places:
            parts.append(line(places, COLOURS[name], 2.5, dash))
            parts.append(text(places[-1][0] + 6, places[-1][1] + 4, name, "start", "", COLOURS[name]))
    title = "Time of a training step against the rows of the pool"
    (DOCS / "benchmarks.svg").write_text(svg(740, 390, parts, title), encoding="utf-8")


def curve_chart(
    file: str, curves: dict[str, list[tuple[float, float]]], title: str, across: str, up: str
) -> None:
    """Curves over a linear axis from 0, each with its name at its end; of a pair the first is dashed."""
    left, right, top, bottom = 60, 520, 20, 320
    x1 = max(point[0] for curve in curves.values() for point in curve)
    y1 = math.ceil(20 * max(point[1] for curve in curves.values() for point in curve)) / 20

    def place(x: float, y: float) -> tuple[float, float]:
        return left + x / x1 * (right - left), bottom - y / y1 * (bottom - top)

    parts = [text((left + right) / 2, bottom + 40, across, "middle"), text(left, top - 6, up)]
    for tick in range(round(20 * y1) + 1):
        y = place(0, tick / 20)[1]
        parts += [
            line([(left, y), (right, y)], "#8884", 1),
            text(left - 8, y + 4, f"{tick / 20:.2f}", "end", "s"),
        ]
    for tick in range(0, math.floor(x1) + 1, max(1, round(x1 / 6))):
        parts.append(text(place(tick, 0)[0], bottom + 18, f"{tick}", "middle", "s"))
    lowest = -math.inf
    # From the top down, so that a label can make room for the one above it.
    for index, (name, curve) in sorted(enumerate(curves.items()), key=lambda item: -item[1][1][-1][1]):
        colour, dash = PAIRS[index // 2], 'stroke-dasharray="5 4"' if index % 2 == 0 else ""
        places = [place(*point) for point in curve]
        lowest = max(places[-1][1] + 4, lowest + 16)
        parts += [line(places, colour, 2.5, dash), text(right + 8, lowest, name, "start", "", colour)]
    (DOCS / file).write_text(svg(830, 370, parts, title), encoding="utf-8")


def kernel_figure() -> None:
    """The four steps of the grid sum on a small example."""
    scores = [0.11, 0.16, 0.2, 0.235, 0.3, 0.33, 0.36, 0.42, 0.47, 0.62, 0.66, 0.8]
    positives = [0.33, 0.62, 0.8]
    cells, tau, left, width = 20, 0.06, 40, 620

    def at(s: float) -> float:
        return left + s * width

    def above(s: float) -> float:
        return sum(1 / (1 + math.exp((s - other) / tau)) for other in scores if other not in positives)

    parts = [text(left, 24, "1  Scores of a pool: negatives ○, positives ●", kind="h")]
    parts.append(line([(left, 58), (left + width, 58)], "#888", 1))
    for s in scores:
        fill = "#d55e00" if s in positives else "none"
        colour = "#d55e00" if s in positives else "#0072b2"
        parts.append(
            f'<circle cx="{at(s):.1f}" cy="58" r="6" fill="{fill}" stroke="{colour}" stroke-width="2"/>'
        )
    parts.append(text(left, 100, "2  Each negative's mass goes to the grid nodes around it", kind="h"))
    base = 180
    parts.append(line([(left, base), (left + width, base)], "#888", 1))
    for node in range(cells + 1):
        spot = node / cells
        mass = sum(max(0.0, 1 - abs(s - spot) * cells) for s in scores if s not in positives)
        parts.append(line([(at(spot), base), (at(spot), base + 5)], "#888", 1))
        if mass:
            parts.append(
                f'<rect x="{at(spot) - 9:.1f}" y="{base - 36 * mass:.1f}" width="18" '
                f'height="{36 * mass:.1f}" fill="#0072b2" opacity="0.55"/>'
            )
    parts.append(
        text(
            left,
            222,
            "3  Convolved with σ(·/τ) by FFT: negatives above a score, at every node at once",
            kind="h",
        )
    )
    base = 360

    def high(value: float) -> float:
        return base - 12 * value

    parts.append(line([(left, base), (left + width, base)], "#888", 1))
    parts.append(line([(at(k / 200), high(above(k / 200))) for k in range(201)], "#0072b2", 2))
    for node in range(cells + 1):
        spot = node / cells
        parts.append(f'<circle cx="{at(spot):.1f}" cy="{high(above(spot)):.1f}" r="3" fill="#0072b2"/>')
    parts.append(text(left - 6, high(9) + 4, "9", "end", "s"))
    parts.append(text(left - 6, base + 4, "0", "end", "s"))
    for s in positives:
        parts.append(line([(at(s), base), (at(s), high(above(s)))], "#d55e00", 1.5, 'stroke-dasharray="4 3"'))
        parts.append(f'<circle cx="{at(s):.1f}" cy="{high(above(s)):.1f}" r="5" fill="#d55e00"/>')
        label = f"{above(s):.2f}"
        parts.append(text(at(s) + 9, high(above(s)) - 6, label, colour="#d55e00"))
    parts.append(
        text(left, 392, "4  Interpolated at the positives (●): how many negatives rank above each", kind="h")
    )
    title = "Ranks of all positives from one convolution"
    (DOCS / "kernels.svg").write_text(svg(700, 405, parts, title), encoding="utf-8")


if __name__ == "__main__":
    kernel_figure()
