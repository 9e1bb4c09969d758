"""A pyinit in a PID namespace of its own: started, asked, signalled, looked at from outside."""

from __future__ import annotations

import ctypes
import http.client
import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

from tests.support.namespace import own_namespace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.chaos.scene import Scene

PYINIT = Path(sys.executable).parent / "pyinit"
ANSWER = 30.0  # seconds for an answer of PID 1 on a machine that is busy
UNIFIED = Path("/sys/fs/cgroup")
# What all processes of the run may have. It is set before pyinit starts, as in a container:
# pyinit then makes workers the first victims of the kernel's out-of-memory killer.
MEMORY = 768 << 20
NAME = f"pyinit-chaos-{os.urandom(4).hex()}"
# The file that limits memory: of cgroup v1, or v2.
MEMORY_LIMITS = ("memory.limit_in_bytes", "memory.max")


class Harness:
    """One run. Lines of stdout go to `take` in a thread."""

    def __init__(self, scene: Scene, take: Callable[[bytes], None]) -> None:
        self.scene = scene
        self._take = take
        self.pids_group = _group("pids", "pids.max")
        self.memory_group = _group("memory", *MEMORY_LIMITS)
        groups = {each for each in (self.pids_group, self.memory_group) if each is not None}
        if self.memory_group is not None:
            _limit(self.memory_group, MEMORY)
        read, write = os.pipe()
        command = own_namespace(PYINIT)
        enter = "".join(f"echo $$ > {group / 'cgroup.procs'}; " for group in sorted(groups))
        self._groups = groups
        command = ["sh", "-c", f'{enter}exec "$@"', "sh", *command]
        self.stderr = open(scene.folder / "stderr", "w+b")
        self.process = subprocess.Popen(
            [*command, "-c", str(scene.seen_disk / scene.path.name)],
            cwd=scene.folder,
            env={**os.environ, "PYINIT_MEASURE_TURNS": "1"},
            stdin=subprocess.DEVNULL,
            stdout=write,
            stderr=self.stderr,
            preexec_fn=_end_with_parent,
        )
        os.close(write)
        self._out = os.fdopen(read, "rb", 0)
        self.reading = threading.Event()
        self.reading.set()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.pid = self._pid()
        self.proc = Path(f"/proc/{self.pid}/root/proc")

    def _pid(self) -> int:
        end = time.monotonic() + ANSWER
        while time.monotonic() < end:
            found = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
            if found:
                return int(found.split()[0])
            time.sleep(0.01)
        raise AssertionError(f"pyinit did not start: {self.said()}")

    def _read(self) -> None:
        rest = b""
        while True:
            self.reading.wait()
            data = self._out.read(1 << 16)
            if not data:
                break
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                self._take(line)
        if rest:
            self._take(rest)

    def said(self) -> str:
        """Everything on stderr."""
        self.stderr.seek(0)
        return self.stderr.read().decode("utf-8", "replace")

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def signal(self, signum: int) -> None:
        os.kill(self.pid, signum)

    def finish(self, deadline: float) -> int:
        """Wait for the end; its exit code. Raises TimeoutExpired."""
        self.reading.set()
        code = self.process.wait(deadline)
        self._reader.join(ANSWER)
        return code

    def close(self) -> None:
        self.reading.set()
        if self.alive:
            self.process.kill()
        self.process.wait()
        self._reader.join(ANSWER)
        self._out.close()
        for group in self._groups:
            try:
                group.rmdir()
            except OSError:
                pass  # a process is still ending

    # -- asking ---------------------------------------------------------------------------

    def probe(self, path: str, deadline: float = ANSWER) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(
            "127.0.0.1", self.scene.probe_port, timeout=deadline
        )
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def status(self) -> dict:
        return json.loads(self.probe("/status")[1])

    def ask(self, method: str, target: str, deadline: float = ANSWER) -> bytes:
        """A command over the private socket: the body of the answer.

        Raises TimeoutError when it is not whole by then, also while lines come.
        """
        end = time.monotonic() + deadline
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(deadline)
            sock.connect(str(self.scene.control))
            sock.sendall(f"{method} /control/{target} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            answer = b""
            while True:
                sock.settimeout(max(0.001, end - time.monotonic()))
                data = sock.recv(1 << 16)
                answer += data
                head, found, body = answer.partition(b"\r\n\r\n")
                length = head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]
                if not data or (found and length and len(body) >= int(length)):
                    return body

    def begin(self, method: str, target: str) -> None:
        """A command whose end nobody waits for: read by a thread of its own."""

        def follow() -> None:
            try:
                self.ask(method, target, 120.0)
            except OSError:
                pass

        threading.Thread(target=follow, daemon=True).start()

    def shown(self) -> dict:
        """What `pyinit ls --json` shows, but for CPU and memory."""
        return json.loads(self.ask("GET", "apps"))

    # -- looking --------------------------------------------------------------------------

    def processes(self) -> dict[int, list[str]]:
        """Fields of /proc/PID/stat after the name, by the pid inside."""
        found = {}
        for entry in os.listdir(self.proc):
            if entry.isdigit():
                try:
                    text = (self.proc / entry / "stat").read_text()
                except OSError:
                    continue
                found[int(entry)] = text.rpartition(") ")[2].split()
        return found

    def outer(self) -> dict[int, int]:
        """Our numbers of the processes inside, by the pid there."""
        namespace = os.stat(f"/proc/{self.pid}/ns/pid").st_ino
        found = {}
        for entry in os.listdir("/proc"):
            if not entry.isdigit():
                continue
            try:
                if os.stat(f"/proc/{entry}/ns/pid").st_ino != namespace:
                    continue
                status = Path(f"/proc/{entry}/status").read_text()
            except OSError:
                continue
            numbers = next(x for x in status.splitlines() if x.startswith("NSpid:")).split()
            found[int(numbers[-1])] = int(entry)
        return found

    def kill(self, inner: int, signum: int) -> bool:
        """Signal a process inside; False when there is none."""
        outer = self.outer().get(inner)
        try:
            if outer is not None:
                os.kill(outer, signum)
        except ProcessLookupError:
            return False
        return outer is not None

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def files(self) -> tuple[str, ...]:
        """What the descriptors of PID 1 are: paths, or kinds without their numbers."""
        folder = f"/proc/{self.pid}/fd"
        found = []
        for name in os.listdir(folder):
            try:
                found.append(re.sub(r"[0-9]+", "N", os.readlink(f"{folder}/{name}")))
            except OSError:
                continue
        return tuple(sorted(found))

    def memory(self) -> int:
        """Resident anonymous memory of PID 1, bytes."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        line = next(x for x in status.splitlines() if x.startswith("RssAnon:"))
        return int(line.split()[1]) * 1024

    def limit(self, kind: int, soft: int) -> tuple[int, int]:
        """Set a soft limit of PID 1; what the limits were."""
        before = resource.prlimit(self.pid, kind)
        resource.prlimit(self.pid, kind, (soft, before[1]))
        return before

    def limits(self, kind: int, both: tuple[int, int]) -> None:
        resource.prlimit(self.pid, kind, both)


def _end_with_parent() -> None:
    """A run that is killed leaves no pyinit that works beside the tests that follow."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def _group(controller: str, *files: str) -> Path | None:
    """A control group that has one of the files; None where none can be made.

    One group of cgroup v2 has the files of all controllers.
    """
    for root in (UNIFIED / controller, UNIFIED):
        group = root / NAME
        try:
            group.mkdir(exist_ok=True)
            if any((group / file).exists() for file in files):
                return group
            group.rmdir()
        except OSError:
            continue
    return None


def _limit(group: Path, size: int) -> None:
    for name in MEMORY_LIMITS:
        if (group / name).exists():
            (group / name).write_text(str(size))
    for name in ("memory.swap.max", "memory.memsw.limit_in_bytes"):
        try:
            (group / name).write_text(str(size if "memsw" in name else 0))
        except OSError:
            continue  # no swap is accounted for
