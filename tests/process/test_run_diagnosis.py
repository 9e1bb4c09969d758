"""Programs that cannot work under an init, and what is said of them."""

from __future__ import annotations

import os
import struct
import sys

import pytest

from tests.support.run import Run

pytestmark = [pytest.mark.process, pytest.mark.pid1]

DAEMON = """
import os, sys, time
if os.fork():
    os._exit(0)
os.setsid()
if len(sys.argv) > 1:  # as a server that writes its title over its environment
    os.execve(sys.argv[1], ["daemonic"], {"LIVES": "on"})
time.sleep(1000)
"""


@pytest.mark.parametrize("erased", [False, True])
def test_a_program_that_goes_into_the_background(tmp_path, erased) -> None:
    (tmp_path / "daemonic").write_text(f"#!{sys.executable}\n{DAEMON}")
    (tmp_path / "daemonic").chmod(0o755)
    script = f"{tmp_path}/daemonic"
    if erased:
        (tmp_path / "real").mkdir()
        (tmp_path / "real" / "daemonic").write_text("#!/bin/sh\nsleep 1000 & wait\n")
        (tmp_path / "real" / "daemonic").chmod(0o755)
        script += f" {tmp_path}/real/daemonic"
    with Run(tmp_path, [{"name": "a", "script": script, "max_restarts": 1}]) as run:
        answer = run.event("worker exited")
        assert answer["level"] == "error"
        assert answer["reason"].startswith("it went into the background: ")
        assert "foreground" in answer["reason"]
        assert run.wait() == 1


def test_a_one_shot_may_leave_a_daemon(tmp_path) -> None:
    (tmp_path / "daemonic").write_text(f"#!{sys.executable}\n{DAEMON}")
    (tmp_path / "daemonic").chmod(0o755)
    app = {"name": "a", "script": f"{tmp_path}/daemonic", "autorestart": False}
    with Run(tmp_path, [app]) as run:
        assert "reason" not in run.event("worker exited")
        assert run.wait() == 0


def header(machine: int, bits: int = 64, interp: bytes = b"") -> bytes:
    """An ELF program of that machine: its header, one PT_INTERP, nothing to run."""
    ident = b"\x7fELF" + bytes((bits // 32, 1, 1)) + b"\0" * 9
    text = interp + b"\0"
    if bits == 64:
        head = ident + struct.pack("<HHIQQQIHHHHHH", 2, machine, 1, 0, 64, 0, 0, 64, 56, 1, 0, 0, 0)
        return head + struct.pack("<IIQQQQQQ", 3, 4, 120, 0, 0, len(text), len(text), 1) + text
    head = ident + struct.pack("<HHIIIIIHHHHHH", 2, machine, 1, 0, 52, 0, 0, 52, 32, 1, 0, 0, 0)
    return head + struct.pack("<IIIIIIII", 3, 84, 0, 0, len(text), len(text), 4, 1) + text


FOREIGN = {
    "foreign": (header(243), "a program for riscv64, and this machine is"),
    "windows": (b"MZ\x90\0\3", "a program for Windows"),
    "macos": (b"\xcf\xfa\xed\xfe\7\0\0\1", "a program for macOS"),
    "bytes": (b"\1\2\3\0\4", "neither a program for this machine nor a script"),
    "musl": (header(62, 64, b"/lib/ld-musl-none.so.1"), "built for musl (Alpine)"),
    "glibc": (header(62, 64, b"/lib64/ld-none.so.2"), "loader /lib64/ld-none.so.2 does not exist"),
    "x32": (header(3, 32, b"/lib/ld-none.so.2"), "a 32-bit program (i386)"),
    # A shell must not misread what another interpreter is meant for.
    "script": (b"#!./foreign\necho wrong\n", "its interpreter ./foreign is a program for riscv64"),
}


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="what is foreign differs")
def test_foreign_programs_are_named(tmp_path) -> None:
    apps = []
    for name, (content, _) in FOREIGN.items():
        program = tmp_path / name
        program.write_bytes(content)
        program.chmod(0o755)
        apps.append({"name": name, "script": f"./{name}", "max_restarts": 0, "on_errored": "keep"})
    with Run(tmp_path, apps) as run:
        for name, (_, said) in FOREIGN.items():
            assert said in run.event("worker failed to start", app=name)["reason"]
        assert not [line for line in run.records if line.get("stream")]
        run.stop()
