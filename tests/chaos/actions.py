"""What is done to pyinit and its workers, one thing at a time, chosen by the seed."""

from __future__ import annotations

import os
import resource
import signal
import socket
import time
from collections import Counter, defaultdict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from random import Random

    from tests.chaos.harness import Harness
    from tests.chaos.scene import Scene


class Actions:
    """`one()` does the next; `kills` are the times at which workers were killed, by pid."""

    def __init__(self, harness: Harness, scene: Scene, rng: Random, *, brief: bool = False) -> None:
        """`brief`: the shortest pauses."""
        self._harness = harness
        self._scene = scene
        self.rng = rng
        self._brief = brief
        self.done: Counter[str] = Counter()
        self.kills: defaultdict[int, list[float]] = defaultdict(list)
        self.skipped: set[str] = set()
        self._stopped: set[int] = set()
        self._table = [
            (self.kill_worker, 6),
            (self.suspend, 3),
            (self.reload, 5),
            (self.restart, 2),
            (self.scale, 4),
            (self.change_file, 5),
            (self.hup, 2),
            (self.break_file, 2),
            (self.slow_file, 1),
            (self.slow_disk, 3),
            (self.flood, 3),
            (self.flood_notify, 2),
            (self.full_stdout, 2),
            (self.no_descriptors, 2),
            (self.no_processes, 2),
            (self.no_memory, 1),
            (self.memory_limit, 2),
            (self.touch_watched, 2),
            (self.stop_and_start, 3),
            (self.odd_clients, 2),
            (self.many_questions, 2),
        ]
        if scene.disk is None:
            self._table = [each for each in self._table if each[0] != self.slow_disk]
            self.skipped.add("SLOW DISKS: no fuse(4) here; a FIFO stands for the file")
        else:
            # The file system would show it as a FIFO of its own.
            self._table = [each for each in self._table if each[0] != self.slow_file]
        if harness.pids_group is None:
            self._table = [each for each in self._table if each[0] != self.no_processes]
            self.skipped.add("PIDS LIMIT: no control group can be made here")
        if harness.memory_group is None:
            self._table = [each for each in self._table if each[0] != self.memory_limit]
            self.skipped.add("MEMORY LIMIT: no control group can be made here")

    def one(self) -> None:
        actions, weights = zip(*self._table, strict=True)
        (action,) = self.rng.choices(actions, weights)
        self._do(action)

    def each(self) -> Iterator[None]:
        """Every action once, in an order chosen by the seed."""
        for action, _ in self.rng.sample(self._table, len(self._table)):
            self._do(action)
            yield

    def rest(self) -> None:
        """A moment between two actions."""
        self._pause(0.0, 0.05, 0.3)

    def _do(self, action: Callable[[], None]) -> None:
        self.done[action.__name__.replace("_", " ")] += 1
        action()

    def _pause(self, *seconds: float) -> None:
        time.sleep(min(seconds) if self._brief else self.rng.choice(seconds))

    def _rows(self, *apps: str) -> list[dict]:
        shown = self._harness.shown()
        return [
            {**row, "app": app["name"]}
            for app in shown["apps"]
            if not apps or app["name"] in apps
            for row in app["workers"]
            if row["pid"]
        ]

    def _names(self) -> list[str]:
        return [app["name"] for app in self._harness.shown()["apps"]]

    # -- workers ----------------------------------------------------------------------------

    def kill_worker(self) -> None:
        rows = self._rows("web", "web", "talker", "notifier", "job")
        if not rows:
            return
        row = self.rng.choice(rows)
        signum = self.rng.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGSEGV))
        self.kills[row["pid"]].append(time.monotonic())
        self._harness.kill(row["pid"], signum)

    def suspend(self) -> None:
        """SIGSTOP, for less or more than the checks and stops wait."""
        rows = self._rows("web", "talker", "notifier")
        if not rows:
            return
        pid = self.rng.choice(rows)["pid"]
        self._harness.kill(pid, signal.SIGSTOP)
        if self.rng.random() < 0.3:
            self._harness.begin("POST", "reload?app=all")
        self._pause(0.1, 0.5, 2.0)
        self._harness.kill(pid, signal.SIGCONT)

    # -- commands ---------------------------------------------------------------------------

    def reload(self) -> None:
        self._harness.begin("POST", f"reload?app={self.rng.choice([*self._names(), 'all'])}")

    def restart(self) -> None:
        # A restart of the web app refuses nothing, and its workers leave politely.
        self._harness.begin("POST", f"restart?app={self.rng.choice(self._names())}")

    def scale(self) -> None:
        app = self.rng.choice(("web", "web", "talker", "notifier"))
        count = self.rng.randint(1, self._scene.most_web if app == "web" else 4)
        self._harness.begin("POST", f"scale?app={app}&to={count}")

    def stop_and_start(self) -> None:
        app = self.rng.choice([name for name in self._names() if name != "web"])
        self._harness.ask("POST", f"stop?app={app}", 60)
        self._pause(0, 0.3)
        self._harness.begin("POST", f"start?app={app}")

    def many_questions(self) -> None:
        for _ in range(30):
            self._harness.ask("GET", self.rng.choice(("apps", "describe?app=web", "journal")))

    # -- the file -----------------------------------------------------------------------------

    def change_file(self) -> None:
        kind = self._scene.change(self.rng)
        self.done[f"  {kind} changed"] += 1
        self._harness.signal(signal.SIGHUP)

    def hup(self) -> None:
        self._harness.signal(signal.SIGHUP)

    def break_file(self) -> None:
        whole = self._scene.path.read_bytes()
        text = self.rng.choice((b"apps: [", b"apps: 3\n", b"\xff\xfe", whole[: len(whole) // 2]))
        self._scene.path.write_bytes(text)
        self._harness.signal(signal.SIGHUP)
        self._pause(0.05, 0.5)
        self._scene.write()

    def slow_file(self) -> None:
        """A disk that does not answer for a while: whoever opens the file waits."""
        path = self._scene.path
        fifo = path.with_suffix(".fifo")
        os.mkfifo(fifo)
        fifo.rename(path)
        self._harness.signal(signal.SIGHUP)
        self._pause(0.3, 2.0)
        try:
            fd = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
            os.close(fd)  # whoever waits reads an empty file
        except OSError:
            pass  # nobody has opened it yet
        self._scene.write()

    def slow_disk(self) -> None:
        """The file, what it includes and the workers' folder are on a disk that is late."""
        assert self._scene.disk is not None
        self._scene.disk.delay = self.rng.choice((0.05, 0.5, 2.0))
        self._harness.signal(signal.SIGHUP)
        self._kill_something()
        self._pause(0.3, 2.0)
        self._scene.disk.delay = 0.0

    # -- signals and streams --------------------------------------------------------------------

    def flood(self) -> None:
        signums = (signal.SIGUSR1, signal.SIGCHLD, signal.SIGHUP, signal.SIGCONT)
        for _ in range(self.rng.choice((100, 2000))):
            self._harness.signal(self.rng.choice(signums[: self.rng.choice((2, 4))]))

    def flood_notify(self) -> None:
        self._harness.ask("POST", "signal?app=notifier&signal=SIGUSR1")

    def full_stdout(self) -> None:
        self._harness.reading.clear()
        self._pause(0.5, 3.0)
        self._harness.reading.set()

    def odd_clients(self) -> None:
        """Clients of probes and control that say nothing, half of it, or nonsense."""
        socks = []
        for _ in range(20):
            family = self.rng.choice((socket.AF_INET, socket.AF_UNIX))
            sock = socket.socket(family)
            sock.settimeout(5)
            try:
                if family == socket.AF_INET:
                    sock.connect(("127.0.0.1", self._scene.probe_port))
                else:
                    sock.connect(str(self._scene.control))
                sock.sendall(self.rng.choice((b"", b"GET /li", b"\0" * 100, b"GET / HTTP/1.1\r\n")))
            except OSError:
                pass
            socks.append(sock)
        time.sleep(0.2)
        for sock in socks:
            sock.close()

    def touch_watched(self) -> None:
        for number in range(self.rng.randint(1, 30)):
            (self._scene.watched / f"file{number % 5}").write_text(str(number))

    # -- shortages --------------------------------------------------------------------------------

    def _kill_something(self) -> None:
        rows = self._rows("talker", "notifier")
        for row in rows[:1]:
            self.kills[row["pid"]].append(time.monotonic())
            self._harness.kill(row["pid"], signal.SIGKILL)

    def no_descriptors(self) -> None:
        rows = self._rows("talker", "notifier")
        before = self._harness.limit(
            resource.RLIMIT_NOFILE, self._harness.descriptors() + self.rng.choice((0, 3, 8))
        )
        try:
            for row in rows[:1]:
                self.kills[row["pid"]].append(time.monotonic())
                self._harness.kill(row["pid"], signal.SIGKILL)
            self._harness.signal(signal.SIGHUP)
            self._pause(0.3, 1.5)
        finally:
            self._harness.limits(resource.RLIMIT_NOFILE, before)

    def no_processes(self) -> None:
        group = self._harness.pids_group
        assert group is not None
        now = int((group / "pids.current").read_text())
        (group / "pids.max").write_text(str(now + self.rng.choice((0, 1))))
        try:
            self._kill_something()
            self._harness.begin("POST", "reload?app=web")
            self._pause(0.3, 1.5)
        finally:
            (group / "pids.max").write_text("max")

    def memory_limit(self) -> None:
        """A worker takes all memory of the control group: the kernel kills a process."""
        for row in self._rows("hog"):
            self._harness.kill(row["pid"], signal.SIGUSR1)

    def no_memory(self) -> None:
        """Too little address space for PID 1 and for what it starts meanwhile."""
        status = (self._harness.proc / "1/status").read_text()
        size = int(next(x for x in status.splitlines() if x.startswith("VmSize:")).split()[1])
        rows = self._rows("talker", "notifier")
        before = self._harness.limit(
            resource.RLIMIT_AS, size * 1024 + self.rng.choice((0, 1 << 20))
        )
        try:
            for row in rows[:1]:
                self.kills[row["pid"]].append(time.monotonic())
                self._harness.kill(row["pid"], signal.SIGKILL)
            self._pause(0.3, 1.0)
        finally:
            self._harness.limits(resource.RLIMIT_AS, before)
