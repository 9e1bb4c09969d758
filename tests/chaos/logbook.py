"""What came out of pyinit's stdout: each line checked as it comes."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path

_LINE = re.compile(r"T (\S+) (\d+) (\d+) (.*)\Z", re.DOTALL)
KEPT = 50
# What the run itself makes scarce: PID 1 says so, and must lose nothing by it.
SHORTAGES = (
    "MemoryError",
    "OSError: [Errno 12]",
    "OSError: [Errno 24]",
    "BlockingIOError: [Errno 11] Resource temporarily unavailable",
)


class LogBook:
    """Counts and the first failures; memory does not grow with the length of the run."""

    def __init__(self, folder: Path) -> None:
        self._own = (folder / "log").open("wb")
        self.lines = 0
        self.worker_lines = 0
        self.events: Counter[str] = Counter()
        self.failures: list[str] = []
        self.internal: list[str] = []
        self.last: dict[str, int] = {}
        self._cut: dict[str, str] = {}
        self._parts: dict[int, str] = {}
        # Pids of workers that were killed or crashed, and when, as the log has it.
        self.killed: defaultdict[int, list[str]] = defaultdict(list)

    def take(self, line: bytes) -> None:
        self.lines += 1
        try:
            record = json.loads(line)
        except ValueError:
            self._fail(f"not JSON: {line[:200]!r}")
            return
        if "stream" in record:
            self.worker_lines += 1
            if record.get("app") == "talker" and record["stream"] == "stdout":
                self._said(int(record.get("pid", 0)), record)
            return
        event = record.get("event", "")
        self._own.write(line + b"\n")
        self.events[event] += 1
        if event == "internal error":
            self._internal(str(record.get("where")), str(record.get("traceback", "")))
        self.events["oom kills"] += bool(record.get("oom_killed"))
        if event in {"worker exited", "worker failed to start"} and (
            record.get("signal") or not record.get("expected")
        ):
            self.killed[record["pid"]].append(record["timestamp"])

    def _said(self, pid: int, record: dict[str, object]) -> None:
        """A line that is long, or that stops for a while, comes in parts."""
        text = self._parts.pop(pid, "") + str(record.get("event", ""))
        if record.get("partial"):
            self._parts[pid] = text
        else:
            self._talked(text)

    def _internal(self, where: str, traceback: str) -> None:
        last = traceback.strip().rpartition("\n")[2]
        if last.startswith(SHORTAGES):
            self.events["shortages reported"] += 1
        elif len(self.internal) < KEPT:
            self.internal.append(f"{where}: {traceback[-600:]}")

    def _fail(self, text: str) -> None:
        if len(self.failures) < KEPT:
            self.failures.append(text)

    def _talked(self, text: str) -> None:
        found = _LINE.match(text)
        if found is None:
            # A killed writer leaves the beginning of a line: nothing of it may follow.
            token = text.split(" ")[1] if text.count(" ") > 1 else ""
            self._cut[token] = text[:80]
            return
        token, number, size, payload = found[1], int(found[2]), int(found[3]), found[4]
        before = self.last.get(token, 0)
        if token in self._cut:
            self._fail(f"{token}: line {number} after one that was cut: {self._cut[token]!r}")
        if len(payload) != size:
            self._cut[token] = text[:80]
            return
        if number != before + 1:
            self._fail(f"{token}: line {number} after line {before}")
        self.last[token] = number

    def close(self) -> None:
        self._own.close()

    def missing(self, folder: Path) -> list[str]:
        """Writers of which lines are missing at the end, by their own count."""
        found = []
        for path in folder.glob("talked-*"):
            written = int(path.read_bytes() or b"0")
            token = path.name.removeprefix("talked-")
            if self.last.get(token, 0) < written:
                found.append(f"{token}: {self.last.get(token, 0)} lines of {written}")
        return found
