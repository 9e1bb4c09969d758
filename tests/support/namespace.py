"""PID namespaces: one for the tests, and one more for each init that they start.

An init ends with kill(-1). In a PID namespace that reaches its own processes; outside
one, every process of the machine. So pytest starts itself again below `unshare` before
it runs anything (tests/conftest.py), and `Init` starts nothing unless that is so.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.support.wait import TIMEOUT, wait_until

ROOT = Path(__file__).resolve().parents[2]
PYINIT = ROOT / "scripts/pyinit"

# The namespace that pytest was started in: we are inside when ours is another.
_MARK = "PYINIT_TESTS_STARTED_IN"
_FLAGS = ("--pid", "--fork", "--mount-proc", "--kill-child")

# Process 1 of the tests' namespace: runs pytest, and reaps what tests leave behind.
_REAPER = '"$@"; exit $?'


class NoNamespaceError(Exception):
    """No PID namespace can be made here."""


def _namespace():
    return os.readlink("/proc/self/ns/pid")


def inside():
    """This process is in a PID namespace that was made for the tests."""
    return os.environ.get(_MARK, _namespace()) != _namespace()


def environment():
    """The environment for `reexecute`'s command."""
    return {**os.environ, _MARK: _namespace()}


def _unshare():
    program = shutil.which("unshare")
    if program is None:
        raise NoNamespaceError("there is no `unshare` (package util-linux)")
    attempts = [[program, *_FLAGS]]
    if os.geteuid() != 0:
        attempts = [[program, "--user", "--map-root-user", *_FLAGS]]
    said = ""
    for attempt in attempts:
        tried = subprocess.run([*attempt, "true"], capture_output=True, text=True, check=False)
        if tried.returncode == 0:
            return attempt
        said = tried.stderr.strip()
    raise NoNamespaceError(
        f"they need a PID namespace of their own, and {' '.join(attempts[-1])} says: {said}"
    )


def reexecute(command):
    """The command line that runs `command` in a new namespace. Raises NoNamespaceError."""
    return [*_unshare(), "sh", "-c", _REAPER, "tests", *command]


def own_namespace(*command):
    """The command line that runs `command` as PID 1 of a PID namespace of its own.

    Raises NoNamespaceError outside a namespace that was made for the tests: an `unshare` that
    were not given there would leave an init beside everything on the machine.
    """
    if not inside():
        raise NoNamespaceError("an init is only started in a namespace made for tests")
    return ["unshare", *_FLAGS, *(str(word) for word in command)]


def enter(module):
    """Run `python -m MODULE` with our arguments in a namespace made for tests, if we are in none.

    For programs that start inits and are not run by pytest. Raises NoNamespaceError.
    """
    if not inside():
        command = reexecute([sys.executable, "-m", module, *sys.argv[1:]])
        os.execvpe(command[0], command, environment())


class Init:
    """A program started as PID 1 of a fresh PID namespace, or beside us.

    `with Init([...]) as init:` ends it, and its whole namespace, at the end of the
    block. Output is collected; `pid` is the program's as seen from here.
    """

    def __init__(self, command, *, pid1=True, env=None, stdin=subprocess.DEVNULL, **popen):
        # Beside us it ends with kill(-1) too.
        in_namespace = own_namespace(*command)
        self.pid1 = pid1
        self._files = [tempfile.TemporaryFile() for _ in range(2)]
        self.process = subprocess.Popen(
            in_namespace if pid1 else [str(word) for word in command],
            env={**os.environ, **(env or {})},
            stdin=stdin,
            stdout=self._files[0],
            stderr=self._files[1],
            **popen,
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            # Their init's end (--kill-child) ends all processes of a namespace; beside
            # us what it started has to be looked for.
            family = [self.process.pid] if self.pid1 else descendants(self.process.pid)
            for pid in reversed(family):
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
        self.process.wait(TIMEOUT)
        for file in self._files:
            file.close()

    @property
    def pid(self):
        if not self.pid1:
            return self.process.pid
        return wait_until(lambda: children(self.process.pid), self.story)[0]

    @property
    def out(self):
        """What came on stdout so far."""
        return self._text(0)

    @property
    def err(self):
        """What came on stderr so far."""
        return self._text(1)

    @property
    def lines(self):
        """Whole lines of stdout so far."""
        return [line for line in self.out.splitlines(keepends=True) if line.endswith("\n")]

    def _text(self, which):
        file = self._files[which]
        size = os.fstat(file.fileno()).st_size
        return os.pread(file.fileno(), size, 0).decode("utf-8", "replace")

    def story(self):
        return f"{self.process.args!r}\n--- stdout\n{self.out}--- stderr\n{self.err}"

    def says(self, text, timeout=TIMEOUT):
        """Wait for the text on stdout."""
        wait_until(lambda: text in self.out, lambda: f"{text!r}\n{self.story()}", timeout)

    def signal(self, number):
        os.kill(self.pid, number)

    def wait(self, timeout=TIMEOUT):
        """The exit code as a shell sees it."""
        try:
            code = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it did not end\n{self.story()}") from None
        return code if code >= 0 else 128 - code

    def processes(self):
        """All processes of its namespace but itself, as seen from here."""
        space = os.stat(f"/proc/{self.pid}/ns/pid").st_ino
        found = []
        for entry in os.listdir("/proc"):
            try:
                if entry.isdigit() and os.stat(f"/proc/{entry}/ns/pid").st_ino == space:
                    found.append(int(entry))
            except OSError:
                continue
        return [pid for pid in found if pid != self.pid]


def children(pid):
    """Its children, in the order of their start."""
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def descendants(pid):
    """`pid` and all below it."""
    found = [pid]
    for member in found:
        found.extend(children(member))
    return found


def state(pid):
    """The letter of its state (R, S, T, Z…); empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][:1]
    except OSError:
        return ""


def signal_sets(status):
    """`SigBlk`, `SigIgn`, `SigCgt` as sets of numbers, from the text of /proc/PID/status.

    Without 32 and 33, which are the C library's own: sigprocmask(3) leaves them as they
    are, and some shells and runners leave one blocked.
    """
    sets = {}
    for line in status.splitlines():
        key, _, value = line.partition(":")
        if key.startswith("Sig") and key != "SigQ":
            bits = int(value, 16)
            sets[key] = {
                number
                for number in range(1, 65)
                if bits >> (number - 1) & 1 and number not in (32, 33)
            }
    return sets


PYTHON = sys.executable
