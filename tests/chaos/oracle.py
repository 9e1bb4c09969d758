"""Whether what pyinit shows is so, and whether everything is back where it was."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from entrypoint.core.record import Record
from entrypoint.journal import document, packing
from entrypoint.journal.replay import replay
from tests.support.commands import PYINIT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tests.chaos.harness import Harness
    from tests.chaos.load import Lost
    from tests.chaos.logbook import LogBook
    from tests.chaos.scene import Scene

# Apps that crash or grow by design: they never come to rest.
RESTLESS = ("loop", "hog")
QUIET_WITHIN = 90.0
ZOMBIE_FOR = 3.0
# One each 0.2 s.
LOOKS = 3
REPLAY_WITHIN = 300.0
# What PID 1 may have more of in the end: what Python's heap keeps after a busy time.
MEMORY_MORE = 10_000_000
# A killed worker that had accepted a connection and had not noted it yet.
NEAR = 1.0


class Level(Record):
    """What PID 1 holds while nothing happens: the least of some looks."""

    descriptors: int
    timers: int
    memory: int
    files: tuple[str, ...] = ()  # what the descriptors are, without numbers


class Oracle:
    """Collects failures in `failures`, each a sentence."""

    def __init__(self, harness: Harness, scene: Scene, book: LogBook) -> None:
        self._harness = harness
        self._scene = scene
        self._book = book
        self.failures: list[str] = []
        self.comparisons = 0
        self.replayed = 0
        self.quiets = 0
        # The longest time in which something shown was not found (s), and what it was.
        self.late = (0.0, "")

    def fail(self, text: str) -> None:
        if len(self.failures) < 50:
            self.failures.append(text)
            print(f"  failure: {text}", file=sys.stderr, flush=True)

    # -- at any time ----------------------------------------------------------------------

    def compare(self) -> None:
        """What is shown twice alike, and was not so in between, for LOOKS looks: a failure.

        A worker is reaped before the core hears of its end. Between the two PID 1 may wait for
        a CPU, and for its turns: it handles a bounded part of a flood in each.
        """
        began, first = time.monotonic(), ""
        wrong: list[str] = []
        for _ in range(LOOKS):
            wrong = self._disagreements()
            if not wrong:
                break
            first = first or wrong[0]
            time.sleep(0.2)
        else:
            for text in wrong:
                self.fail(f"shown is not found: {text}")
        if first:
            self.late = max(self.late, (time.monotonic() - began, first))
        self.comparisons += 1

    def _disagreements(self) -> list[str]:
        before = _rows(self._harness.shown())
        processes = self._harness.processes()
        held = self._listeners()
        after = _rows(self._harness.shown())
        found = []
        owners: dict[int, int] = {}
        for key, row in before.items():
            if after.get(key) != row:
                continue
            app, pid, status = key[0], row["pid"], row["status"]
            what = f"{app} instance {row['instance']}, pid {pid}, {status}"
            stat = processes.get(pid)
            if pid and (stat is None or stat[0] == "Z"):
                found.append(f"{what}: the process is {'a zombie' if stat else 'gone'}")
            elif pid and stat is not None and stat[1] != "1":
                found.append(f"{what}: it is no child of PID 1 but of {stat[1]}")
            if status in {"stopped", "errored", "waiting restart"} and pid:
                found.append(f"{what}: it has a process")
            if app == "web" and row["ready"]:
                inodes = held.get(pid, set())
                if not inodes:
                    found.append(f"{what}: it holds no listener of the app")
                others = {owners.setdefault(inode, pid) for inode in inodes} - {pid}
                found += (f"{what}: shares a listener with {other}" for other in others)
        return found

    def _listeners(self) -> dict[int, set[int]]:
        """Inodes of the web app's listeners that each process inside holds."""
        inodes = set()
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and int(fields[1].split(":")[1], 16) == self._scene.web_port:
                inodes.add(int(fields[9]))
        found: dict[int, set[int]] = {}
        for inner in self._harness.processes():
            if inner == 1:
                continue
            folder = self._harness.proc / str(inner) / "fd"
            try:
                links = [os.readlink(folder / name) for name in os.listdir(folder)]
            except OSError:
                continue
            sockets = {int(x[8:-1]) for x in links if x.startswith("socket:[")}
            if inodes & sockets:
                found[inner] = inodes & sockets
        return found

    # -- while nothing is asked -------------------------------------------------------------

    def quiet(self) -> bool:
        """Wait until everything has come to rest, and look; False if it never does."""
        end = time.monotonic() + QUIET_WITHIN
        why = ""
        while time.monotonic() < end:
            first = self._harness.shown()
            why = _unrest(first)
            if not why:
                time.sleep(0.5)
                again = self._harness.shown()
                if _rows(first, restless=False) == _rows(again, restless=False):
                    break
                why = "workers change"
            time.sleep(0.2)
        else:
            self.fail(f"not at rest after {QUIET_WITHIN:g} s: {why}")
            return False
        self.quiets += 1
        self.compare()
        self._no_zombies()
        self._journal()
        self._probes_agree()
        return True

    def _no_zombies(self) -> None:
        first = self._zombies()
        end = time.monotonic() + ZOMBIE_FOR
        while first and time.monotonic() < end:
            time.sleep(0.1)
            first &= self._zombies()
        for pid in first:
            self.fail(f"process {pid} stays a zombie")

    def _zombies(self) -> set[int]:
        """Those that PID 1 has to reap; a worker's own are the worker's."""
        found = self._harness.processes()
        return {pid for pid, fields in found.items() if fields[0] == "Z" and fields[1] == "1"}

    def _journal(self) -> None:
        known = packing.kinds()
        dump = self._harness.ask("GET", "journal")
        text = list(document.lines(dump, known))
        journal = document.read(text, known)
        self.replayed += sum(len(segment.turns) for segment in journal.segments)
        differences = replay(journal)
        for difference in differences[:3]:
            self.fail(f"the journal is decided otherwise: {difference.what[:500]}")
        if differences:
            (self._scene.folder / f"journal-{self.quiets}").write_text("\n".join(text))

    def replay_command(self) -> str:
        """The last line of `pyinit replay` of what `pyinit journal` prints now."""
        path = self._scene.folder / "journal"
        known = packing.kinds()
        dump = self._harness.ask("GET", "journal")
        path.write_text("\n".join(document.lines(dump, known)) + "\n")
        done = subprocess.run(
            [PYINIT, "replay", path], capture_output=True, text=True, timeout=REPLAY_WITHIN
        )
        said = (done.stdout.strip() or done.stderr.strip()).rpartition("\n")[2]
        if done.returncode:
            self.fail(f"pyinit replay ends with {done.returncode}: {said}")
        return said

    def _probes_agree(self) -> None:
        """`/readyz` against what is found of the web app (`ready_when: all`)."""
        shown = self._harness.shown()
        code, said = self._harness.probe("/readyz?verbose")
        apps = {app["name"]: app for app in shown["apps"]}
        web = apps["web"]
        if "[+]web" not in said.decode() and web["ready"] == web["wanted"]:
            self.fail(f"/readyz says {code} {said!r} and web is ready: {web}")
        ready = sum(row["ready"] for row in web["workers"])
        if ready != web["ready"]:
            self.fail(f"{ready} rows of web are ready, {web['ready']} are said to be")

    # -- levels ---------------------------------------------------------------------------

    def level(self, count: int = 20) -> Level:
        """What PID 1 holds at rest: the least of so many looks."""
        looks = []
        for _ in range(count):
            status = self._harness.status()
            descriptors = self._harness.descriptors()
            looks.append((descriptors, status.get("timers", 0), self._harness.memory()))
            time.sleep(0.1)
        least = min(looks)
        _, timers, memory = (min(column) for column in zip(*looks, strict=True))
        return Level(least[0], timers, memory, self._harness.files())

    def back(self, before: Level, after: Level) -> None:
        if after.descriptors > before.descriptors:
            # What kinds of files there are more of.
            more = Counter(after.files) - Counter(before.files)
            kinds = ", ".join(f"{count} {name}" for name, count in more.items())
            counts = f"{after.descriptors} descriptors, {before.descriptors} in the beginning"
            self.fail(f"{counts}; more are: {kinds}")
        if after.timers > before.timers:
            self.fail(f"{after.timers} timers, {before.timers} in the beginning")
        if after.memory > before.memory + MEMORY_MORE:
            more = (after.memory - before.memory) / 1e6
            self.fail(f"{more:.1f} MB more memory than in the beginning")

    # -- requests ---------------------------------------------------------------------------

    def judge_lost(self, lost: list[Lost], kills: dict[int, list[float]]) -> dict[str, int]:
        """Only what a killed worker had accepted may be lost; counts by what it was."""
        accepted = self._accepted()
        times = [when for each in kills.values() for when in each]
        counts = {"in killed workers": 0, "beside a kill": 0, "unexplained": 0}
        for each in lost:
            holders = {
                pid
                for pid, when in accepted.get(each.local, ())
                if each.began - NEAR <= when <= each.ended + NEAR
            }
            killed = holders & (kills.keys() | self._book.killed.keys())
            near = any(each.began - NEAR <= when <= each.ended + NEAR for when in times)
            if killed:
                counts["in killed workers"] += 1
            elif not holders and near and each.local:
                # Accepted and not yet noted: between two system calls of the killed worker.
                counts["beside a kill"] += 1
            else:
                counts["unexplained"] += 1
                self.fail(f"lost: {each}; accepted by {sorted(holders) or 'nobody'}")
        return counts

    def _accepted(self) -> dict[int, list[tuple[int, float]]]:
        found: dict[int, list[tuple[int, float]]] = {}
        for path in self._scene.folder.glob("accepted-*"):
            pid = int(path.name.partition("-")[2])
            for line in path.read_text().splitlines():
                port, _, when = line.partition(" ")
                found.setdefault(int(port), []).append((pid, float(when or 0)))
        return found


def _rows(shown: dict, *, restless: bool = True) -> dict[tuple[str, int], dict]:
    keys = ("instance", "incarnation", "pid", "status", "ready")
    return {
        (app["name"], row["incarnation"] or -1 - row["instance"]): {k: row[k] for k in keys}
        for app in shown["apps"]
        for row in app["workers"]
        if restless or app["name"] not in RESTLESS
    }


def _unrest(shown: dict) -> str:
    """Why this is not a state of rest; "": it is."""
    if shown["phase"] != "running":
        return f"pyinit is {shown['phase']}"
    for app in shown["apps"]:
        if app["name"] in RESTLESS:
            continue
        if app["reloading"]:
            return f"{app['name']} is reloading"
        for row in app["workers"]:
            if row["status"] not in {"online", "stopped", "errored"}:
                return f"{app['name']} instance {row['instance']} is {row['status']}"
        if not app["stopped"] and not app["errored"] and app["ready"] != app["wanted"]:
            return f"{app['name']}: {app['ready']} of {app['wanted']} are ready"
    return ""
