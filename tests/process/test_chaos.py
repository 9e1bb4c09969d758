"""A short run of `make chaos`, and proof that its oracle sees what it is there to see."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

from tests.chaos.load import Lost
from tests.chaos.logbook import LogBook
from tests.chaos.oracle import Level, Oracle
from tests.support.namespace import ROOT

pytestmark = pytest.mark.process


@pytest.mark.slow
def test_everything_that_may_go_wrong_once():
    command = [sys.executable, "-m", "tests.chaos", "--smoke", "--seed=11"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "chaos: seed 11: 0 failures" in done.stdout
    done_once = set(re.findall(r"^did: (\w.*?) +1$", done.stdout, re.MULTILINE))
    assert len(done_once) + done.stdout.count("LIMIT: no control group") == 20, done_once
    # The flight recorder of the run comes to the same effects, in a process of its own.
    (replayed,) = re.findall(r"(\d+) events of pyinit .*, 0 decided otherwise", done.stdout)
    assert int(replayed) > 100


def line(**fields) -> bytes:
    return json.dumps({"timestamp": "t", "app": "talker", "stream": "stdout", **fields}).encode()


@pytest.mark.parametrize(
    ("texts", "failure"),
    [
        (["T a 1 1 x", "T a 2 0 "], ""),
        (["T a 1 1 x", "T b 1 1 x", "T a 2 0 ", "T b 2 9 x"], ""),  # b was killed in a line
        (["T a 1 1 x", "T a 3 1 x"], "line 3 after line 1"),
        (["T a 1 1 x", "T a 1 1 x"], "line 1 after line 1"),
        (["T a 1 9 x", "T a 2 1 x"], "after one that was cut"),
    ],
)
def test_lines_that_are_lost_doubled_or_cut_are_found(tmp_path, texts, failure):
    book = LogBook(tmp_path)
    for text in texts:
        book.take(line(event=text))
    assert failure in "".join(book.failures)
    assert bool(failure) == bool(book.failures)


def test_a_line_in_parts_is_one(tmp_path):
    book = LogBook(tmp_path)
    for text, more in (("T a 1 4 x", {"partial": True}), ("xx", {"partial": True}), ("x", {})):
        book.take(line(event=text, pid=3, **more))
    assert not book.failures
    assert book.last == {"a": 1}


def test_lines_that_never_came_are_found(tmp_path):
    book = LogBook(tmp_path)
    book.take(line(event="T a 1 1 x"))
    (tmp_path / "talked-a").write_text("000000000002")
    assert book.missing(tmp_path) == ["a: 1 lines of 2"]


def oracle(tmp_path, monkeypatch, **fakes) -> Oracle:
    class Scene:
        folder = tmp_path
        web_port = 1

    class Harness:
        def __getattr__(self, name):
            return lambda *_: fakes[name]

    monkeypatch.setattr(Oracle, "_listeners", lambda _self: fakes.get("listeners", {}))
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    return Oracle(Harness(), Scene(), LogBook(tmp_path))


def shown(app="job", **row) -> dict:
    usual = {"instance": 0, "incarnation": 7, "pid": 5, "status": "online", "ready": True}
    return {"phase": "running", "apps": [{"name": app, "workers": [{**usual, **row}]}]}


@pytest.mark.parametrize(
    ("shows", "processes", "listeners", "failure"),
    [
        (shown(), {5: ["S", "1"]}, {}, ""),
        (shown("web"), {5: ["S", "1"]}, {5: {9}}, ""),
        (shown(), {}, {}, "the process is gone"),
        (shown(), {5: ["Z", "1"]}, {}, "a zombie"),
        (shown(), {5: ["S", "4"]}, {}, "no child of PID 1"),
        (shown(status="stopped"), {5: ["S", "1"]}, {}, "it has a process"),
        (shown("web"), {5: ["S", "1"]}, {}, "holds no listener"),
    ],
)
def test_what_is_shown_and_not_so_is_found(
    tmp_path, monkeypatch, shows, processes, listeners, failure
):
    judge = oracle(tmp_path, monkeypatch, shown=shows, processes=processes, listeners=listeners)
    judge.compare()
    assert failure in "".join(judge.failures)
    assert bool(failure) == bool(judge.failures)


def test_what_is_not_back_where_it_was_is_found(tmp_path, monkeypatch):
    judge = oracle(tmp_path, monkeypatch)
    judge.back(Level(10, 5, 1_000_000), Level(10, 5, 2_000_000))
    assert not judge.failures
    judge.back(Level(10, 5, 1_000_000), Level(11, 6, 20_000_000))
    assert len(judge.failures) == 3


def test_a_lost_request_needs_a_killed_worker_that_had_accepted_it(tmp_path, monkeypatch):
    judge = oracle(tmp_path, monkeypatch)
    (tmp_path / "accepted-5").write_text("1000 10.5\n")
    lost = Lost(1, 1000, 10.0, 11.0, "reset")
    assert judge.judge_lost([lost], {5: [10.9]})["in killed workers"] == 1
    assert not judge.failures
    assert judge.judge_lost([lost], {6: [10.9]})["unexplained"] == 1
    assert judge.judge_lost([lost.replace(local=1001)], {})["unexplained"] == 1
    assert len(judge.failures) == 2
