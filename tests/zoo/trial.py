"""One server under a real pyinit: the five checks of a row."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.namespace import own_namespace

from .asking import BEGINNINGS, WrongAnswerError, ask, connect
from .load import CLIENTS, Load
from .processes import accepted, children, inner, sockets, tree

if TYPE_CHECKING:
    from .catalog import Server

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache/zoo"


@dataclass(frozen=True)
class Home:
    """Where programs and tools of a trial are. `boot`: how long a worker waits first (s)."""

    programs: Path = CACHE / "programs"
    build: Path = CACHE / "build"
    venv: Path = CACHE / "venv/bin"
    modules: Path = CACHE / "node/node_modules"
    boot: float = 1.5


ZOO = Home()

WORKERS = 3
# How long anything may take on a busy machine (s).
DEADLINE = 60.0
KINDS = ("tcp", "undeclared", "unix")
# What the checks cause on purpose explains nothing.
PROVOKED = ("worker exited", "reload aborted", "worker not ready in time")


class Trial:
    """`with Trial(server, kind) as trial:`; `checks` runs all five."""

    def __init__(self, server: Server, kind: str, home: Home = ZOO) -> None:
        self.server, self.kind, self.home = server, kind, home
        self.dir = Path(tempfile.mkdtemp(prefix="zoo-"))
        self.port = _free_port()
        self.metrics, self.probe = self.port + 1, self.port + 2
        self.address: int | str = str(self.dir / "app.sock") if kind == "unix" else self.port
        self._log = self.dir / "log"
        self.process: subprocess.Popen[bytes] | None = None
        self.took = 0.0  # its first start, until all workers were ready (s)

    def __enter__(self) -> Trial:
        self._prepare()
        self._start(own_namespace(_pyinit(), "-c", self.dir / "ecosystem.yaml"))
        return self

    def bare(self) -> str:
        """The same command without pyinit: empty when it answers."""
        self._prepare()
        plan = json.loads((self.dir / "ecosystem.yaml").read_text())["apps"][0]
        command = plan["script"].replace("{slot}", "0")
        env = {**plan["env"], "BOOT": "0", "METRICS": "", "PYINIT_SLOT": "0"}
        line = " ".join(f"{k}='{v}'" for k, v in env.items())
        self._start(own_namespace("sh", "-c", f"env {line} {command} & wait"))
        try:
            if self.until(lambda: not self.ask(), 30.0):
                return ""
            return f"{self.ask()}: {self.text()[-400:]}"
        finally:
            self.__exit__()

    def _prepare(self) -> None:
        (self.dir / "www").mkdir()
        (self.dir / "www/index.html").write_text("zoo\n")
        (self.dir / "run").mkdir()
        for folder in (self.dir, self.dir / "www", self.dir / "run"):
            folder.chmod(0o755)
        if self.server.conf:
            self._configure()
        self._write()

    def _start(self, command: list[str]) -> None:
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                command,
                cwd=self.home.programs,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def __exit__(self, *_: object) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.dir, ignore_errors=True)

    def _configure(self) -> None:
        text = (self.home.programs / "conf" / self.server.conf).read_text()
        unix = self.kind == "unix"
        words = {
            "@DIR@": str(self.dir),
            "@PORT@": str(self.port),
            "@LISTEN@": (
                f"unix:{self.address}" if self.server.conf == "nginx.conf" else str(self.address)
            )
            if unix
            else f"0.0.0.0:{self.port}",
            "@BIND@": f"unix@{self.address}" if unix else f"0.0.0.0:{self.port}",
        }
        for word, value in words.items():
            text = text.replace(word, value)
        (self.dir / self.server.conf).write_text(text)

    def _environment(self) -> dict[str, str]:
        env = {**os.environ, **dict(self.server.env), "PYINIT_RUN_DIR": str(self.dir / "run")}
        env.pop("NOTIFY_SOCKET", None)
        env["PATH"] = f"{self.home.venv}:{env['PATH']}:/usr/sbin"
        return env

    def _write(self) -> None:
        command = self.server.unix if self.kind == "unix" else self.server.tcp
        home, programs = self.home, str(self.home.programs)
        words = {
            "port": str(self.port), "path": str(self.dir / "app.sock"), "dir": str(self.dir),
            "programs": programs, "build": str(home.build), "py": str(home.venv / "python"),
            "bin": str(home.venv), "js": str(home.modules),
        }  # fmt: skip
        for word, value in words.items():
            command = command.replace(f"{{{word}}}", value)
        env = {
            "ZOO_DIR": str(self.dir), "PROGRAMS": programs, "BOOT": str(home.boot),
            "PORT": str(self.port), "NODE_ENV": "production", "TMPDIR": str(self.dir),
        }  # fmt: skip
        if self.kind == "tcp":
            env["METRICS"] = str(self.metrics)
        if self.server.direct:
            env["NODE_OPTIONS"] = f"--require {programs}/boot.js"
        else:
            command = f"sh {programs}/boot.sh {command}"
        app: dict[str, object] = {
            "name": "web", "script": command, "cwd": programs, "exec_mode": "cluster",
            "instances": WORKERS, "env": env,
        }  # fmt: skip
        if self.kind != "undeclared":
            app["listen"] = f"unix:{self.address}" if self.kind == "unix" else self.port
        plan = {
            "apps": [app],
            "probes": {"listen": f"127.0.0.1:{self.probe}", "ready_when": "all"},
        }
        (self.dir / "ecosystem.yaml").write_text(json.dumps(plan))

    # -- looking -------------------------------------------------------------------------

    def text(self) -> str:
        return self._log.read_text("utf-8", "replace")

    def records(self) -> list[dict[str, object]]:
        found = []
        for line in self.text().splitlines():
            try:
                record = json.loads(line)
            except ValueError:
                continue
            if isinstance(record, dict) and "stream" not in record:
                found.append(record)
        return found

    def events(self) -> list[str]:
        """The names of all events of warnings and errors, and of an aborted reload."""
        levels = ("warning", "error")
        return sorted({str(r["event"]) for r in self.records() if r.get("level") in levels})

    def complaints(self, explaining: set[str]) -> list[str]:
        """What pyinit itself said that somebody should read.

        `explaining`: events that are about a failed check.
        """
        said = []
        passed_over = set(PROVOKED) - explaining
        for record in self.records():
            if record.get("level") in ("warning", "error") and record["event"] not in passed_over:
                why = record.get("reason") or record.get("then") or record.get("advice") or ""
                text = f"{record['event']}: {why}" if why else str(record["event"])
                if text not in said:
                    said.append(text)
        return said

    def ready(self) -> bool:
        try:
            with connect(self.probe, 5) as sock:
                sock.sendall(b"GET /readyz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                return sock.recv(4096).startswith(b"HTTP/1.1 200")
        except OSError:
            return False

    @property
    def pid(self) -> int:
        assert self.process is not None
        end = time.monotonic() + DEADLINE
        while time.monotonic() < end:
            found = children(self.process.pid)
            if found:
                return found[0]
            time.sleep(0.02)
        raise AssertionError("no PID 1")

    def workers(self) -> list[int]:
        """The workers' processes that serve, as seen from here."""
        code, text = self.ctl("ls", "--json")
        if code:
            return []
        known = {int(pid) for pid in re.findall(r'"pid": ?(\d+)', text)}
        return [pid for pid in children(self.pid) if inner(pid) in known]

    def accepting(self, workers: list[int]) -> set[int]:
        """Those that hold an accepted connection of the address now."""
        taken = accepted(self.address)
        return {pid for pid in workers if sockets(tree(pid)) & taken}

    def ctl(self, *words: str, deadline: float = 120.0) -> tuple[int, str]:
        """A command to the running pyinit, as `docker exec` gives it."""
        command = ["nsenter", "-t", str(self.pid), "-p", "-m", "--", str(_pyinit()), *words]
        try:
            done = subprocess.run(
                command,
                env=self._environment(),
                capture_output=True,
                text=True,
                timeout=deadline,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return -1, f"no end in {deadline:g} s"
        return done.returncode, (done.stdout + done.stderr).strip()

    def until(self, condition, deadline: float = DEADLINE) -> bool:
        end = time.monotonic() + deadline
        while time.monotonic() < end:
            if condition():
                return True
            if self.process is not None and self.process.poll() is not None:
                return False
            time.sleep(0.05)
        return bool(condition())

    def ask(self, deadline: float = 5.0) -> str:
        """Empty when there was an answer, else what came instead."""
        try:
            ask(self.server.speaks, self.address, deadline)
        except (OSError, WrongAnswerError) as error:
            return f"{type(error).__name__} {error}"[:100]
        return ""

    # -- the five checks -------------------------------------------------------------------

    def checks(self) -> dict[str, str]:
        """Check → empty when it went well, else what was seen."""
        result = {"ready": self._check_ready()}
        if not result["ready"]:
            for name, check in (
                ("all answer", self._check_all),
                ("SIGKILL", self._check_kill),
                ("reload", self._check_reload),
                ("broken reload", self._check_broken),
            ):
                result[name] = check()
        result["stop"] = self._check_stop()
        return result

    def _check_ready(self) -> str:
        began = time.monotonic()
        seen = self.until(self.ready, DEADLINE + 5 * self.server.slow)
        self.took = time.monotonic() - began
        if not seen:
            return "never ready" if not self.ask() else "never ready, and no answer"
        for _ in range(2 * WORKERS):
            missed = self.ask(4.0 + 2 * self.server.slow)
            if missed:
                return f"ready, but: {missed}"
        return ""

    def _check_all(self) -> str:
        """Every worker takes connections: many are opened and ask nothing.

        Every second one sends a byte: TCP_DEFER_ACCEPT waits for it (uWSGI).
        """
        seen: set[int] = set()
        # Workers that share one queue may leave all of a round to one that is awake.
        for _ in range(10):
            held: list[socket.socket] = []
            try:
                for number in range(10 * WORKERS):
                    held.append(connect(self.address, 5.0))
                    if number % 2:
                        held[-1].sendall(BEGINNINGS[self.server.speaks])
                # A command takes seconds on a busy machine: one for each round.
                crew = self.workers()
                self.until(partial(self._all_seen, seen, crew), 4.0)
            except OSError as error:
                return f"{type(error).__name__} {error}"
            finally:
                for sock in held:
                    sock.close()
            if len(seen) >= WORKERS:
                break
        # What a blocking server took of these it finds ended.
        if not self.until(lambda: not self.ask(10.0), DEADLINE):
            return "no answer after connections that asked nothing"
        return "" if len(seen) >= WORKERS else f"{len(seen)} of {WORKERS} workers take connections"

    def _all_seen(self, seen: set[int], crew: list[int]) -> bool:
        seen.update(self.accepting(crew))
        return len(seen) >= WORKERS

    def _check_kill(self) -> str:
        before = self.workers()
        if len(before) < WORKERS:
            return f"{len(before)} workers before it"
        with Load(self.server, self.address) as load:
            self.until(lambda: load.counts["ok"] > 20, 20.0)
            os.kill(before[0], signal.SIGKILL)
            back = self.until(
                lambda: (
                    before[0] not in self.workers()
                    and len(self.workers()) >= WORKERS
                    and self.ready()
                )
            )
            self.until(lambda: False, 0.5)
        lost = sum(
            n
            for kind, n in load.counts.items()
            if kind.startswith(("Connection", "Wrong", "Broken"))
        )

        if not back:
            return "no new worker became ready"
        rest = {
            k: n for k, n in load.counts.items() if k in ("timed out", "refused", "no such path")
        }
        if rest or lost > CLIENTS * 2:
            return f"{load.failed} of {sum(load.counts.values())}"
        # Nobody waits for the replacement, which takes longer than that on a busy machine too.
        limit = 6 + self.server.slow + self.took
        return f"slowest answer {load.slowest:.1f} s" if load.slowest > limit else ""

    def _check_reload(self) -> str:
        before = set(self.workers())
        with Load(self.server, self.address) as load:
            self.until(lambda: load.counts["ok"] > 20, 20.0)
            code, said = self.ctl("reload", "web")
            self.until(lambda: False, 0.5)
        if code:
            return f"exit {code}: {said[-200:]}"
        if load.failed:
            return f"{load.failed} of {sum(load.counts.values())}"
        if set(self.workers()) & before:
            return "an old worker is still there"
        return ""

    def _check_broken(self) -> str:
        (self.dir / "broken").touch()
        before = set(self.workers())
        with Load(self.server, self.address) as load:
            code, said = self.ctl("reload", "web")
            self.until(lambda: False, 0.5)
        (self.dir / "broken").unlink()
        if code == 0:
            return f"a reload to a broken release was a success: {said[-120:]}"
        if load.failed:
            return f"{load.failed} of {sum(load.counts.values())}"
        after = set(self.workers())
        return "" if before == after else f"{len(before & after)} of {len(before)} workers are left"

    def _check_stop(self) -> str:
        assert self.process is not None
        if self.process.poll() is not None:
            return f"it ended by itself: {self.process.returncode}"
        os.kill(self.pid, signal.SIGTERM)
        try:
            code = self.process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            return "no end"
        killed = [r for r in self.records() if r.get("event") == "worker killed"]
        if killed:
            return f"{len(killed)} workers killed after kill_timeout"
        return "" if code == 0 else f"exit code {code}"


def _pyinit() -> Path:
    return ROOT / ".venv/bin/pyinit"


def _free_port() -> int:
    """The first of three neighbours that are free, below those the kernel gives to clients."""
    while True:
        first = random.randrange(12000, 30000, 4)
        held = []
        try:
            for port in range(first, first + 3):
                sock = socket.socket()
                held.append(sock)
                sock.bind(("127.0.0.1", port))
        except OSError:
            continue
        finally:
            for sock in held:
                sock.close()
        return first
