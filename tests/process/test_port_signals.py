"""A pyinit that is busy with signals misses none of its workers' calls."""

from __future__ import annotations

import signal
import sys
import threading

import pytest

from tests.support.portlab import Lab, free_port, spec
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
