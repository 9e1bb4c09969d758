"""The pump between real children, real pipes and readers of every kind."""

from __future__ import annotations

import errno
import json
import os
import pty
import resource
import select
import signal
import socket
import subprocess
import sys
import time
import tty

import pytest

from entrypoint.core.spec import LogSpec
from entrypoint.kernel.pipes import worker_pipe
from entrypoint.logs.output import HIGH_WATER, Output
from entrypoint.logs.pump import LogPump
from entrypoint.logs.wrap import JsonWrapper
from entrypoint.loop import Loop
from tests.support.wait import wait_until

LIMIT = 60.0  # seconds that nothing here needs


class Bench:
    """A loop and a pump whose stdout is the pipe `reader`, and the children it reads."""

    def __init__(self, log_format="json", fd_out=None, environ=None, raw=False):
        self.errors = []
        self.loop = Loop(lambda where, error: self.errors.append((where, error)))
        self.reader = -1
        self.given = fd_out
        if fd_out is None:
            self.reader, fd_out = os.pipe2(os.O_CLOEXEC)
            os.set_blocking(self.reader, False)
        self.fd_out = fd_out
        fds = (99, fd_out) if raw else (fd_out, 2)
        self.pump = LogPump(
            self.loop, fds[0], LogSpec(format=log_format), environ=environ or {}, fd_raw=fds[1]
        )
        self.pump.load_structlog()
        self.children = []
        self.ended = set()
        self.output = bytearray()

    def start(self, code, *args, app="web", with_time=False):
        """A Python child whose stdout and stderr go through the pump; its incarnation."""
        number = len(self.children)
        out, child_out = worker_pipe()
        err, child_err = worker_pipe()
        child = subprocess.Popen(
            [sys.executable, "-c", code, *args], stdout=child_out, stderr=child_err
        )
        os.close(child_out)
        os.close(child_err)
        self.children.append(child)
        self.pump.attach(app, number, number, child.pid, out, err, with_time)
        self.pump.closed(number, lambda: self.ended.add(number))
        return number

    def read(self, size=1 << 20):
        """What the reader of stdout has now."""
        try:
            data = os.read(self.reader, size)
        except BlockingIOError:
            return
        self.output += data

    def until(self, condition, *, reading=True):
        def step():
            if reading:
                self.read()
            self.loop.turn(0.02)

        wait_until(condition, timeout=LIMIT, step=step)

    def finish(self):
        """All records, when every child has closed its pipes."""
        self.until(lambda: len(self.ended) == len(self.children))
        self.until(lambda: not self.pump.pending)
        self.read()
        return self.records()

    def records(self):
        assert self.output.endswith(b"\n") or not self.output
        return [json.loads(line) for line in self.output.split(b"\n")[:-1]]

    def close(self):
        for child in self.children:
            child.kill()
            child.wait()
        self.pump.close()
        self.loop.close()
        if self.given is None:
            os.close(self.reader)
            os.close(self.fd_out)


@pytest.fixture
def bench(request):
    made = []

    def make(*args, **named):
        made.append(Bench(*args, **named))
        return made[-1]

    yield make
    for each in made:
        each.close()
        assert each.errors == []


def test_both_streams_and_a_last_line_without_newline(bench):
    b = bench()
    b.start("import sys; print('one'); sys.stderr.write('two\\n'); sys.stdout.write('three')")
    records = b.finish()
    pid = b.children[0].pid
    assert {(r["stream"], r["event"]) for r in records} == {
        ("stdout", "one"), ("stderr", "two"), ("stdout", "three"),
    }  # fmt: skip
    for record in records:
        assert record["level"] == "info"
        assert (record["app"], record["instance"], record["pid"]) == ("web", 0, pid)


def test_a_child_killed_in_the_middle_of_a_line(bench):
    b = bench()
    b.start(
        "import os, signal\n"
        "os.write(1, b'whole\\nhalf a li')\n"
        "os.write(2, b'last words')\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    records = b.finish()
    assert [r["event"] for r in records if r["stream"] == "stdout"] == ["whole", "half a li"]
    assert [r["event"] for r in records if r["stream"] == "stderr"] == ["last words"]


NUMBERED = """
import os, sys
name, lines = sys.argv[1], int(sys.argv[2])
text = "".join(f"{name} {n} {'x' * (n % 50)}\\n" for n in range(lines)).encode()
for fd in (1, 2):
    data = text
    while data:
        data = data[os.write(fd, data[:7001]):]
"""


def test_sixty_four_writers_lose_and_mix_nothing(bench):
    b = bench()
    for n in range(64):
        b.start(NUMBERED, f"w{n}", "300")
    seen = {}
    for record in b.finish():
        seen.setdefault((record["instance"], record["stream"]), []).append(record["event"])
    for n in range(64):
        expected = [f"w{n} {line} {'x' * (line % 50)}" for line in range(300)]
        assert seen[n, "stdout"] == expected
        assert seen[n, "stderr"] == expected


BIG = """
import os
block = b"y" * 65536
for _ in range(1600):
    data = block
    while data:
        data = data[os.write(1, data):]
"""


def test_a_hundred_megabytes_in_one_line_need_little_memory(bench):
    b = bench()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    b.start(BIG)
    total = parts = 0

    def count():
        nonlocal total, parts
        whole, _, rest = bytes(b.output).rpartition(b"\n")
        for line in whole.split(b"\n") if whole else ():
            record = json.loads(line)
            total += len(record["event"])
            parts += record.get("partial", False)
        b.output[:] = rest
        return b.ended and not b.pump.pending

    b.until(count)
    b.read()
    count()
    assert total == 1600 * 65536
    assert parts == 99
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 40 * 1024  # this process holds the reader as well


def test_empty_lines_do_not_pile_up_when_stdout_is_blocked(bench):
    b = bench()
    b.start("import os\nwhile True: os.write(1, b'\\n' * 65536)")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    b.until(lambda: b.pump.pending > HIGH_WATER, reading=False)
    for _ in range(50):
        b.loop.turn(0.001)
    assert b.pump.pending < HIGH_WATER + 32 * 1024 * 200
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 40 * 1024


def test_grandchildren_are_read_after_the_worker_is_gone(bench):
    b = bench()
    go, gone = os.pipe()
    os.set_inheritable(go, True)
    out, child_out = worker_pipe()
    code = (
        "import os\n"
        "if os.fork() == 0:\n"
        f"    os.read({go}, 1)\n"
        "    os.write(1, b'from the grandchild')\n"
        "    os._exit(0)\n"
        "os.write(1, b'from the worker\\n')\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdout=child_out, pass_fds=[go])
    os.close(child_out)
    b.children.append(child)
    b.pump.attach("web", 0, 0, child.pid, out, None)
    b.pump.closed(0, lambda: b.ended.add(0))
    b.until(lambda: child.poll() is not None and b"worker" in b.output)
    assert b.ended == set()
    os.write(gone, b"x")
    assert [r["event"] for r in b.finish()] == ["from the worker", "from the grandchild"]
    os.close(go)
    os.close(gone)


FLOOD = """
import os
n = 0
while True:
    data = b"".join(b"%d %s\\n" % (i, b"z" * 60) for i in range(n, n + 100))
    n += 100
    while data:
        data = data[os.write(1, data):]
"""


def test_a_blocked_stdout_blocks_the_worker_and_nothing_else(bench):
    b = bench()
    b.start(FLOOD)
    b.until(lambda: b.pump.pending >= HIGH_WATER, reading=False)
    stuck = b.pump.pending
    # Deadlines and descriptors are served; nothing spins: no stream, no stdout is ready.
    served = []
    ours, theirs = socket.socketpair()
    b.loop.register(ours.fileno(), select.EPOLLIN, lambda _: served.append(ours.recv(10)))
    theirs.send(b"probe")
    b.loop.call_at("timer", b.loop.now(), lambda: served.append(b"timer"))
    b.until(lambda: len(served) == 2, reading=False)
    # The worker may get to write its next piece only now, which pauses its stream.
    b.until(lambda: b.pump._paused and b.pump.pending == stuck, reading=False)
    started = b.loop.wakeups
    began = time.monotonic()
    b.loop.turn(0.2)
    assert b.loop.wakeups == started + 1
    assert time.monotonic() - began >= 0.19
    assert b.pump.pending == stuck
    b.loop.unregister(ours.fileno())
    ours.close()
    theirs.close()
    # The reader wakes up, slow as it is: the worker goes on, in order.
    while len(b.output) < 2_000_000:
        b.read(5000)
        b.loop.turn(0)
    b.children[0].kill()
    records = b.finish()
    assert [int(r["event"].split()[0]) for r in records] == list(range(len(records)))


def test_own_events_pass_a_blocked_stdout_in_order_and_bounded(bench):
    b = bench()
    for n in range(30_000):
        b.pump.event("info", "many", {"n": n, "text": "x" * 50})
    assert b.pump.pending < 3 << 20
    b.until(lambda: not b.pump.pending)
    b.read()
    records = b.records()
    kept = [r["n"] for r in records if r["event"] == "many"]
    assert kept == list(range(len(kept)))
    assert records[-1]["events"] == 30_000 - len(kept)


def test_flush_delivers_what_is_in_pipes_and_buffers(bench):
    b = bench()
    b.start(NUMBERED, "last", "2000")
    # The child can end only when its pipes take all of it: 2 × 90 kB do.
    b.children[0].wait(LIMIT)
    pid = os.fork()
    if pid == 0:  # the reader, while the pump blocks in flush
        os.set_blocking(b.reader, True)
        os.close(b.fd_out)
        lines = 0
        while lines < 4000:
            lines += os.read(b.reader, 65536).count(b"\n")
        os._exit(0)
    assert b.pump.flush(time.monotonic() + LIMIT) == 0
    assert os.waitpid(pid, 0)[1] == 0
    assert b.ended == {0}


def test_flush_gives_up_at_its_deadline_and_counts(bench):
    b = bench()
    b.start(NUMBERED, "last", "2000")
    b.children[0].wait(LIMIT)
    began = time.monotonic()
    lost = b.pump.flush(began + 0.3)
    assert time.monotonic() - began < LIMIT / 2
    b.read()
    assert lost + b.output.count(b"\n") == 4000
    assert lost > 0


def test_flush_does_not_wait_for_a_grandchild_that_writes_for_ever(bench):
    sink = os.open("/dev/null", os.O_WRONLY)
    b = bench(fd_out=sink)
    b.start(FLOOD)
    b.until(lambda: True)
    b.pump.flush(time.monotonic() + 0.2)  # returns
    os.close(sink)


def test_a_reader_that_goes_away_holds_nobody_up(bench):
    b = bench()
    b.start(NUMBERED, "w", "5000")
    b.until(lambda: b.output)
    replacement = os.open("/dev/null", os.O_RDONLY)
    os.dup2(replacement, b.reader)
    os.close(replacement)
    b.until(lambda: b.ended == {0}, reading=False)
    b.until(lambda: not b.pump.pending, reading=False)
    b.pump.event("info", "into the void", {})
    b.loop.turn(0)
    assert b.pump.lost > 0
    # And nothing spins.
    started = b.loop.wakeups
    b.loop.turn(0.1)
    assert b.loop.wakeups == started + 1
    assert b.pump.flush(time.monotonic() + LIMIT) > 0


def test_a_stdout_that_was_closed_from_the_start(bench):
    reader, writer = os.pipe()
    os.close(reader)
    os.close(writer)
    b = bench(fd_out=writer)
    b.start("print('x' * 1000000)")
    b.until(lambda: b.ended == {0}, reading=False)
    assert b.pump.pending == 0
    assert b.pump.lost > 0


def test_a_named_pipe_may_get_a_new_reader(bench, tmp_path):
    path = tmp_path / "fifo"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    writer = os.open(path, os.O_WRONLY)
    b = bench(fd_out=writer)
    os.close(reader)
    b.pump.event("info", "lost", {})
    b.until(lambda: b.pump.lost == 1, reading=False)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)

    def heard():
        b.pump.event("info", "again", {})
        try:
            return b"again" in os.read(reader, 65536)
        except BlockingIOError:
            return False

    b.until(heard, reading=False)
    os.close(reader)
    os.close(writer)


@pytest.mark.parametrize("kind", ["pipe", "socket", "file"])
def test_the_flags_of_a_shared_stdout_are_left_alone(bench, kind, tmp_path):
    if kind == "pipe":
        fds = os.pipe()
    elif kind == "socket":
        fds = tuple(s.detach() for s in socket.socketpair())
    else:
        fds = (os.open(tmp_path / "log", os.O_RDONLY | os.O_CREAT), -1)
        fds = (fds[0], os.open(tmp_path / "log", os.O_WRONLY))
    b = bench(fd_out=fds[1])
    b.pump.event("info", "hello", {})
    b.loop.turn(0)
    assert os.get_blocking(fds[1])
    assert json.loads(os.read(fds[0], 65536))["event"] == "hello"
    for fd in fds:
        os.close(fd)


def test_a_socket_that_takes_no_more(bench):
    ours, theirs = socket.socketpair()
    b = bench(fd_out=theirs.fileno())
    b.start(NUMBERED, "w", "5000")
    b.until(lambda: b.pump.pending >= HIGH_WATER, reading=False)
    b.reader = ours.fileno()
    ours.setblocking(False)
    assert len(b.finish()) == 10_000
    b.reader = -1
    ours.close()
    theirs.close()


def test_a_full_disk_makes_workers_wait(bench):
    full = os.open("/dev/full", os.O_WRONLY)
    b = bench(fd_out=full)
    b.start(FLOOD)
    b.until(lambda: b.pump.pending >= HIGH_WATER, reading=False)
    assert b.pump.lost == 0
    assert b.pump.flush(time.monotonic() + 0.1) > 0
    os.close(full)


def test_pieces_when_stdout_cannot_be_opened_again(monkeypatch):
    """A container's user and a pipe of root's, without PID 1's licence to set the flag."""
    opened = os.open

    def refuse(path, *args, **named):
        if str(path).startswith("/proc/self/fd/"):
            raise PermissionError(errno.EACCES, "refused")
        return opened(path, *args, **named)

    monkeypatch.setattr(os, "open", refuse)
    loop = Loop(lambda where, error: pytest.fail(f"{where}: {error!r}"))
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    room = []
    output = Output(loop, writer, lambda: room.append(True))
    sent = b"".join(b"%d\n" % n for n in range(200_000))
    output.write(sent)
    loop.turn(0)
    assert output.pending > 0
    assert not output.has_room()
    got = bytearray()

    def step():
        loop.turn(0.02)
        got.extend(os.read(reader, 1 << 20))

    wait_until(lambda: not output.pending, timeout=LIMIT, step=step)
    while len(got) < len(sent):
        got += os.read(reader, 1 << 20)
    assert got == sent
    assert room == [True]
    assert os.get_blocking(writer)
    output.close()
    loop.close()
    os.close(reader)
    os.close(writer)


def test_auto_is_console_with_colour_on_a_terminal(bench):
    ours, theirs = pty.openpty()
    tty.setraw(theirs)
    os.set_blocking(ours, False)
    b = bench("auto", fd_out=theirs, environ={"TERM": "xterm"})
    assert b.pump.form.name == "console"
    b.start("print('hello'); print('there', flush=True)")
    b.reader = ours
    b.until(lambda: b"there" in b.output)
    b.pump.event("info", "done", {})
    b.until(lambda: b"done" in b.output)
    assert b"\x1b[" in b.output
    assert b"hello" in b.output
    assert os.get_blocking(theirs)
    b.reader = -1
    os.close(ours)
    # The terminal is closed: not a reason to end, nor to spin.
    b.pump.event("info", "nobody", {})
    b.until(lambda: b.pump.lost == 1, reading=False)
    os.close(theirs)


def test_console_into_a_pipe_is_plain(bench):
    b = bench("console")
    b.start("print('hello\\nthere')", with_time=True)
    b.until(lambda: b.ended and not b.pump.pending)
    b.read()
    lines = b.output.decode().splitlines()
    assert [line.rpartition(" ")[2] for line in lines] == ["hello", "there"]
    assert all(line.startswith("web:0  | 20") for line in lines)


def test_raw_leaves_stdout_to_the_workers(bench):
    b = bench("raw", raw=True)
    called = []
    b.pump.attach("web", 0, 5, 1234, None, None)
    b.pump.closed(5, lambda: called.append(5))
    b.pump.event("info", "online", {"app": "web"})
    b.until(lambda: b.output)
    assert called == [5]
    assert b.records()[0]["event"] == "online"


def test_last_lines_are_those_just_before_the_end(bench):
    b = bench()
    number = b.start(
        "import sys\nfor n in range(5000): sys.stderr.write(f'line {n}\\n')\n"
        "sys.stderr.write('end')"
    )
    b.until(lambda: b.children[0].poll() is not None)
    assert b.pump.last_lines(number) == (*(f"line {n}" for n in range(4991, 5000)), "end")
    b.finish()
    assert b.pump.last_lines(number)[-1] == "end"
    assert b.pump.last_lines(99) == ()


def test_own_events_and_lines_keep_whole_lines(bench):
    b = bench()
    for n in range(4):
        b.start(NUMBERED, f"w{n}", "1000")
    b.until(lambda: b.pump.event("info", "tick", {"n": 1}) or len(b.ended) == 4)
    records = b.finish()
    assert sum("stream" in r for r in records) == 8000


def test_a_signal_to_a_stopped_worker_leaves_others_flowing(bench):
    b = bench()
    b.start(FLOOD)
    b.start("import time, os\nos.write(1, b'me too\\n')")
    b.children[0].send_signal(signal.SIGSTOP)
    b.until(lambda: 1 in b.ended)
    b.until(lambda: b"me too" in b.output)


def test_a_held_back_line_comes_after_a_pause_and_then_nothing_wakes(bench):
    b = bench()
    out, child_out = worker_pipe()
    b.pump.attach("web", 0, 7, 12, out, None, multiline="auto")
    os.write(child_out, b"Error: x\n")
    b.loop.turn(0.1)
    assert not b.pump.pending
    os.write(child_out, b"    at y\nhalf")
    b.until(lambda: b.output)
    assert [record["event"] for record in b.records()] == ["Error: x\n    at y"]
    started = b.loop.wakeups
    began = time.monotonic()
    b.loop.turn(0.6)
    assert b.loop.wakeups == started + 1
    assert time.monotonic() - began >= 0.59
    os.close(child_out)
    b.until(lambda: len(b.output.splitlines()) == 2)
    assert b.records()[1]["event"] == "half"


def test_flush_tells_what_is_held_back(bench):
    b = bench()
    out, child_out = worker_pipe()
    b.pump.attach("web", 0, 7, 12, out, None, multiline="auto")
    os.write(child_out, b"one\n  two\n")
    b.loop.turn(0.1)
    assert b.pump.flush(time.monotonic() + LIMIT) == 0
    b.read()
    assert [record["event"] for record in b.records()] == ["one\n  two"]
    os.close(child_out)


def test_a_blocked_stdout_and_a_change_to_raw_and_back_lose_nothing(bench):
    b = bench()
    b.start(FLOOD)
    b.until(lambda: b.pump.pending >= HIGH_WATER, reading=False)
    b.pump.configure(LogSpec("raw"))
    b.pump.event("error", "on stderr", {})
    b.until(lambda: len(b.output) > 1 << 20)
    b.pump.configure(LogSpec("json"))
    b.until(lambda: len(b.output) > 1 << 20)
    b.children[0].kill()
    records = b.finish()
    assert [int(r["event"].split()[0]) for r in records] == list(range(len(records)))


@pytest.mark.parametrize(("count", "size"), [(2000, 100), (3, 2_000_000)])
def test_no_line_is_lost_where_there_was_no_memory_for_its_record(bench, monkeypatch, count, size):
    """What was read before the shortage is told after it, once and in its order."""
    tried = 0

    def short(real):
        def records(*args):
            nonlocal tried
            tried += 1
            if tried % 3:
                raise MemoryError
            return real(*args)

        return records

    for name in ("records", "part", "last_part"):
        monkeypatch.setattr(JsonWrapper, name, short(getattr(JsonWrapper, name)))
    b = bench()
    b.start(f"for n in range({count}): print(n, 'x' * {size})")
    records = b.finish()
    assert b.errors
    assert all(isinstance(error, MemoryError) for _, error in b.errors)
    b.errors.clear()
    said = "".join(r["event"] + "\n" * ("partial" not in r) for r in records)
    assert said == "".join(f"{n} {'x' * size}\n" for n in range(count))
