"""Real programs under real `Ports`: a loop in a thread, workers forked as pyinit does."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

from entrypoint.core.spec import AppSpec, ListenSpec
from entrypoint.kernel import child_report, kill, process, signals
from entrypoint.loop import READ, Loop
from entrypoint.sockets.pending_calls import Pending
from entrypoint.sockets.ports import Ports
from tests.support.wait import wait_until

NODE_MODULES = Path(__file__).parents[1] / "node" / "node_modules"


def spec(text: str, **more) -> ListenSpec:
    """`5000`, `0.0.0.0:80`, `[::]:80`, `unix:/run/a` as the file's loader reads them."""
    if text.startswith("unix:"):
        return ListenSpec("unix", path=text[5:], **more)
    host, _, port = text.rpartition(":")
    if not host or host.startswith("["):
        return ListenSpec("inet6", host=host.strip("[]") or "::", port=int(port), **more)
    return ListenSpec("inet", host=host, port=int(port), **more)


def get(port: int, host: str = "127.0.0.1", timeout: float = 10.0) -> str:
    """The body of `GET /` over a connection of its own."""
    host = f"[{host}]" if ":" in host else host
    with urllib.request.urlopen(f"http://{host}:{port}/", timeout=timeout) as answer:
        return answer.read().decode()


class Worker:
    def __init__(self, incarnation: int, slot: int, child: process.Child) -> None:
        self.incarnation = incarnation
        self.slot = slot
        self.pid = child.pid
        self.channel = child.channel
        self.status: int | None = None
        self.failure = ""


class Lab:
    """The ports of one app and its workers; everything ends with the block."""

    def __init__(self, command, *, slots: int = 3, filtered: bool = True, **fields) -> None:
        fields.setdefault("exec_mode", "cluster")
        fields.setdefault("share", "slots")
        fields.setdefault("cwd", "/")
        self.app = AppSpec("app", tuple(command), **fields)
        self.filtered = filtered
        self.errors: list[BaseException] = []
        self.seen: list[tuple[int, str, dict]] = []
        self.logged: list[tuple[str, str, dict]] = []
        self.workers: list[Worker] = []
        # Children of Ports, to be reaped: pid, and what to call then.
        self.helpers: list[tuple[int, Callable[[int], None]]] = []
        self.lock = threading.RLock()
        self.loop = Loop(lambda _where, error: self.errors.append(error))
        self.ports = Ports(
            self.loop,
            self.app,
            lambda *line: self.logged.append(line),
            lambda *what: self.seen.append(what),
            Pending(self.loop, lambda *helper: self.helpers.append(helper)),
            pid_of=self._pid_of,
        )
        self.output = os.memfd_create("output")
        # As PID 1 has it: else nothing would interrupt what waits for a worker.
        signal.signal(signal.SIGXFSZ, lambda *_: None)
        self._ends = False
        with self.lock:
            self.ports.open(slots)
        self._thread = threading.Thread(target=self._turn, daemon=True)
        self._thread.start()

    def _turn(self) -> None:
        while not self._ends:
            with self.lock:
                self.loop.turn(0.01)
                self._reap_helpers()
            time.sleep(0.001)

    def _reap_helpers(self) -> None:
        for helper in tuple(self.helpers):
            pid, status = os.waitpid(helper[0], os.WNOHANG)
            if pid:
                self.helpers.remove(helper)
                helper[1](status)

    def _pid_of(self, incarnation: int) -> int:
        worker = self.workers[incarnation - 1]
        return worker.pid if worker.status is None else 0

    def start(self, slot: int = 0, **env: str) -> Worker:
        """A worker on a slot."""
        with self.lock:
            incarnation = len(self.workers) + 1
            full = {**os.environ, **dict(self.app.env), **env, "SLOT": str(slot)}
            for name in ("LISTEN_FDS", "LISTEN_PID", "NODE_CHANNEL_FD"):
                full.pop(name, None)
            given = self.ports.descriptors(slot)
            keep = [(fd, number) for number, (fd, _) in enumerate(given, 3)]
            if given:
                full["LISTEN_FDS"] = str(len(given))
            if self.ports.wants_node_channel():
                offer = self.ports.node_channel(incarnation, slot)
                keep.append((offer.child_fd, offer.child_fd))
                full.update(offer.env)
            words = {"{fd}": "3", "{port}": str(self.ports.first_port())}
            argv = [words.get(word, word) for word in self.app.command]
            filtered = self.filtered and self.ports.wants_filter()
            child = process.spawn(
                process.SpawnRequest(
                    argv=tuple(argv),
                    env=full,
                    cwd=self.app.cwd,
                    uid=self.app.uid,
                    gid=self.app.gid,
                    stdout=self.output,
                    stderr=self.output,
                    keep_fds=tuple(keep),
                    own_pid=("LISTEN_PID",) if given else (),
                    parent_death_signal=0,
                    install_filter=filtered,
                    filter_calls=self.ports.filter_calls(incarnation) if filtered else (),
                )
            )
            self.ports.node_started(incarnation, child.pid)
            worker = Worker(incarnation, slot, child)
            self.workers.append(worker)
            self.loop.register(child.channel, READ, lambda _events: self._channel(worker))
        return worker

    def _channel(self, worker: Worker) -> None:
        for message in child_report.read_channel(worker.channel):
            if isinstance(message, child_report.FilterInstalled):
                self.ports.attach_filter(worker.incarnation, worker.slot, message.fd)
            elif isinstance(message, child_report.Executing):
                continue
            elif isinstance(message, child_report.Execed):
                self.loop.unregister(worker.channel)
                os.close(worker.channel)
            else:
                worker.failure = repr(message)
                self.loop.unregister(worker.channel)
                os.close(worker.channel)

    def happened(self, what: str, worker: Worker | None = None) -> list[dict]:
        return [
            fields
            for incarnation, name, fields in self.seen
            if name == what and (worker is None or incarnation == worker.incarnation)
        ]

    def listening(self, *workers: Worker) -> None:
        """Wait until each of them has listened."""
        for worker in workers:
            wait_until(
                lambda w=worker: self.happened("listening", w) or self._ended(w),
                what=f"worker {worker.incarnation} listens",
            )
            assert self.happened("listening", worker), self.text()

    def _ended(self, worker: Worker) -> bool:
        if worker.status is None:
            pid, status = os.waitpid(worker.pid, os.WNOHANG)
            if pid:
                worker.status = status
        return worker.status is not None

    def run(self, count: int = 2, **env: str) -> list[Worker]:
        """Workers on slots 0… at the same time, until all listen; steered to them."""
        workers = [self.start(slot, **env) for slot in range(count)]
        self.listening(*workers)
        self.steer(*range(count))
        return workers

    def steer(self, *slots: int) -> None:
        with self.lock:
            self.ports.steer(slots)

    def queue(self, slot: int) -> int:
        with self.lock:
            return self.ports.queue_length(slot)

    def stop(self, worker: Worker, number: int = signal.SIGTERM, timeout: float = 10.0) -> int:
        """Signal the worker's group, wait, forget it; its wait status."""
        if not self._ended(worker):
            kill.send_signal(worker.pid, number, group=True)
            try:
                wait_until(lambda: self._ended(worker), timeout=timeout)
            except AssertionError:
                kill.send_signal(worker.pid, signals.SIGKILL, group=True)
                wait_until(lambda: self._ended(worker))
        try:
            kill.send_signal(worker.pid, signals.SIGKILL, group=True)
        except OSError:
            pass
        with self.lock:
            self.ports.forget(worker.incarnation)
        return worker.status

    def text(self) -> str:
        """All that the workers wrote."""
        size = os.fstat(self.output).st_size
        return os.pread(self.output, size, 0).decode(errors="replace")

    def bound(self) -> set[int]:
        """TCP ports on which any process of the workers (or we) listen, by /proc."""
        pids = {str(worker.pid) for worker in self.workers if worker.status is None}
        groups = {str(worker.pid) for worker in self.workers}
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                try:
                    stat = Path(f"/proc/{entry}/stat").read_text()
                except OSError:
                    continue
                if stat.rpartition(")")[2].split()[2] in groups:
                    pids.add(entry)
        listing = subprocess.run(
            ["ss", "-Hltnp"], capture_output=True, text=True, check=True
        ).stdout
        found = set()
        for line in listing.splitlines():
            if pids & set(re.findall(r"pid=(\d+)", line)):
                found.add(int(line.split()[3].rpartition(":")[2]))
        return found

    def __enter__(self) -> Lab:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.workers:
            self.stop(worker, signals.SIGKILL)
        self._ends = True
        self._thread.join()
        self.ports.close()
        self.loop.close()
        os.close(self.output)
        assert not self.errors, self.errors
