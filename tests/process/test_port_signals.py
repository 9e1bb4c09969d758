"""Answers to intercepted calls: signals do not lose them, and they wait for no worker."""

from __future__ import annotations

import signal
import sys
import threading

import pytest

from entrypoint.kernel import proc
from tests.support.portlab import Lab, spec
from tests.support.ports import free_port
from tests.support.wait import wait_until

BINDS = 60
PROGRAM = f"""
import socket, sys
for _ in range({BINDS}):
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind(("127.0.0.1", int(sys.argv[1])))
        s.listen()
        # Ours, not one of its own: the group's sockets share the address.
        assert s.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT)
print("all", flush=True)
"""


@pytest.fixture
def caught():
    before = signal.signal(signal.SIGUSR1, lambda *_: None)
    yield
    signal.signal(signal.SIGUSR1, before)


@pytest.mark.usefixtures("caught")
def test_signals_in_the_middle_of_its_answers(tmp_path):
    """As SIGCHLD: it interrupts the kernel's waits for a worker (EINTR)."""
    port = free_port()
    (tmp_path / "binds.py").write_text(PROGRAM)
    command = [sys.executable, str(tmp_path / "binds.py"), str(port)]
    with Lab(command, listen=(spec(f"127.0.0.1:{port}"),), slots=1) as lab:
        over = threading.Event()

        def storm() -> None:
            while not over.wait(0.0001):
                signal.pthread_kill(lab._thread.ident, signal.SIGUSR1)

        thread = threading.Thread(target=storm)
        thread.start()
        try:
            worker = lab.start(0)
            wait_until(lambda: lab._ended(worker), what=lab.text)
        finally:
            over.set()
            thread.join()
        assert "all" in lab.text(), (lab.text(), lab.logged)
        assert not lab.logged
        assert len(lab.happened("listening", worker)) == BINDS


IDLE = """
import os, socket, sys, time
for _ in range(3 * os.cpu_count()):
    if os.fork() == 0:
        end = time.monotonic() + 3
        while time.monotonic() < end and os.getppid() != 1:
            pass
        os._exit(0)
os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
for count in range(100):
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind(("127.0.0.1", int(sys.argv[1])))
        s.listen()
        assert s.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT)
    print("bound", flush=True)
"""


def test_a_thread_that_gets_no_cpu_holds_up_only_itself(tmp_path):
    """ADDFD waits until the caller runs: for hundreds of ms, at SCHED_IDLE among others."""
    port = free_port()
    (tmp_path / "idle.py").write_text(IDLE)
    command = [sys.executable, str(tmp_path / "idle.py"), str(port)]
    turns: list[tuple[float, float]] = []
    with Lab(command, listen=(spec(f"127.0.0.1:{port}"),), slots=1) as lab:
        thread = f"/proc/self/task/{lab._thread.native_id}/schedstat"
        before = [0.0]

        def observe(seconds: float) -> None:
            waited = int(proc.read(thread).split()[1]) / 1e9
            turns.append((seconds - (waited - before[0]), seconds))
            before[0] = waited

        with lab.lock:
            lab.loop.observe = observe
        worker = lab.start(0)
        wait_until(lambda: lab.text().count("bound") >= 2, what=lab.text, timeout=60)
        turns.clear()
        wait_until(lambda: lab.text().count("bound") >= 60 or lab._ended(worker), timeout=60)
        assert "Error" not in lab.text()
        assert not lab.logged
    assert max(turns)[0] < 0.05, sorted(turns)[-5:]
