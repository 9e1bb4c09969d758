"""`pyinit -- CMD`, inspected from outside: for `pyinit health` and `pyinit ls`.

In that mode PID 1 opens no socket and answers no requests: it must cost as little as tini. So its
clients read /proc, which shows everything: whether pyinit runs in that mode, and
the state of its one child.
"""

from __future__ import annotations

import os
import time

from entrypoint.core.record import Record
from entrypoint.kernel import proc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from entrypoint.kernel.proc import ProcessStat

# tini's options, which begin that mode as `--` does (boot.py).
OPTIONS = "gspevw"
_STATES = {"Z": "has ended", "X": "has ended", "T": "is stopped by a signal"}


class Single(Record):
    """One pyinit in that mode, and its child, if that lives."""

    init: ProcessStat
    command: tuple[str, ...]
    child: ProcessStat | None

    @property
    def failure(self) -> str:
        """Why it is not healthy; empty if it is."""
        if self.init.state in _STATES:
            return f"pyinit {_STATES[self.init.state]}"
        if self.child is None:
            return "the command has ended"
        if self.child.state in _STATES:
            return f"the command {_STATES[self.child.state]}"
        return ""

    @property
    def uptime(self) -> float:
        """Seconds since the command was started."""
        if self.child is None:
            return 0.0
        return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - self.child.started / proc.TICKS)


def find(uids: tuple[int, ...]) -> Single | None:
    """The one of this container: process 1, else the only one of these users.

    One in another mount namespace, of a pod's other container, does not count.
    """
    first = _look(1)
    if first is not None:
        return first
    found = [_look(pid) for pid in proc.processes() if pid != 1 and _owner(pid) in uids]
    here = [single for single in found if single is not None and _is_here(single.init.pid)]
    return here[0] if len(here) == 1 else None


def command_of(argv: tuple[str, ...]) -> tuple[str, ...]:
    """CMD of `pyinit [OPTIONS] -- CMD…`, also with the interpreter before it; else empty."""
    # The packaged program is its own interpreter.
    at = 0 if argv and _is_pyinit(argv[0]) else 1
    # Options of the interpreter: `python3 -E -P /usr/bin/pyinit`, `python3 -m entrypoint`.
    while at < len(argv) and argv[at][:1] == "-" and argv[at] != "-m":
        at += 1
    if argv[at : at + 2] == ("-m", "entrypoint"):
        at += 1
    elif at >= len(argv) or not _is_pyinit(argv[at]):
        return ()
    rest = argv[at + 1 :]
    first = rest[0] if rest else ""
    if first == "--" or (len(first) > 1 and first[0] == "-" and first[1] in OPTIONS):
        return _after_options(rest)
    return ()


def _is_pyinit(script: str) -> bool:
    """Also by another name: `ln -s pyinit /sbin/tini`."""
    name = os.path.basename(script)
    return name == "pyinit" or os.path.basename(os.path.realpath(script)) == "pyinit"


def _after_options(words: tuple[str, ...]) -> tuple[str, ...]:
    at = 0
    while at < len(words):
        word = words[at]
        at += 1
        if word == "--":
            return words[at:]
        if word[:1] != "-" or len(word) < 2:
            return words[at - 1 :]
        # A last letter `p` or `e` takes the next word (command.Options).
        letters = word[1:]
        while letters and letters[0] not in "pe":
            letters = letters[1:]
        at += letters in ("p", "e")
    return ()


def _look(pid: int) -> Single | None:
    command = command_of(proc.command(pid))
    init = proc.stat(pid) if command else None
    if init is None:
        return None
    # The command was there before any orphan came.
    members = [found for child in proc.children(pid) if (found := proc.stat(child)) is not None]
    child = min(members, key=lambda member: (member.started, member.pid), default=None)
    return Single(init, command, child)


def _owner(pid: int) -> int:
    try:
        return os.stat(f"/proc/{pid}").st_uid
    except OSError:
        return -1


def _is_here(pid: int) -> bool:
    try:
        return os.stat(f"/proc/{pid}/ns/mnt").st_ino == os.stat("/proc/self/ns/mnt").st_ino
    except OSError:
        return False


def listed(single: Single) -> dict[str, Any]:
    """Its row for `pyinit ls`, in the form of an app of a file."""
    child = single.child
    worker = {
        "id": 0,
        "instance": 0,
        "pid": child.pid if child is not None else 0,
        "uptime": single.uptime,
        "restarts": 0,
        "status": "stopped" if single.failure else "online",
        "said": "",
        "reloading": False,
        "health_reason": "",
    }
    apps = [
        {
            "name": os.path.basename(single.command[0]),
            "mode": "command",
            "listening": [],
            "stopped": bool(single.failure),
            "wanted": 1,
            "workers": [worker],
        }
    ]
    return {"apps": apps, "phase": "running", "revision": 0, "config_error": ""}
