"""What the tests share is there once, and refuses what would end the machine."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import pytest

from tests import coverage
from tests.support import namespace, wait
from tests.support.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
# They have loops and searches of their own, which follow other deadlines.
ELSEWHERE = ("tests/zoo", "tests/chaos")


def sources():
    for path in (*ROOT.glob("tests/**/*.py"), *ROOT.glob("benchmarks/**/*.py")):
        where = str(path.relative_to(ROOT))
        if "node_modules" not in where and not where.startswith("tests/support"):
            yield where, path.read_text(encoding="utf-8")


def test_an_init_is_refused_outside_a_namespace_of_the_tests(monkeypatch):
    assert namespace.inside()
    assert namespace.own_namespace("true") == [
        *("unshare", "--pid", "--fork", "--mount-proc", "--kill-child"),
        "true",
    ]
    monkeypatch.setattr(namespace, "inside", lambda: False)
    with pytest.raises(namespace.NoNamespaceError):
        namespace.own_namespace("true")
    for pid1 in (True, False):
        with pytest.raises(namespace.NoNamespaceError):
            namespace.Init(["true"], pid1=pid1)


def test_nobody_makes_a_pid_namespace_for_an_init_by_hand():
    """`own_namespace` refuses to where a test is not in one itself."""
    made = re.compile(r'"--pid", "--fork"')
    allowed = {
        "tests/pid1/test_homes.py",  # within a user namespace
        "tests/container/engine.py",  # of the Docker daemon
        "tests/container/test_pod.py",
        "tests/unit/test_support.py",
    }
    assert {where for where, text in sources() if made.search(text)} <= allowed


def test_there_is_one_loop_that_waits_and_one_search_for_a_port():
    again = re.compile(r"def free_port\(|end = time.monotonic\(\) \+ (DEADLINE|LIMIT|TIMEOUT)")
    found = [where for where, text in sources() if again.search(text)]
    assert [where for where in found if not where.startswith(ELSEWHERE)] == []


def test_free_port_is_free_on_all_addresses_and_new_each_time():
    ports = [free_port() for _ in range(20)]
    assert len(set(ports)) == 20
    for family, host in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
        with socket.socket(family) as sock:
            sock.bind((host, ports[0]))


def test_wait_until_returns_what_it_waited_for_and_steps():
    steps = []
    assert wait.wait_until(lambda: len(steps) > 2 and "there", step=lambda: steps.append(1))
    assert len(steps) == 3


def test_wait_until_gives_up_with_what_was_seen(monkeypatch):
    monkeypatch.setattr(wait.os, "getloadavg", lambda: (0.0, 0.0, 0.0))
    with pytest.raises(TimeoutError, match="nothing came"):
        wait.wait_until(lambda: False, lambda: "nothing came", 0.01, error=TimeoutError)


@pytest.mark.parametrize(("load", "cpus", "times"), [(0.2, 2, 1.0), (6, 2, 3.0), (900, 2, 8.0)])
def test_a_busy_machine_stretches_the_deadline(monkeypatch, load, cpus, times):
    monkeypatch.setattr(wait.os, "getloadavg", lambda: (load, load, load))
    monkeypatch.setattr(wait.os, "sched_getaffinity", lambda _pid: set(range(cpus)))
    assert wait.slowness() == times


def test_the_tests_that_measure_the_core_exist():
    assert [path for path in coverage.CORE if not (coverage.ROOT / path).is_dir()] == []
