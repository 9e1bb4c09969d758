"""The two text formats of scrapers, and the choice between them.

OpenMetrics 1.0 (https://prometheus.io/docs/specs/om/open_metrics_spec/) for those whose
Accept names it, else Prometheus' text format 0.0.4. They differ in what TYPE and HELP call a
counter (with `_total` in the older) and an info (a gauge in the older), in UNIT, and in the
last line.
"""

from __future__ import annotations

from .families import COUNTER, FAMILIES, HISTOGRAM, INFO

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .counters import Histogram
    from .families import Family

OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
PLAIN = "text/plain; version=0.0.4; charset=utf-8"

_VERSIONS = ("", "1.0.0", "0.0.1")


def wants_openmetrics(accept: str) -> bool:
    """Whether OpenMetrics is to be sent for this Accept field (RFC 9110 §12.5.1).

    It wins over the older format unless that has a greater weight.
    """
    weights = {"openmetrics": -1.0, "plain": -1.0}
    for part in accept.split(","):
        kind, *parameters = (word.strip().lower() for word in part.split(";"))
        values = dict.fromkeys(("q", "version"), "")
        for parameter in parameters:
            name, _, value = parameter.partition("=")
            if name.strip() in values:
                values[name.strip()] = value.strip().strip('"')
        weight = _weight(values["q"])
        if kind == "application/openmetrics-text" and values["version"] in _VERSIONS:
            weights["openmetrics"] = max(weights["openmetrics"], weight)
        elif kind == "text/plain":
            weights["plain"] = max(weights["plain"], weight)
    return weights["openmetrics"] > 0 and weights["openmetrics"] >= weights["plain"]


def _weight(text: str) -> float:
    try:
        return float(text) if text else 1.0
    except ValueError:
        return 0.0


_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


def labels(**values: object) -> str:
    """`{app="web",instance="0"}`, and nothing for none."""
    if not values:
        return ""
    inside = ",".join(f'{name}="{_escaped(str(value))}"' for name, value in values.items())
    return "{" + inside + "}"


def _escaped(value: str) -> str:
    # Bytes that are not UTF-8 come as lone surrogates, which no scraper would take.
    return value.translate(_ESCAPES).encode("utf-8", "replace").decode()


class Page:
    """Samples, kept by family, for both formats. Raises KeyError for an unknown family."""

    def __init__(self) -> None:
        self._lines: dict[str, list[str]] = {}
        self._samples = {family.name: family.sample for family in FAMILIES}

    def add(self, name: str, value: float, labelled: str = "") -> None:
        """One sample; `labelled` is what `labels` made."""
        sample = self._samples[name]
        self._lines.setdefault(name, []).append(f"{sample}{labelled} {value}\n")

    def histogram(self, name: str, histogram: Histogram, **labelled: object) -> None:
        """All samples of one histogram."""
        lines = self._lines.setdefault(name, [])
        count = 0
        bounds = (*(str(bound) for bound in histogram.bounds), "+Inf")
        for bound, fell in zip(bounds, histogram.counts, strict=True):
            count += fell
            lines.append(f"{name}_bucket{labels(**labelled, le=bound)} {count}\n")
        lines.append(f"{name}_count{labels(**labelled)} {count}\n")
        lines.append(f"{name}_sum{labels(**labelled)} {histogram.total}\n")

    def render(self, *, openmetrics: bool) -> bytes:
        """The whole page; a family without samples is left out."""
        parts: list[str] = []
        for family in FAMILIES:
            lines = self._lines.get(family.name)
            if lines:
                parts.append(_head(family, openmetrics=openmetrics))
                parts += lines
        if openmetrics:
            parts.append("# EOF\n")
        return "".join(parts).encode()


def _head(family: Family, *, openmetrics: bool) -> str:
    if openmetrics:
        unit = f"# UNIT {family.name} {family.unit}\n" if family.unit else ""
        return f"# TYPE {family.name} {family.kind}\n{unit}# HELP {family.name} {_help(family)}\n"
    kind = family.kind if family.kind in (COUNTER, HISTOGRAM) else "gauge"
    name = family.sample if family.kind in (COUNTER, INFO) else family.name
    return f"# HELP {name} {_help(family)}\n# TYPE {name} {kind}\n"


def _help(family: Family) -> str:
    return family.help.replace("\\", r"\\").replace("\n", r"\n")
