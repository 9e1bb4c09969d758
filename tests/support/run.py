"""A real `pyinit -c FILE` as PID 1 of a PID namespace of its own, and what it says."""

from __future__ import annotations

import http.client
import json
import os
import signal as signals
import subprocess
import sys
import threading
from pathlib import Path

from tests.support import logevents
from tests.support.namespace import own_namespace
from tests.support.wait import wait_until

BIN = Path(sys.executable).parent
# Another build of it may be tested: `make packages-test`.
PYINIT = Path(os.environ.get("PYINIT_PROGRAM", BIN / "pyinit"))
DEADLINE = 30.0


def _undocumented(line: bytes) -> str:
    """What docs/reference/events.md does not say of a record of pyinit's own."""
    try:
        record = json.loads(line)
    except ValueError:
        return ""
    own = isinstance(record, dict) and record.keys() >= logevents.COMMON
    return logevents.undocumented(record) if own and "stream" not in record else ""


class Run:
    """`with Run(folder, apps=[…]) as run:`; the namespace ends with the block.

    `file` is the text of the file, or `apps` and `top` make one. Signals go to PID 1
    itself, as `docker kill` sends them. With `stdout`, a descriptor, nobody reads it here.
    `command`: the words after `pyinit`, in the place of `-c FILE` and `args`.
    """

    def __init__(
        self,
        folder: Path,
        apps: list[dict] | None = None,
        *,
        file: str | None = None,
        args: tuple[str, ...] = (),
        env: dict[str, str] | None = None,
        wrap: tuple[str, ...] = (),
        stdout: int | None = None,
        command: tuple[str, ...] = (),
        **top,
    ) -> None:
        self.folder = folder
        self.path = folder / "ecosystem.yaml"
        self.write(file if file is not None else json.dumps({"apps": apps or [], **top}))
        words = command or ("-c", str(self.path), *args)
        started = [*wrap, str(PYINIT), *words]
        self.process = subprocess.Popen(
            own_namespace(*started),
            cwd=folder,
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if stdout is None else stdout,
            stderr=subprocess.PIPE,
        )
        self.lines: list[bytes] = []
        self.stderr = b""
        self._readers = [
            threading.Thread(target=self._read_stderr, daemon=True),
        ]
        if stdout is None:
            self._readers.append(threading.Thread(target=self._read_lines, daemon=True))
        for reader in self._readers:
            reader.start()

    def write(self, text: str) -> None:
        """Replace the file, as an editor does."""
        new = self.path.with_suffix(".new")
        new.write_text(text)
        new.rename(self.path)

    def _read_lines(self) -> None:
        for line in self.process.stdout:
            self.lines.append(line)

    def _read_stderr(self) -> None:
        for line in self.process.stderr:
            self.stderr += line

    def __enter__(self) -> Run:
        return self

    def __exit__(self, failed: type | None, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for reader in self._readers:
            reader.join(timeout=DEADLINE)
        if failed is None:
            missing = sorted({text for line in self.lines if (text := _undocumented(line))})
            assert not missing, f"not in docs/reference/events.py: {missing}"

    # -- waiting -------------------------------------------------------------------------

    def until(self, condition, what: str = "", deadline: float = DEADLINE):
        """What `condition` returns once it is true; shows all that was said if never."""
        return wait_until(condition, lambda: f"{what or condition}\n{self.story()}", deadline)

    def _output(self, condition, what: str) -> None:
        """Wait for what the output shows, no longer than there is somebody who writes it."""

        def look() -> bool:
            over = self.process.poll() is not None and not any(r.is_alive() for r in self._readers)
            shown = condition()
            assert shown or not over, f"it has ended: {what}\n{self.story()}"
            return shown

        self.until(look, what)

    def story(self) -> str:
        return (b"".join(self.lines) + b"--- stderr\n" + self.stderr).decode("utf-8", "replace")

    @property
    def records(self) -> list[dict]:
        """Everything on stdout so far."""
        return [json.loads(line) for line in list(self.lines)]

    def events(self, name: str, **fields) -> list[dict]:
        """pyinit's own events of that name (worker lines have a `stream`)."""
        return [
            record
            for record in self.records
            if record.get("event") == name
            and "stream" not in record
            and all(record.get(key) == value for key, value in fields.items())
        ]

    def event(self, name: str, count: int = 1, **fields) -> dict:
        """The `count`th such event, waited for."""
        self._output(
            lambda: len(self.events(name, **fields)) >= count, f"{name} {fields} × {count}"
        )
        return self.events(name, **fields)[count - 1]

    def said(self, text: str, count: int = 1, **fields) -> list[dict]:
        """Worker lines that begin with `text`, at least `count`, waited for."""

        def found() -> list[dict]:
            return [
                record
                for record in self.records
                if "stream" in record
                and str(record.get("event", "")).startswith(text)
                and all(record.get(key) == value for key, value in fields.items())
            ]

        self._output(lambda: len(found()) >= count, f"{count} lines {text!r} {fields}")
        return found()

    # -- acting --------------------------------------------------------------------------

    @property
    def pid(self) -> int:
        """PID 1, as seen from here."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return int(self.until(lambda: children.read_text().split(), "PID 1")[0])

    def signal(self, signum: int) -> None:
        os.kill(self.pid, signum)

    def outer_pid(self, inner: int) -> int:
        """A process of the namespace, as seen from here."""
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    status = (entry / "status").read_text()
                    same = os.stat(entry / "ns/pid").st_ino == self.namespace
                except OSError:
                    continue
                numbers = next(x for x in status.splitlines() if x.startswith("NSpid")).split()
                if same and int(numbers[-1]) == inner:
                    return int(entry.name)
        raise AssertionError(f"no process {inner}\n{self.story()}")

    @property
    def namespace(self) -> int:
        return os.stat(f"/proc/{self.pid}/ns/pid").st_ino

    def processes(self) -> list[str]:
        """The command lines in the namespace, without PID 1's own."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != self.pid:
                try:
                    if os.stat(entry / "ns/pid").st_ino == self.namespace:
                        words = (entry / "cmdline").read_bytes().replace(b"\0", b" ")
                        found.append(words.decode("utf-8", "replace").strip())
                except OSError:
                    continue
        return found

    def wait(self, deadline: float = DEADLINE) -> int:
        """The exit code, as a container's: 128 + n when a signal ended PID 1."""
        try:
            code = self.process.wait(deadline)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it did not end\n{self.story()}") from None
        for reader in self._readers:
            reader.join(timeout=DEADLINE)
        return code if code >= 0 else 128 - code

    def stop(self, signum: int = signals.SIGTERM) -> int:
        """Send the signal and wait for the exit code."""
        self.signal(signum)
        return self.wait()


def cluster(script: str, **keys) -> dict:
    """An app `web` that shares its port; late only after 20 s."""
    return {
        "name": "web",
        "script": script,
        "exec_mode": "cluster",
        "listen_timeout": "20s",
        **keys,
    }


def get(
    port: int, path: str = "/", host: str = "127.0.0.1", *, deadline: float = DEADLINE
) -> tuple[int, str]:
    """Status and body of one GET on a connection of its own."""
    connection = http.client.HTTPConnection(host, port, timeout=deadline)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode("utf-8", "replace")
    finally:
        connection.close()
