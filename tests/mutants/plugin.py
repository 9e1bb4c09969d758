"""Instead of running the tests once: once measured, then for each mutant those that run its
statement, in a fork that has everything imported, until one fails. `PYINIT_MUTANTS` is a JSON
file with what is wanted.

Most of the time goes where nothing is found, so the order counts: first the test that has
killed most mutants of the same function or file for its CPU time. The long ones, as the
machine of Hypothesis, come last by themselves.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import time
from collections import Counter, defaultdict
from pathlib import Path

import coverage
import hypothesis
import pytest
from _pytest.runner import runtestprotocol

from tests.mutants import mutate
from tests.mutants.mutate import Mutant
from tests.mutants.outcomes import KILLED, LATE, SURVIVED, UNTRIED, Outcomes

# CPU time that a mutant's tests may take: so many times what they take without it, and so
# much at least (s). The same for one test, whose failure it is then.
SLOWER = 5
LEAST = 60.0
LEAST_OF_TEST = 3.0
# How much a kill says of another mutant: in the same function, the same file, anywhere.
NEAR, FILE, ANYWHERE = 10.0, 3.0, 1.0

# What an attempt ends with.
_SURVIVED, _KILLED, _UNTRIED = 0, 1, 4


class Baseline:
    """Which tests run which line of the core, and how much CPU time each takes (s)."""

    def __init__(self, items: list[pytest.Item], root: Path) -> None:
        self._items = items
        self._folder = root / "entrypoint" / "core"
        self.tests: dict[str, dict[int, set[int]]] = {}
        self.seconds: list[float] = []

    def measure(self) -> None:
        tracer = coverage.Coverage(data_file=None, include=[f"{self._folder}/*"])
        tracer.start()
        try:
            for number, item in enumerate(self._items):
                tracer.switch_context(str(number))
                began = time.process_time()
                reports = runtestprotocol(item, log=False, nextitem=None)
                failed = [each.longreprtext for each in reports if each.outcome == "failed"]
                assert not failed, "\n".join(failed)
                self.seconds.append(time.process_time() - began)
        finally:
            tracer.stop()
        data = tracer.get_data()
        for path in data.measured_files():
            lines = data.contexts_by_lineno(path)
            self.tests[path] = {
                line: {int(name) for name in contexts if name} for line, contexts in lines.items()
            }

    def write(self, path: Path, code: str) -> None:
        tests = {
            name: {line: sorted(found) for line, found in lines.items()}
            for name, lines in self.tests.items()
        }
        found = {"code": code, "items": [each.nodeid for each in self._items]}
        path.write_text(json.dumps(found | {"seconds": self.seconds, "tests": tests}))

    def read(self, path: Path, code: str) -> bool:
        """Whether it was measured before, with this core and these tests."""
        try:
            found = json.loads(path.read_text())
        except (OSError, ValueError):
            return False
        if found["code"] != code or found["items"] != [each.nodeid for each in self._items]:
            return False
        self.seconds = found["seconds"]
        self.tests = {
            name: {int(line): set(numbers) for line, numbers in lines.items()}
            for name, lines in found["tests"].items()
        }
        return True

    def of(self, path: str, first: int, last: int) -> set[int]:
        """The tests that run any of these lines."""
        lines = self.tests.get(path, {})
        return set().union(*(lines.get(line, ()) for line in range(first, last + 1)))


class Runner:
    def __init__(self, items: list[pytest.Item], root: Path, baseline: Baseline) -> None:
        self._items = items
        self._root = root
        self._base = baseline
        self._kills: defaultdict[str, Counter[int]] = defaultdict(Counter)
        self._numbers = {item.nodeid: number for number, item in enumerate(items)}

    def learn(self, mutant: Mutant, test: str) -> None:
        """This test has killed it."""
        if test in self._numbers:
            for key in ("", mutant.path, f"{mutant.path} {mutant.scope}"):
                self._kills[key][self._numbers[test]] += 1

    def tests_of(self, mutant: Mutant) -> list[int]:
        """The tests that run it. What runs when its module is loaded: all tests."""
        found = self._base.of(str(self._root / mutant.path), mutant.first, mutant.last)
        if not found or self._is_constant(mutant):
            found = set(range(len(self._items)))
        everywhere, file = self._kills[""], self._kills[mutant.path]
        near = self._kills[f"{mutant.path} {mutant.scope}"]

        def promise(number: int) -> float:
            kills = NEAR * near[number] + FILE * file[number] + ANYWHERE * everywhere[number]
            return (kills + 0.1) / (self._base.seconds[number] + 0.002)

        return sorted(found, key=promise, reverse=True)

    @staticmethod
    def _is_constant(mutant: Mutant) -> bool:
        name = mutant.scope.rpartition(".")[2]
        return name.isupper() or name.lstrip("_").isupper() or "," in name

    def attempt(self, mutant: Mutant) -> tuple[int, int]:
        """Fork the attempt: its pid, and where it writes the number of the test that failed."""
        read, write = os.pipe()
        pid = os.fork()
        if pid:
            os.close(write)
            return pid, read
        code = _KILLED
        try:
            os.setpgid(0, 0)
            null = os.open(os.devnull, os.O_RDWR)
            for fd in (0, 1, 2):
                os.dup2(null, fd)
            code = self._attempt(mutant, write)
        except BaseException:  # whatever a mutant raises outside of a test is seen
            code = _KILLED
        os._exit(code)

    def _attempt(self, mutant: Mutant, tell: int) -> int:
        tests = self.tests_of(mutant)
        usual = sum(self._base.seconds[number] for number in tests)
        signal.signal(signal.SIGPROF, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_PROF, max(LEAST, SLOWER * usual))
        if not mutate.install(mutant):
            return _UNTRIED
        for number in tests:
            _Limit.seconds = max(LEAST_OF_TEST, SLOWER * self._base.seconds[number])
            reports = runtestprotocol(self._items[number], log=False, nextitem=None)
            if any(report.outcome == "failed" for report in reports):
                os.write(tell, b"%d" % number)
                return _KILLED
        return _SURVIVED


class _Limit:
    """CPU time of the present test (s). Whatever it takes while it is measured."""

    seconds = 3600.0


def _spins(_number, _frame):
    raise AssertionError("the core does not come back")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> None:
    """After the limit of tests/simulation/conftest.py, which is meant for any machine."""
    signal.signal(signal.SIGVTALRM, _spins)
    # Again and again: Hypothesis tries what has failed once more.
    signal.setitimer(signal.ITIMER_VIRTUAL, _Limit.seconds, _Limit.seconds)


def pytest_configure() -> None:
    # That there is a failure is enough: the smallest one costs minutes.
    phases = (hypothesis.Phase.explicit, hypothesis.Phase.generate)
    hypothesis.settings.register_profile("mutants", phases=phases)
    hypothesis.settings.load_profile("mutants")


def _outcome(status: int) -> str:
    if os.WIFSIGNALED(status):
        return LATE if os.WTERMSIG(status) == signal.SIGPROF else KILLED
    return {_SURVIVED: SURVIVED, _UNTRIED: UNTRIED}.get(os.WEXITSTATUS(status), KILLED)


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool:
    wanted = json.loads(Path(os.environ["PYINIT_MUTANTS"]).read_text())
    root = Path(session.config.rootpath)
    outcomes = Outcomes(Path(wanted["outcomes"]), wanted["code"])
    outcomes.read()
    baseline, path = Baseline(session.items, root), Path(wanted["baseline"])
    if not baseline.read(path, wanted["code"]):
        baseline.measure()
        path.parent.mkdir(parents=True, exist_ok=True)
        baseline.write(path, wanted["code"])
    print(f"{len(session.items)} tests, {sum(baseline.seconds):.0f} s of CPU time", flush=True)
    runner = Runner(session.items, root, baseline)
    mutants = [Mutant(**each) for each in wanted["mutants"]]
    for mutant in mutants:
        mutate.source(mutant.path)  # as it is now: somebody may work on it meanwhile
    for mutant in mutants:
        runner.learn(mutant, outcomes.killers.get(mutant.name, ""))
    waiting = [each for each in reversed(mutants) if each.name not in outcomes.known]
    running: dict[int, tuple[Mutant, int]] = {}
    ends = time.monotonic() + wanted["seconds"]
    gc.collect()
    gc.freeze()  # a fork copies no page because of the collector
    while waiting or running:
        while waiting and len(running) < wanted["jobs"] and time.monotonic() < ends:
            mutant = waiting.pop()
            pid, answer = runner.attempt(mutant)
            running[pid] = (mutant, answer)
        if not running:
            break
        pid, status = os.wait()
        if pid not in running:
            continue
        mutant, answer = running.pop(pid)
        number = os.read(answer, 64)
        os.close(answer)
        outcome = _outcome(status)
        test = session.items[int(number)].nodeid if number else ""
        outcomes.add(mutant.name, outcome, test)
        runner.learn(mutant, test)
        if outcome != KILLED:
            done = len(mutants) - len(waiting) - len(running)
            print(f"{outcome}: {mutant.text}   ({outcomes.share:.1%} of {done})", flush=True)
    return True
