"""Instead of running the tests once: once with a tracer, then for each mutant those that
run its line, quickest first, in a fork. `PYINIT_MUTANTS` is a JSON file with what is wanted.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections import defaultdict
from pathlib import Path

import pytest
from _pytest.runner import runtestprotocol

from tests.mutants.mutate import Mutant, install

# A mutant's tests may take so much longer than without it, and so long at least (s).
SLOWER = 10
LEAST = 120.0

# Whatever its line: it may reach each. A tracer would make it last for minutes.
RUNS_ALL = "test_machine"

KILLED, SURVIVED, LATE, UNTRIED = "killed", "survived", "late", "untried"


class Baseline:
    """Which tests run which line of the core, and how long each takes."""

    def __init__(self, folder: Path) -> None:
        self._folder = str(folder)
        self.tests: defaultdict[tuple[str, int], set[int]] = defaultdict(set)
        self.seconds: dict[int, float] = {}
        self._now = 0

    def _trace(self, frame, event, _argument):
        name = frame.f_code.co_filename
        if not name.startswith(self._folder):
            return None
        lines = self.tests

        def local(frame, event, _argument):
            if event == "line":
                lines[name, frame.f_lineno].add(self._now)
            return local

        self.tests[name, frame.f_lineno].add(self._now)
        return local

    def run(self, number: int, item: pytest.Item) -> None:
        self._now = number
        if RUNS_ALL not in item.nodeid:
            sys.settrace(self._trace)
        try:
            reports = runtestprotocol(item, log=False, nextitem=None)
        finally:
            sys.settrace(None)
        assert all(report.outcome != "failed" for report in reports), reports
        self.seconds[number] = sum(report.duration for report in reports)


class Runner:
    def __init__(self, items: list[pytest.Item], root: Path) -> None:
        self._items = items
        self._root = root
        self._base = Baseline(root / "entrypoint" / "core")

    def baseline(self) -> None:
        for number, item in enumerate(self._items):
            self._base.run(number, item)

    def tests_of(self, mutant: Mutant) -> list[int]:
        """The tests that run it, quickest first. A constant: those of its module, all."""
        path = str(self._root / mutant.path)
        found = set()
        for line in range(mutant.line, mutant.line + 3):
            found |= self._base.tests.get((path, line), set())
            if found:
                break
        if not found or self._is_constant(mutant):
            found = set(range(len(self._items)))
        found = found | {n for n, item in enumerate(self._items) if RUNS_ALL in item.nodeid}
        return sorted(found, key=self._base.seconds.__getitem__)

    @staticmethod
    def _is_constant(mutant: Mutant) -> bool:
        name = mutant.scope.rpartition(".")[2]
        return name.isupper() or name.lstrip("_").isupper() or "," in name

    def attempt(self, mutant: Mutant) -> int:
        """Fork the attempt; its pid."""
        pid = os.fork()
        if pid:
            return pid
        code = 3
        try:
            os.setpgid(0, 0)
            null = os.open(os.devnull, os.O_RDWR)
            for fd in (0, 1, 2):
                os.dup2(null, fd)
            code = self._attempt(mutant)
        except BaseException:  # whatever a mutant raises outside of a test is seen
            code = 1
        os._exit(code)

    def _attempt(self, mutant: Mutant) -> int:
        tests = self.tests_of(mutant)
        usual = sum(self._base.seconds[number] for number in tests)
        signal.setitimer(signal.ITIMER_REAL, max(LEAST, SLOWER * usual))
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        if not install(mutant):
            return 4
        for number in tests:
            reports = runtestprotocol(self._items[number], log=False, nextitem=None)
            if any(report.outcome == "failed" for report in reports):
                return 1
        return 0


def _outcome(status: int) -> str:
    if os.WIFSIGNALED(status):
        return LATE if os.WTERMSIG(status) == signal.SIGALRM else KILLED
    return {0: SURVIVED, 4: UNTRIED}.get(os.WEXITSTATUS(status), KILLED)


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool:
    wanted = json.loads(Path(os.environ["PYINIT_MUTANTS"]).read_text())
    root = Path(session.config.rootpath)
    runner = Runner(session.items, root)
    began = time.monotonic()
    runner.baseline()
    print(f"{len(session.items)} tests, {time.monotonic() - began:.0f} s with a tracer", flush=True)
    waiting = [Mutant(**each) for each in wanted["mutants"]]
    outcomes: dict[str, str] = {}
    running: dict[int, Mutant] = {}
    ends = time.monotonic() + wanted["seconds"]
    while waiting or running:
        while waiting and len(running) < wanted["jobs"] and time.monotonic() < ends:
            mutant = waiting.pop(0)
            running[runner.attempt(mutant)] = mutant
        if not running:
            break
        pid, status = os.wait()
        mutant = running.pop(pid, None)
        if mutant is not None:
            outcomes[mutant.text] = _outcome(status)
            if outcomes[mutant.text] != KILLED:
                print(f"{outcomes[mutant.text]}: {mutant.text}", flush=True)
    Path(wanted["outcomes"]).write_text(json.dumps(outcomes))
    return True
