"""Prompts and progress lines, which have no newline, in every format."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import tty

import pytest

from entrypoint.core.spec import LogSpec
from entrypoint.logs.pump import LogPump
from entrypoint.loop import Loop
from tests.support.wait import wait_until

LIMIT = 30.0


class Bench:
    """A pump between pipes that the test writes to and a file or terminal that it reads."""

    def __init__(self, log_format: str, *, terminal: bool = False) -> None:
        self.loop = Loop(lambda where, error: pytest.fail(f"{where}: {error!r}"))
        if terminal:
            self.reader, self.out = pty.openpty()
            tty.setraw(self.out)
        else:
            self.reader, self.out = os.pipe()
        os.set_blocking(self.reader, False)
        self.pump = LogPump(
            self.loop, self.out, LogSpec(format=log_format), environ={"NO_COLOR": "1"}
        )
        self.pump.load_structlog()
        self.tapped = b""
        self.pump.tap = lambda _app, records: setattr(self, "tapped", self.tapped + records)
        self.pipes: list[int] = []
        self.seen = b""

    def worker(self, app: str) -> int:
        """A pipe for its stdout."""
        reading, writing = os.pipe()
        self.pipes.append(writing)
        number = len(self.pipes)
        self.pump.attach(app, 0, number, 1000 + number, reading, None)
        return writing

    def until(self, text: bytes) -> bytes:
        """Turn until this was written; all so far."""
        wait_until(lambda: text in self.seen, lambda: repr(self.seen), step=self._turn)
        return self.seen

    def _turn(self) -> None:
        self.loop.turn(0.02)
        with contextlib.suppress(BlockingIOError):
            self.seen += os.read(self.reader, 65536)

    def close(self) -> None:
        for fd in (*self.pipes, self.reader, self.out):
            os.close(fd)
        self.pump.close()
        self.loop.close()


@pytest.fixture
def bench():
    made: list[Bench] = []

    def make(*args, **keys) -> Bench:
        made.append(Bench(*args, **keys))
        return made[-1]

    yield make
    for each in made:
        each.close()


def records(text: bytes) -> list[tuple[str, bool]]:
    found = [json.loads(line) for line in text.splitlines()]
    return [(each["event"], each.get("partial", False)) for each in found]


def test_a_line_in_json_comes_in_parts(bench) -> None:
    b = bench("json")
    worker = b.worker("web")
    os.write(worker, b"one\nPassword: ")
    b.until(b"Password")
    os.write(worker, b"accepted\ntwo\n")
    assert records(b.until(b"two")) == [
        ("one", False),
        ("Password: ", True),
        ("accepted", False),
        ("two", False),
    ]


def test_what_will_be_one_record_is_not_split(bench) -> None:
    """The beginning of an object, and the end of a full buffer of the program's own."""
    b = bench("json")
    objects, buffered, prompt = b.worker("a"), b.worker("b"), b.worker("c")
    os.write(objects, b'{"level":"info",')
    os.write(buffered, b"x" * 4096)
    os.write(prompt, b"first")
    # That of the prompt is shown: then the others would have been.
    b.until(b"first")
    os.write(objects, b'"msg":"hello"}\n')
    os.write(buffered, b"y\n")
    b.until(b'y"')
    found = [json.loads(line) for line in b.until(b"hello").splitlines()]
    by_app = {each["app"]: each for each in found}
    assert by_app["a"]["msg"] == "hello"
    assert by_app["b"]["event"] == "x" * 4096 + "y"
    assert "partial" not in by_app["b"]


def test_a_stream_that_ends_within_a_line(bench) -> None:
    b = bench("json")
    worker = b.worker("web")
    os.write(worker, b"half")
    b.until(b"half")
    os.close(worker)
    b.pipes.remove(worker)
    # Whoever joins parts has the last one.
    b.until(b'"event":""')
    assert records(b.seen) == [("half", True), ("", False)]


def test_on_a_terminal_the_cursor_stays(bench) -> None:
    b = bench("console", terminal=True)
    worker, other = b.worker("web"), b.worker("job")
    os.write(worker, b"Name? ")
    assert b.until(b"Name? ").endswith(b"Name? ")
    os.write(worker, b"Bob")
    b.until(b"Bob")
    os.write(worker, b"\nhello\n")
    text = b.until(b"hello\n")
    line = next(each for each in text.split(b"\n") if b"Name" in each)
    assert line.endswith(b"Name? Bob")
    assert line.count(b"web:0") == 1
    # Another worker breaks the line; what follows has its label.
    os.write(worker, b"Loading")
    b.until(b"Loading")
    os.write(other, b"working\n")
    b.until(b"working\n")
    os.write(worker, b"... done\n")
    lines = b.until(b"done\n").split(b"\n")[-4:-1]
    assert [line.split(b" ", 1)[0] for line in lines] == [b"web:0", b"job:0", b"web:0"]
    # An event breaks it as well, and the end of the stream.
    os.write(worker, b"again")
    b.until(b"again")
    b.pump.event("info", "something", {})
    assert b"again\n" in b.until(b"something")
    os.write(worker, b"last")
    b.until(b"last")
    os.close(worker)
    b.pipes.remove(worker)
    assert b.until(b"last\n")
    assert b"\n\n" not in b.seen
    # Followers (`pyinit logs -f`) get whole records.
    assert b.tapped.endswith(b"\n")
    assert all(b.split(b" ")[0] for b in b.tapped.splitlines())


def test_console_without_a_terminal(bench) -> None:
    b = bench("console")
    worker = b.worker("web")
    os.write(worker, b"Name? ")
    b.until(b"web:0  > Name? \n")
    os.write(worker, b"Bob\n")
    b.until(b"web:0  | Bob\n")
