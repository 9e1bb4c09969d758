"""The page of metrics as the field's own parsers read it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families as parse_plain

from entrypoint.metrics.counters import Histogram
from entrypoint.metrics.families import COUNTER, FAMILIES, HISTOGRAM, INFO
from entrypoint.metrics.text import Page, labels, wants_openmetrics

# What Prometheus 2.42 and 3 send.
PROMETHEUS_2 = (
    "application/openmetrics-text;version=1.0.0,"
    "application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,"
    "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)


@pytest.mark.parametrize(
    ("accept", "openmetrics"),
    [
        ("", False),
        ("*/*", False),
        ("text/plain", False),
        ("text/html,application/xhtml+xml,*/*;q=0.8", False),
        (PROMETHEUS_2, True),
        (PROMETHEUS_3, True),
        ("application/openmetrics-text", True),
        ('Application/OpenMetrics-Text; version="1.0.0"; charset=utf-8', True),
        ("application/openmetrics-text;version=2.0.0", False),
        ("application/openmetrics-text;q=0", False),
        ("application/openmetrics-text;q=0.2,text/plain;q=0.8", False),
        ("application/openmetrics-text;q=nonsense", False),
        (";;;,,,=;q==", False),
    ],
)
def test_the_format_is_the_one_asked_for(accept, openmetrics):
    assert wants_openmetrics(accept) is openmetrics


def full_page(value: str = "web") -> Page:
    """A sample of every family."""
    page = Page()
    for family in FAMILIES:
        named = dict.fromkeys(family.labels, value)
        if family.kind == HISTOGRAM:
            histogram = Histogram((0.1, 1.0))
            for seconds in (0.05, 0.1, 0.5, 7.0):
                histogram.observe(seconds)
            page.histogram(family.name, histogram, **named)
        else:
            page.add(family.name, 1, labels(**named))
    return page


def test_openmetrics_is_accepted_by_the_strict_parser():
    rendered = full_page().render(openmetrics=True).decode()
    families = {family.name: family for family in parse_openmetrics(rendered)}
    assert list(families) == [family.name for family in FAMILIES]
    for family in FAMILIES:
        parsed = families[family.name]
        assert (parsed.type, parsed.unit) == (family.kind, family.unit)
        assert parsed.documentation == family.help
        for sample in parsed.samples:
            assert set(sample.labels) - {"le"} == set(family.labels)


def test_the_older_format_is_accepted_by_its_parser():
    rendered = full_page().render(openmetrics=False).decode()
    assert "# EOF" not in rendered
    assert "# UNIT" not in rendered
    samples = {sample.name for family in parse_plain(rendered) for sample in family.samples}
    for family in FAMILIES:
        assert (family.name + "_count" if family.kind == HISTOGRAM else family.sample) in samples
    types = {family.name: family.type for family in parse_plain(rendered)}
    for family in FAMILIES:
        older = {INFO: "gauge"}.get(family.kind, family.kind)
        name = family.sample if family.kind == INFO else family.name
        assert types[name] == older


@given(st.text())
def test_a_label_may_hold_anything(value):
    rendered = full_page(value).render(openmetrics=True).decode()
    seen = value.encode("utf-8", "replace").decode()
    for family in parse_openmetrics(rendered):
        for sample in family.samples:
            for name, held in sample.labels.items():
                assert name == "le" or held == seen


def test_a_histogram_is_cumulative():
    rendered = full_page().render(openmetrics=True).decode()
    [family] = [f for f in parse_openmetrics(rendered) if f.name == "pyinit_loop_turn_seconds"]
    buckets = [s.value for s in family.samples if s.name.endswith("_bucket")]
    assert buckets == [2, 3, 4]
    assert {s.name.rpartition("_")[2]: s.value for s in family.samples}["sum"] == pytest.approx(
        7.65
    )


def test_a_family_without_samples_is_left_out_and_an_unknown_one_is_an_error():
    page = Page()
    assert page.render(openmetrics=True) == b"# EOF\n"
    assert page.render(openmetrics=False) == b""
    with pytest.raises(KeyError):
        page.add("pyinit_nonsense", 1)


def test_names_follow_the_rules():
    for family in FAMILIES:
        assert family.name.startswith(("pyinit_", "process_"))
        assert not family.name.endswith(("_total", "_info", "_bucket", "_count", "_sum"))
        assert family.help.endswith(".")
        # Prometheus gives these to the scraped target.
        assert not {"instance", "job", "pid", "le"} & set(family.labels)
        assert family.kind != COUNTER or "_max_" not in family.name
