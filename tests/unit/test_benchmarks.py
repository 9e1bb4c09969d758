"""The benchmark table: its arithmetic, and that the documents show the published run."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET

import pytest

from benchmarks import plot, publish
from benchmarks.table import Bar, Figure, Row, as_json, as_markdown, as_text, from_json


def row(ours: list[float], theirs: list[float], bar: Bar) -> Row:
    figures = {"pyinit": Figure("pyinit", ours, "ms"), "tini": Figure("tini", theirs, "ms")}
    return Row("start", "Start", figures, [bar], "How.")


def test_a_ratio_is_that_of_the_medians() -> None:
    [verdict] = row([2, 3, 100], [2, 2, 2], Bar("pyinit", 1.5, "tini")).verdicts()
    assert verdict.value == 1.5
    assert verdict.met


def test_a_bar_that_single_rounds_contradict_is_unsure() -> None:
    rounds = [1.0, 1.1, 1.2, 1.3, 1.4, 2.1]
    [verdict] = row(rounds, [1.0] * 6, Bar("pyinit", 1.5, "tini")).verdicts()
    assert verdict.met
    assert not verdict.unsure  # one round of six
    rounds = [1.0, 1.1, 1.2, 1.3, 2.0, 2.1, 2.2, 1.4, 2.3]
    [verdict] = row(rounds, [1.0] * 9, Bar("pyinit", 1.5, "tini")).verdicts()
    assert verdict.unsure


def test_a_lower_bound_is_missed_from_below() -> None:
    [verdict] = row([400_000], [1], Bar("pyinit", 500_000, at_least=True)).verdicts()
    assert not verdict.met


def test_a_difference_that_counts_as_none_meets_the_bar():
    [verdict] = row([6, 6, 6], [2, 2, 2], Bar("pyinit", 1.2, "tini", equal=5)).verdicts()
    assert verdict.met
    assert verdict.value == 3
    [verdict] = row([9, 9, 9], [2, 2, 2], Bar("pyinit", 1.2, "tini", equal=5)).verdicts()
    assert not verdict.met


def test_what_did_not_run_meets_no_bar_and_is_named() -> None:
    missing = row([1.0], [1.0], Bar("pyinit", 1.5, "tini"))
    missing.figures["tini"] = Figure("tini", [], "ms", missing="not installed")
    [verdict] = missing.verdicts()
    assert not verdict.met
    assert "could not run: not installed" in as_text(missing)
    assert "could not run: not installed" in as_markdown(missing)


def test_a_row_survives_the_file() -> None:
    before = row([1.0, 2.0], [1.0, 1.5], Bar("pyinit", 1.5, "tini"))
    assert from_json(json.loads(json.dumps(as_json(before)))) == before


def test_the_plot_is_xml_and_names_every_contestant() -> None:
    key = plot.PANELS[0][0]
    drawn = row([1.0, 2.0], [30.0, 31.0], Bar("pyinit", 1.5, "tini"))
    drawn.key = key
    text = "".join(ET.fromstring(plot.draw([drawn])).itertext())
    assert "pyinit" in text
    assert "tini" in text


@pytest.mark.skipif(not publish.RESULTS.exists(), reason="no run is published")
def test_the_documents_show_the_published_run() -> None:
    content = json.loads(publish.RESULTS.read_text(encoding="utf-8"))
    assert publish.page(content) in publish.PAGE.read_text(encoding="utf-8")
    assert publish.short_table(content) in publish.README.read_text(encoding="utf-8")
    rows = [from_json(each) for each in content["rows"]]
    assert publish.PLOT.read_text(encoding="utf-8") == plot.draw(rows)
