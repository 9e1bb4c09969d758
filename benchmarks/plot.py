"""The plot: small panels of horizontal bars, as SVG, drawn by hand.

Readable on white and on black: the background is transparent, and text, lines and bars
have colours of the middle, with a contrast of more than 4 against both.
"""

from __future__ import annotations

import math
from xml.sax.saxutils import escape

from .table import Row, number

INK = "#787b80"
OURS = "#2f81d6"
THEIRS = "#8b8f96"
BAR_LIMIT = "#c9731d"
FONT = "ui-sans-serif, system-ui, 'Segoe UI', Helvetica, Arial, sans-serif"

# Key of a row, title in the plot, contestants to draw, logarithmic.
PANELS = (
    ("first-instruction", "exec → first instruction (ms)", True),
    ("first-answer-4", "exec → first answer, 4 nodes (ms)", False),
    ("rss", "memory of PID 1, 4 workers (MB RSS)", False),
    ("crash-p50", "crash → replacement (ms)", True),
    ("orphans-single-cpu", "CPU per orphan (µs)", False),
    ("signals-p50", "signal → worker's handler, p50 (µs)", False),
    ("logs-plain-1-rate", "log lines a second, 1 writer (more is better)", False),
    ("logs-plain-8-rate", "log lines a second, 8 writers (more is better)", False),
)
WIDTH, PANEL, GAP = 880, 420, 40
LINE, BAR, HEAD, LABEL = 20, 12, 30, 124


def draw(rows: list[Row]) -> str:
    """One SVG of the panels whose rows were measured."""
    known = {row.key: row for row in rows}
    chosen = [(known[key], *rest) for key, *rest in PANELS if key in known]
    chosen = [each for each in chosen if each[0].measured]
    parts: list[str] = []
    top = 44
    for at in range(0, len(chosen), 2):
        pair = chosen[at : at + 2]
        for column, (row, title, logarithmic) in enumerate(pair):
            parts += _panel(row, title, logarithmic, column * (PANEL + GAP), top)
        top += HEAD + LINE * max(len(row.measured) for row, *_ in pair) + 22
    head = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top}" width="{WIDTH}" '
            f'height="{top}" font-family="{FONT}" font-size="12" fill="{INK}" role="img">'
        ),
        "<title>pyinit beside its peers</title>",
        (
            f'<rect x="0" y="9" width="12" height="12" rx="2" fill="{OURS}"/>'
            f'<text x="18" y="19">pyinit</text>'
        ),
        (
            f'<rect x="74" y="9" width="12" height="12" rx="2" fill="{THEIRS}"/>'
            f'<text x="92" y="19">the others; less is better; whiskers: least and greatest round; '
            f"log: logarithmic scale</text>"
        ),
    ]
    return "\n".join([*head, *parts, "</svg>"]) + "\n"


def _panel(row: Row, title: str, logarithmic: bool, left: int, top: int) -> list[str]:
    figures = [f for f in row.measured.values() if f.median > 0 or not logarithmic]
    greatest = max(f.spread[1] for f in figures)
    least = min(f.spread[0] for f in figures)
    floor = 10 ** math.floor(math.log10(least)) if logarithmic and least > 0 else 0.0
    room = PANEL - LABEL - 62

    def x(value: float) -> float:
        if floor:
            share = math.log(max(value, floor) / floor) / math.log(greatest / floor)
        else:
            share = value / greatest if greatest else 0.0
        return left + LABEL + room * share

    scale = ", log" if floor else ""
    out = [
        (
            f'<text x="{left}" y="{top + 12}" font-size="13" font-weight="600">'
            f'{escape(title)}<tspan font-weight="400">{scale}</tspan></text>'
        ),
    ]
    y = top + HEAD
    for figure in figures:
        ours = figure.name.startswith("pyinit")
        low, high = figure.spread
        middle = y + LINE / 2
        weight = ' font-weight="600"' if ours else ""
        width = max(1.0, x(figure.median) - left - LABEL)
        out += [
            (
                f'<text x="{left + LABEL - 8}" y="{middle + 4}" text-anchor="end"{weight}>'
                f"{escape(figure.name)}</text>"
            ),
            (
                f'<rect x="{left + LABEL}" y="{middle - BAR / 2}" width="{width:.1f}" '
                f'height="{BAR}" rx="2" fill="{OURS if ours else THEIRS}"/>'
            ),
            (
                f'<text x="{x(high) + 6:.1f}" y="{middle + 4}"{weight}>'
                f"{escape(_short(figure.median))}</text>"
            ),
        ]
        if len(figure.samples) > 1:
            out.append(
                f'<path d="M{x(low):.1f} {middle}H{x(high):.1f}M{x(low):.1f} {middle - 3}v6'
                f'M{x(high):.1f} {middle - 3}v6" stroke="{INK}" stroke-width="1" fill="none"/>'
            )
        y += LINE
    bottom = top + HEAD + LINE * len(figures)
    out.append(
        f'<path d="M{left + LABEL} {top + HEAD - 2}V{bottom + 2}" stroke="{INK}" '
        'stroke-width="1" fill="none"/>'
    )
    return out


def _short(value: float) -> str:
    """As `number`, and 1.5 M for 1,500,000."""
    if value >= 1e6:
        return f"{number(value / 1e6)} M"
    return f"{number(value / 1e3)} k" if value >= 1e4 else number(value)
