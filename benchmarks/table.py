"""What was measured: figures, bars, rows; as text, as Markdown, as JSON."""

from __future__ import annotations

import statistics
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class Figure:
    """The samples of one contestant; `missing` says why there are none."""

    name: str
    samples: list[float]
    unit: str
    missing: str = ""

    @property
    def median(self) -> float:
        return statistics.median(self.samples)

    @property
    def spread(self) -> tuple[float, float]:
        """The least and the greatest sample."""
        return min(self.samples), max(self.samples)


@dataclass
class Bar:
    """`ours` is to be at most `limit` (at least, where it says so) times `against`.

    Without `against` the limit is one of ours alone, in the unit of the figure. `equal`: a
    difference up to this, in that unit, is none.
    """

    ours: str
    limit: float
    against: str = ""
    at_least: bool = False
    equal: float = 0.0


@dataclass
class Verdict:
    """How a bar was met. `unsure`: single rounds of this run say the opposite."""

    bar: Bar
    value: float
    met: bool
    unsure: bool

    @property
    def word(self) -> str:
        return ("met" if self.met else "MISSED") + (", within the noise" if self.unsure else "")

    def text(self, unit: str) -> str:
        sign = "≥" if self.bar.at_least else "≤"
        if self.bar.against:
            return (
                f"{self.bar.ours} {sign} {self.bar.limit:g} × {self.bar.against}: "
                f"{number(self.value)} ×, {self.word}"
            )
        return (
            f"{self.bar.ours} {sign} {number(self.bar.limit)} {unit}: "
            f"{number(self.value)}, {self.word}"
        )


@dataclass
class Row:
    """One measurement of several contestants.

    `key` names it in the file and in links, `how` tells in a sentence or two what is
    done, `notes` what must be known to read it.
    """

    key: str
    title: str
    figures: dict[str, Figure]
    bars: list[Bar] = field(default_factory=list)
    how: str = ""
    notes: list[str] = field(default_factory=list)

    @property
    def measured(self) -> dict[str, Figure]:
        return {name: figure for name, figure in self.figures.items() if figure.samples}

    def verdicts(self) -> list[Verdict]:
        return [self._verdict(bar) for bar in self.bars]

    def _verdict(self, bar: Bar) -> Verdict:
        measured = self.measured
        if bar.ours not in measured or (bar.against and bar.against not in measured):
            return Verdict(bar, float("nan"), met=False, unsure=False)
        ours = measured[bar.ours]
        if not bar.against:
            value, single = ours.median, [(each, each) for each in ours.samples]
            gap = value
        else:
            other = measured[bar.against]
            value = ours.median / other.median if other.median else float("inf")
            gap = ours.median - other.median
            pairs = zip(ours.samples, other.samples, strict=False)
            single = [(a / b, a - b) for a, b in pairs if b]

        def meets(ratio: float, gap: float) -> bool:
            if abs(gap) <= bar.equal:
                return True
            return ratio >= bar.limit if bar.at_least else ratio <= bar.limit

        met = meets(value, gap)
        against_it = sum(meets(*each) != met for each in single)
        return Verdict(bar, value, met=met, unsure=against_it * 4 >= max(4, len(single)))


def number(value: float) -> str:
    """Three digits that count, and no more."""
    if value != value:  # noqa: PLR0124  NaN
        return "–"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    if abs(value) >= 10:
        return f"{value:.1f}".removesuffix(".0")
    return f"{value:.2f}".removesuffix(".00")


def as_text(row: Row) -> str:
    """For the terminal."""
    out = [f"\n{row.title}"]
    width = max((len(name) for name in row.figures), default=0)
    for name, figure in row.figures.items():
        if figure.missing:
            out.append(f"   {name:<{width}}  could not run: {figure.missing}")
            continue
        if not figure.samples:
            continue
        low, high = figure.spread
        spread = f"({number(low)} to {number(high)})" if len(figure.samples) > 1 else ""
        out.append(f"   {name:<{width}}  {number(figure.median):>9} {figure.unit:<9} {spread}")
    out += [f"   bar: {v.text(row.figures[v.bar.ours].unit)}" for v in row.verdicts()]
    out += [f"   {note}" for note in row.notes]
    return "\n".join(out)


def as_markdown(row: Row) -> str:
    """For the page: a heading, what is done, a table, the bars."""
    out = [f"### {row.title}", "", row.how, ""] if row.how else [f"### {row.title}", ""]
    references = list(dict.fromkeys(bar.against for bar in row.bars if bar.against))
    references = [name for name in references if name in row.measured][:1]
    out.append("| | median | from … to | " + "".join(f"× {name} | " for name in references))
    out.append("|---|--:|--:|" + "--:|" * len(references))
    for name, figure in row.figures.items():
        if figure.missing:
            out.append(f"| {name} | – | could not run: {figure.missing} |" + " |" * len(references))
            continue
        if not figure.samples:
            continue
        low, high = figure.spread
        spread = f"{number(low)} … {number(high)}" if len(figure.samples) > 1 else ""
        cells = [name, f"{number(figure.median)} {figure.unit}", spread]
        for reference in references:
            unit = row.figures[reference].median
            cells.append(number(figure.median / unit) if unit else "")
        out.append("| " + " | ".join(cells) + " |")
    out.append("")
    for verdict in row.verdicts():
        mark = "" if verdict.met else "**"
        text = verdict.text(row.figures[verdict.bar.ours].unit)
        out.append(f"- {mark}{text}{mark}")
    out += [f"- {note}" for note in row.notes]
    return "\n".join(out).rstrip() + "\n"


def as_json(row: Row) -> dict[str, object]:
    """What `from_json` reads; the verdicts are for other readers."""
    record = asdict(row)
    record["verdicts"] = [
        {"bar": v.text(row.figures[v.bar.ours].unit), "value": _finite(v.value), "met": v.met}
        for v in row.verdicts()
    ]
    return record


def _finite(value: float) -> float | None:
    return value if abs(value) < float("inf") else None


def from_json(record: dict[str, Any]) -> Row:
    figures = {name: Figure(**each) for name, each in record["figures"].items()}
    bars = [Bar(**each) for each in record["bars"]]
    return Row(record["key"], record["title"], figures, bars, record["how"], list(record["notes"]))
