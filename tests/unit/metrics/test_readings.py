"""Which process counts for which worker, and sums that never go down."""

from __future__ import annotations

import os
import time

import pytest

from entrypoint.core.view import WorkerView
from entrypoint.kernel import proc
from entrypoint.kernel.proc import Usage
from entrypoint.loop import Loop
from entrypoint.metrics import readings, walk
from entrypoint.metrics.child import ChildReader
from entrypoint.metrics.collect import shown
from entrypoint.metrics.readings import Readings

MIB = 1 << 20


def worker(incarnation, pid, instance=0, *, app="web", ready=True):
    return WorkerView(app, instance, incarnation, instance, pid, "online", ready, 0, 10.0)


class Machine:
    """A /proc of its own: pid → (parent, group, cpu, rss)."""

    def __init__(self, monkeypatch) -> None:
        self.processes: dict[int, tuple[int, int, float, int]] = {}
        self.read: list[int] = []
        self.takes = 0.0
        self.now = 100.0
        self.answers = True
        self.fails = False
        monkeypatch.setattr(proc, "processes", lambda: tuple(self.processes))
        monkeypatch.setattr(proc, "usage", self.usage)
        monkeypatch.setattr(proc, "open_files", lambda pid: 3 if pid in self.processes else None)
        monkeypatch.setattr(proc, "proportional", self.read_pss)
        monkeypatch.setattr(walk.time, "monotonic", lambda: self.now)

    def usage(self, pid):
        if pid not in self.processes:
            return None
        parent, group, cpu, rss = self.processes[pid]
        return Usage(parent, group, cpu, 2, 10 * rss, rss)

    def readings(self) -> Readings:
        return Readings(lambda done: Child(self, done))

    def read_pss(self, pid):
        self.read.append(pid)
        self.now += self.takes
        return self.processes[pid][3] // 2 if pid in self.processes else None


class Child:
    """Replaces the child that reads: it answers at once, or never."""

    def __init__(self, machine: Machine, done) -> None:
        self._machine = machine
        self._done = done
        self.under_way = False

    def begin(self, read) -> None:
        if self.under_way:
            return
        answer = read()
        self.under_way = not self._machine.answers
        if self._machine.answers:
            self._done(b"" if self._machine.fails else answer)

    def close(self) -> None:
        self.under_way = False


@pytest.fixture
def machine(monkeypatch):
    machine = Machine(monkeypatch)
    machine.processes[1] = (0, 1, 0.5, MIB)
    return machine


def take(found: Readings, *workers: WorkerView, machine: Machine | None = None) -> None:
    for pause in found.take(list(workers)):
        if pause:
            assert machine is not None, "nothing is waited for"
            machine.now += pause


def test_descendants_count_for_their_worker(machine):
    machine.processes |= {
        10: (1, 10, 1.0, MIB),  # npm
        11: (10, 10, 2.0, MIB),  # node
        12: (11, 99, 4.0, MIB),  # in a group of its own
        13: (1, 10, 8.0, MIB),  # its parent ended; the group is left
        20: (1, 20, 16.0, MIB),  # another worker
        30: (1, 30, 32.0, MIB),  # nobody's
        31: (30, 30, 64.0, MIB),
    }
    found = machine.readings()
    take(found, worker(1, 10), worker(2, 20, 1))
    assert found.of[1].processes == 4
    assert found.cpu("web", 0) == 15.0
    assert found.of[1].rss == 4 * MIB
    assert found.of[1].fds == 12
    assert found.of[1].threads == 8
    assert found.of[1].pss == 2 * MIB
    assert found.cpu("web", 1) == 16.0
    assert found.of[2].processes == 1


def test_a_circle_of_parents_ends(machine):
    machine.processes |= {10: (1, 10, 0.0, 0), 11: (12, 10, 0.0, 0), 12: (11, 5, 0.0, 0)}
    found = machine.readings()
    take(found, worker(1, 10))
    assert found.of[1].processes >= 2


def test_cpu_seconds_survive_the_worker(machine):
    found = machine.readings()
    machine.processes[10] = (1, 10, 5.0, 0)
    take(found, worker(1, 10))
    assert found.cpu("web", 0) == 5.0
    # Side by side in a reload.
    machine.processes[11] = (1, 11, 1.0, 0)
    take(found, worker(1, 10), worker(2, 11))
    assert found.cpu("web", 0) == 6.0
    del machine.processes[10]
    take(found, worker(2, 11))
    assert found.cpu("web", 0) == 6.0
    # Its place waits for a restart: no process, the sum stays.
    del machine.processes[11]
    take(found, worker(0, 0))
    assert found.cpu("web", 0) == 6.0
    machine.processes[12] = (1, 12, 0.5, 0)
    take(found, worker(3, 12))
    assert found.cpu("web", 0) == 6.5


def test_a_descendant_that_ends_unseen_does_not_take_its_seconds_along(machine):
    found = machine.readings()
    machine.processes |= {10: (1, 10, 1.0, 0), 11: (1, 10, 9.0, 0)}
    take(found, worker(1, 10))
    del machine.processes[11]
    take(found, worker(1, 10))
    assert found.cpu("web", 0) == 10.0


def test_a_pid_that_comes_again_is_another_worker(machine):
    found = machine.readings()
    machine.processes[10] = (1, 10, 5.0, MIB)
    take(found, worker(1, 10))
    machine.processes[10] = (1, 10, 0.25, 2 * MIB)
    take(found, worker(2, 10))
    assert found.cpu("web", 0) == 5.25
    assert found.of[2].pss == MIB
    assert 1 not in found.of


def test_what_pss_costs_is_bounded_and_the_oldest_come_first(machine):
    machine.takes = walk.BUDGET / 2
    workers = [worker(n, 10 + n, n) for n in range(1, 10)]
    machine.processes |= {each.pid: (1, each.pid, 0.0, MIB) for each in workers}
    found = machine.readings()
    while len(machine.read) < len(workers):
        before = len(machine.read)
        take(found, *workers)
        assert 0 < len(machine.read) - before <= 3
    assert set(machine.read[: len(workers)]) == {each.pid for each in workers}
    assert all(reading.pss == MIB // 2 for reading in found.of.values())


def test_pss_is_not_read_again_at_once(machine):
    machine.processes[10] = (1, 10, 0.0, MIB)
    found = machine.readings()
    take(found, worker(1, 10))
    machine.processes[10] = (1, 10, 0.0, 2 * MIB)
    take(found, worker(1, 10))
    assert machine.read == [10]
    assert (found.of[1].rss, found.of[1].pss) == (2 * MIB, MIB // 2)
    machine.now += readings.PSS_EVERY
    take(found, worker(1, 10))
    assert found.of[1].pss == MIB


def test_the_pss_of_what_is_too_big_is_not_looked_at(machine):
    machine.processes[10] = (1, 10, 0.0, walk.PSS_AT_MOST + 1)
    found = machine.readings()
    take(found, worker(1, 10))
    assert machine.read == []
    assert found.of[1].pss is None
    assert found.of[1].rss == walk.PSS_AT_MOST + 1


def test_a_child_that_does_not_answer_is_waited_for_a_moment_only(machine):
    machine.processes[10] = (1, 10, 0.0, MIB)
    found = machine.readings()
    take(found, worker(1, 10))
    assert found.of[1].pss == MIB // 2
    machine.answers = False
    before = machine.now
    take(found, worker(1, 10), machine=machine)
    assert machine.now - before < 2 * (readings.USAGE_WAIT + readings.PSS_WAIT)
    # Those of before.
    assert found.of[1].pss == MIB // 2
    assert found.of[1].rss == MIB
    # Of what is new nothing is known, and nothing is kept of what is gone.
    take(found, worker(2, 11), machine=machine)
    assert not found.of


def test_what_a_child_read_before_it_failed_stays(machine):
    machine.processes[10] = (1, 10, 1.0, MIB)
    found = machine.readings()
    take(found, worker(1, 10))
    machine.fails = True
    take(found, worker(1, 10))
    assert found.of[1].rss == MIB
    assert found.cpu("web", 0) == 1.0
    machine.fails = False
    del machine.processes[10]
    take(found, worker(1, 10))
    assert not found.of


def test_what_is_not_known_of_a_process(machine, monkeypatch):
    machine.processes |= {10: (1, 10, 0.1 + 0.2, MIB), 11: (10, 10, 0.0, MIB)}
    monkeypatch.setattr(proc, "open_files", lambda _pid: None)
    found = machine.readings()
    take(found, worker(1, 10))
    assert found.of[1].fds is None
    assert found.of[1].cpu == 0.1 + 0.2
    assert found.of[1].members == (10, 11)
    machine.processes |= dict.fromkeys(range(100, 100 + walk.PSS_PROCESSES), (10, 10, 0.0, MIB))
    take(found, worker(1, 10))
    assert found.of[1].members is None
    assert found.of[1].pss is None


def test_the_page_reads_no_pss(machine):
    machine.processes[10] = (1, 10, 0.0, MIB)
    found = Readings(lambda done: Child(machine, done), with_pss=False)
    take(found, worker(1, 10))
    assert found.of[1].rss == MIB
    assert machine.read == []
    machine.answers = False
    next(found.take([worker(1, 10)]))
    assert found.spent > 0
    found.close()
    machine.answers = True
    take(found, worker(1, 10))


@pytest.mark.parametrize("call", ["proportional", "usage"])
def test_a_process_that_cannot_be_read_now_does_not_hold_up_the_loop(monkeypatch, call):
    """A lock that somebody else holds: the call waits in the child."""
    monkeypatch.setattr(proc, call, lambda _pid: time.sleep(0.5))
    loop = Loop(lambda _where, error: (_ for _ in ()).throw(error))
    helpers: list[int] = []
    answers: list[bytes] = []
    child = ChildReader(loop, lambda pid, _ended: helpers.append(pid), answers.append)

    def read() -> bytes:
        monkeypatch.setattr(proc, "processes", lambda: (10,))
        return walk.read_usage({10: 3}) if call == "usage" else walk.read_pss([(3, (10,))])

    child.begin(read)
    child.begin(read)  # one at a time
    turns = []
    while not answers:
        began = time.process_time()
        loop.turn(0.01)
        turns.append(time.process_time() - began)
    assert answers[0].endswith(b"\n3 0.0 0 0 0 - -\n" if call == "usage" else b"3 -\n")
    assert len(turns) > 5
    assert not child.under_way
    assert not loop.deadlines
    (pid,) = helpers
    os.waitpid(pid, 0)
    child.begin(read)
    child.close()
    assert os.waitpid(helpers[1], 0)[1] == 9
    loop.close()
    assert len(answers) == 1


def test_nothing_is_kept_of_what_is_gone(machine):
    found = machine.readings()
    for n in range(1, 50):
        machine.processes = {100 + n: (1, 100 + n, 1.0, MIB)}
        take(found, worker(n, 100 + n))
        found.started_at(worker(n, 100 + n), 20.0)
    take(found)
    assert not found.of
    assert not found._cpu
    assert not found._pss
    assert not found._started


def test_the_start_time_stays_the_same(machine, monkeypatch):
    found = machine.readings()
    monkeypatch.setattr(readings.time, "time", lambda: 5000.0)
    assert found.started_at(worker(1, 10), 12.5) == 4997.5
    monkeypatch.setattr(readings.time, "time", lambda: 9000.0)
    assert found.started_at(worker(1, 10), 60.0) == 4997.5


def test_an_instance_is_shown_once():
    old, new = worker(1, 10), worker(2, 11, ready=False)
    assert shown((old, new)) == [old]
    ready = new.replace(ready=True)
    assert shown((old, ready)) == [ready]
    leaving = old.replace(ready=False)
    assert shown((leaving, new)) == [new]
