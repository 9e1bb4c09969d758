"""Servers that connect to their port before they bind it, to see whether it is free."""

from __future__ import annotations

import socket
import sys

import pytest

from tests.support.portlab import Lab, spec
from tests.support.ports import free_port
from tests.support.wait import wait_until

# As CherryPy does; a second address of the same port is tried like the first.
ASKS = """
import signal, socket, sys
host, port = sys.argv[1], int(sys.argv[2])
for asked in (host, host):
    client = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    client.settimeout(5)
    if client.connect_ex((asked, port)) == 0:
        print("the port is not free", flush=True)
        sys.exit(70)
    client.close()
s = socket.create_server((host, port), family=client.family)
socket.create_connection((host, port), 5).close()  # its own, now that it serves
print("connects", end=" ", flush=True)
other = socket.create_connection(("127.0.0.1", int(sys.argv[3])), 5)
print("to others", flush=True)
signal.pause()
"""
ENDS_ONCE = """
import os, signal, socket, sys
if not os.path.exists(sys.argv[2]):
    open(sys.argv[2], "w").close()
    sys.exit(1)
s = socket.create_server(("127.0.0.1", int(sys.argv[1])))
signal.pause()
"""


@pytest.mark.parametrize("declared", [False, True])
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_program_that_connects_to_its_port_first_starts_again_and_serves(
    tmp_path, host, declared
):
    (tmp_path / "asks.py").write_text(ASKS)
    port = free_port()
    keys = {"listen": (spec(f"[{host}]:{port}" if ":" in host else f"{host}:{port}"),)}
    with socket.create_server(("127.0.0.1", 0)) as other:
        command = [sys.executable, str(tmp_path / "asks.py"), host, str(port)]
        command.append(str(other.getsockname()[1]))
        with Lab(command, **(keys if declared else {})) as lab:
            if not declared:
                lab.listening(lab.start(0))
            first = lab.start(1)
            wait_until(lambda: lab._ended(first), what="it has found the port in use")
            lab.stop(first)
            for slot in (1, 2):
                lab.listening(lab.start(slot))
            wait_until(lambda: lab.text().count("to others") >= 2, what="it connects to others")


def test_a_program_that_only_ends_early_is_reported_for_one_start(tmp_path):
    (tmp_path / "ends.py").write_text(ENDS_ONCE)
    port = free_port()
    command = [sys.executable, str(tmp_path / "ends.py"), str(port), str(tmp_path / "ended")]
    with Lab(command, listen=(spec(f"127.0.0.1:{port}"),)) as lab:
        first = lab.start(0)
        wait_until(lambda: lab._ended(first), what="it has ended")
        lab.stop(first)
        assert "connect_any" in lab.ports.filter_calls(2)
        second = lab.start(0)
        lab.listening(second)
        assert "connect_any" not in lab.ports.filter_calls(3)
