"""A few servers of the zoo that the other tests have installed, with the zoo's own checks."""

from __future__ import annotations

import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.zoo import table
from tests.zoo.catalog import SERVERS
from tests.zoo.trial import ROOT, Home, Trial

pytestmark = [pytest.mark.process, pytest.mark.servers, pytest.mark.node]

ROWS = (
    ("gunicorn sync", "tcp", "gunicorn"),
    ("uvicorn", "unix", "uvicorn"),
    ("node http", "undeclared", "node"),
    ("nginx", "tcp", "nginx"),
)
BIN = Path(sys.executable).parent
HOME = Home(ROOT / "tests/zoo/programs", venv=BIN, boot=0.2)


def tried(row: tuple[str, str, str]) -> tuple[dict[str, str], str]:
    """What its checks saw, and the log where one of them failed."""
    name, kind, _ = row
    server = next(each for each in SERVERS if each.name == name)
    with Trial(server, kind, HOME) as trial:
        checks = trial.checks()
        return checks, trial.text() if any(checks.values()) else ""


def test_each_server_works():
    """At once, for each of them mostly waits."""
    path = f"{BIN}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
    rows = [row for row in ROWS if shutil.which(row[2], path=path)]
    assert len(rows) >= 3
    with ThreadPoolExecutor(len(rows)) as pool:
        found = dict(zip(rows, pool.map(tried, rows), strict=True))
    wrong = {row[:2]: checks for row, (checks, _) in found.items() if any(checks.values())}
    logs = "\n".join(log[-20_000:] for _, log in found.values() if log)
    assert not wrong, f"{wrong}\n{logs}"
    assert all(set(checks) == set(table.CHECKS) for checks, _ in found.values())


@pytest.mark.parametrize(
    ("checks", "events", "verdict"),
    [
        ({"ready": "", "reload": ""}, [], "works"),
        # A line about another matter explains nothing.
        ({"reload": "3 timed out of 80"}, ["reload aborted", "worker killed"], "silent"),
        ({"ready": "never ready"}, ["worker killed"], "silent"),
        ({"ready": "ready, but: refused"}, ["no worker listens there"], "silent"),
        ({"stop": "2 workers killed after kill_timeout"}, [], "silent"),
        ({"trial": "TypeError: x"}, ["app errored"], "silent"),
        # One about the same does.
        ({"ready": "never ready"}, ["worker not ready in time"], "says"),
        ({"stop": "2 workers killed after kill_timeout"}, ["worker killed"], "says"),
        ({"reload": "exit 1: failed: reload aborted: why"}, ["reload aborted"], "says"),
        ({"all answer": "1 of 3 workers take connections"}, ["address not shared"], "says"),
        # Each failed check needs its own.
        (
            {"ready": "never ready", "stop": "1 workers killed after kill_timeout"},
            ["worker not ready in time"],
            "silent",
        ),
    ],
)
def test_a_failed_check_is_explained_by_a_line_about_the_same_matter_only(checks, events, verdict):
    result = {"server": "one", "kind": "tcp", "checks": checks, "events": events}
    assert table.verdict(result) == verdict


@pytest.mark.parametrize(
    ("kind", "check", "seen", "verdict"),
    [
        ("unix", "reload", "1 ConnectionResetError [Errno 104] x, 2 BrokenPipeError of 9", "says"),
        (
            "unix",
            "reload",
            "2 ConnectionResetError [Errno 104] x, 2 BrokenPipeError of 9",
            "silent",
        ),
        ("unix", "reload", "never ready", "silent"),
        ("unix", "SIGKILL", "1 BrokenPipeError of 710", "silent"),
        ("tcp", "reload", "1 BrokenPipeError of 710", "silent"),
    ],
)
def test_what_a_program_does_itself_is_bounded(kind, check, seen, verdict):
    result = {"server": "memcached", "kind": kind, "checks": {check: seen}, "events": ()}
    assert table.verdict(result) == verdict
