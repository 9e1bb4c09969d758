"""The log of a real pyinit: every byte of every worker, whoever reads it, if anybody."""

from __future__ import annotations

import base64
import json
import os
import signal
import sys
import time

import pytest

from tests.support.commands import listed, pyinit
from tests.support.ports import free_port
from tests.support.run import Run, get
from tests.support.wait import slowness

pytestmark = [pytest.mark.process, pytest.mark.pid1]


def python(folder, name: str, code: str, **keys) -> dict:
    path = folder / f"{name}.py"
    path.write_text(code)
    keys = {"autorestart": False, **keys}
    return {
        "name": name,
        "script": str(path),
        "interpreter": sys.executable,
        "interpreter_args": ["-S"],
        **keys,
    }


def lines_of(records: list[dict], **fields) -> list[bytes]:
    """The exact lines that workers wrote, parts joined, in order."""
    found = []
    parts = b""
    for record in records:
        if "stream" not in record or any(record[k] != v for k, v in fields.items()):
            continue
        exact = record.get("base64")
        parts += base64.b64decode(exact) if exact else record["event"].encode()
        if not record.get("partial"):
            found.append(parts)
            parts = b""
    assert parts == b""
    return found


def peak(run: Run) -> int:
    """The most memory that PID 1 ever had, in MB."""
    with open(f"/proc/{run.pid}/status", encoding="ascii") as status:
        return next(int(x.split()[1]) // 1024 for x in status if x.startswith("VmHWM"))


WRITE = """
import os, sys, signal
def write(data, fd=1):
    while data:
        data = data[os.write(fd, data):]
"""

LONG = (
    WRITE
    + """
write(b"a" * (1 << 20) + b"\\n")
write("é".encode() * (600_000) + b"\\n")
for _ in range(1000):
    write(b"y" * 100_000)
write(b"\\n")
for size in (1 << 18, 1 << 20):
    write(b'{"a":[' + b'{"b":0},' * (size // 8 - 2) + b"0]}\\n")
write(b"\\n" * 50_000 + b"\\1" * 500_000 + b"\\n\\xff" + b"\\x80" * 500_000 + b"\\n")
write(b"after\\n")
signal.pause()
"""
)


def test_lines_of_a_megabyte_and_of_a_hundred(tmp_path) -> None:
    with Run(tmp_path, [python(tmp_path, "big", LONG)]) as run:
        run.until(lambda: run.lines and b'"after"' in run.lines[-1], "the last line")
        assert peak(run) < 48
        records = [record for record in run.records if "stream" in record]
        assert max(len(record.get("event", "").encode()) for record in records) <= 3 << 20
        said = [record for record in records if "a" not in record]
        assert len(said) == len(records) - 1  # one of the two objects is short enough
        one, accents, hundred, text, *empty, ones, broken, after = lines_of(said)
        assert text == b'{"a":[' + b'{"b":0},' * ((1 << 17) - 2) + b"0]}"
        assert empty == [b""] * 50_000
        assert ones == b"\1" * 500_000
        assert broken == b"\xff" + b"\x80" * 500_000
        assert one == b"a" * (1 << 20)
        assert accents == "é".encode() * 600_000
        assert hundred == b"y" * 100_000_000
        assert after == b"after"


ODD = (
    WRITE
    + r"""
write(b"nul\0 bell\7\n\r\ncr\r\nbroken \xff\xfe\xc3\n\xf0\x9f\x98\x80\n\n  \nlast")
write(b"half a li", 2)
os.kill(os.getpid(), signal.SIGKILL)
"""
)
OUTLIVED = (
    WRITE
    + """
if os.fork() == 0:
    os.setsid()
    while os.getppid() != 1:
        pass
    write(b"from the grandchild")
    os._exit(0)
write(b"from the worker\\n")
"""
)
PARTING = (
    WRITE
    + """
def stop(*_):
    write(b"".join(b"parting %d\\n" % n for n in range(20000)))
    os._exit(0)
signal.signal(signal.SIGTERM, stop)
write(b"ready\\n")
while True:
    signal.pause()
"""
)


def test_odd_bytes_killed_workers_grandchildren_and_words_at_shutdown(tmp_path) -> None:
    apps = [
        python(tmp_path, "odd", ODD),
        python(tmp_path, "outlived", OUTLIVED, treekill=False),
        python(tmp_path, "parting", PARTING),
    ]
    with Run(tmp_path, apps) as run:
        run.said("ready")
        run.said("from the grandchild")
        run.said("half a li")
        assert run.stop() == 0
        assert lines_of(run.records, app="odd", stream="stderr") == [b"half a li"]
        assert lines_of(run.records, app="odd", stream="stdout") == [
            b"nul\0 bell\7", b"\r", b"cr\r", b"broken \xff\xfe\xc3", "😀".encode(), b"", b"  ",
            b"last",
        ]  # fmt: skip
        assert lines_of(run.records, app="outlived") == [b"from the worker", b"from the grandchild"]
        said = lines_of(run.records, app="parting")
        assert said == [b"ready", *(b"parting %d" % n for n in range(20000))]


def test_sixty_four_workers_at_once(tmp_path) -> None:
    app = {
        "name": "many",
        "script": "sh",
        "args": ["-c", 'exec seq -f "$NODE_APP_INSTANCE: %g" 500'],
        "instances": 64,
        "autorestart": False,
    }
    with Run(tmp_path, [app]) as run:
        assert run.wait(60) == 0
        for n in range(64):
            expected = [f"{n}: {line}".encode() for line in range(1, 501)]
            assert lines_of(run.records, instance=n) == expected


OBJECTS = (
    WRITE
    + r"""
write(b'{"level":"error","msg":"x","pid":7}\n{"msg":"plain"}\n{"a":1,"a":2}\n{"a":NaN}\n')
write(b'{"a":' + b'[' * 100_000 + b']' * 100_000 + b'}\n')
write(b'{"n":' + b'9' * 5000 + b'}\n{"a":"\\ud800"}\n')
write(b'{"a":"\xff"}\n{} {}\n{"open":\n')
"""
)


def test_lines_that_are_objects_and_lines_that_only_look_like_it(tmp_path) -> None:
    with Run(tmp_path, [python(tmp_path, "app", OBJECTS)]) as run:
        assert run.wait() == 0
        # What Python's own parser would refuse to compute is looked at as bytes.
        event = [line for line in run.lines if b'"stream":' in line]
        assert len(event) == 10
        first, second, twice = (json.loads(line) for line in event[:3])
        assert (first["level"], first["msg"], first["pid"]) == ("error", "x", 7)
        assert first["pyinit_pid"] == second["pid"] != 7
        assert (second["level"], second["app"]) == ("info", "app")
        assert twice["a"] == 2
        texts = [json.loads(event[n]).get("event", "")[:5] for n in (3, 4, 6, 7, 8, 9)]
        assert texts == ['{"a":', '{"a":', '{"a":', '{"a":', "{} {}", '{"ope']
        assert b'{"timestamp"' in event[5]
        assert b'"n":' + b"9" * 5000 + b',"app"' in event[5]


RAISES = """
import signal, sys
print("ready", flush=True)
def handler(*_):
    try:
        {}["key"]
    except KeyError:
        raise ValueError("chained")
signal.signal(signal.SIGUSR1, handler)
signal.pause()
"""


def test_a_traceback_is_one_record_and_a_last_line_is_not_held_for_ever(tmp_path) -> None:
    app = python(tmp_path, "app", RAISES)
    with Run(tmp_path, [app], log={"multiline": True}) as run:
        [ready] = run.said("ready")
        os.kill(run.outer_pid(ready["pid"]), signal.SIGUSR1)
        assert run.wait() == 1
        [traceback] = [r["event"] for r in run.records if r.get("stream") == "stderr"]
        assert traceback.startswith("Traceback (most recent call last):\n")
        assert "During handling of the above exception" in traceback
        assert traceback.endswith("\nValueError: chained")
        assert run.events("worker exited")[0]["last_lines"][-1] == "ValueError: chained"


# -- when nobody reads ----------------------------------------------------------------------

FLOOD = (
    WRITE
    + """
signal.signal(signal.SIGUSR1, lambda *_: open("usr1", "w").close())
n = 0
while True:
    write(b"".join(b"%d %s\\n" % (n + i, b"z" * 60) for i in range(100)))
    n += 100
"""
)
CRASH = "import os\nopen(f'start-{os.getpid()}', 'w').close()\nraise SystemExit(3)\n"


def starts(folder) -> int:
    return len(list(folder.glob("start-*")))


def test_with_stdout_blocked_everything_else_goes_on(tmp_path) -> None:
    reader, writer = os.pipe()
    port = free_port()
    apps = [
        python(tmp_path, "flood", FLOOD),
        python(tmp_path, "crash", CRASH, autorestart=True, restart_delay=50, max_restarts=1000),
    ]
    with Run(
        tmp_path,
        apps,
        stdout=writer,
        probes={"listen": f"127.0.0.1:{port}"},
        shutdown={"timeout": "2s"},
    ) as run:
        os.close(writer)
        # The pipe is full when what waits in it grows no more, though the worker has more.
        run.until(lambda: starts(tmp_path) > 1, "a restart")
        run.until(lambda: full(reader), "a full pipe")
        before = starts(tmp_path)
        run.until(lambda: starts(tmp_path) > before + 3, "restarts while it is blocked")
        assert get(port, "/livez")[0] == 200
        assert "flood" in pyinit(run, "ls").stdout
        assert pyinit(run, "signal", "USR1", "flood").returncode == 0
        run.until((tmp_path / "usr1").exists, "the signal in the worker")
        assert peak(run) < 48
        began = time.monotonic()
        run.signal(signal.SIGTERM)
        code = run.wait()
        assert time.monotonic() - began < 2 + 3 * slowness()
        assert code == 3  # `crash` has failed, and does not serve
        [record] = [json.loads(line) for line in run.stderr.splitlines()]
        assert record["event"] == "log lines were not delivered"
        assert record["lines"] > 1000
    os.close(reader)


def full(reader: int) -> bool:
    import fcntl
    import struct
    import termios

    waiting = struct.unpack("i", fcntl.ioctl(reader, termios.FIONREAD, b"\0" * 4))[0]
    return waiting > 48 * 1024


def test_a_worker_that_waits_for_stdout_writes_on_when_it_is_read(tmp_path) -> None:
    reader, writer = os.pipe()
    app = python(tmp_path, "app", WRITE + "write(b''.join(b'%d\\n' % n for n in range(200_000)))")
    with Run(tmp_path, [app], stdout=writer) as run:
        os.close(writer)
        run.until(lambda: full(reader), "a full pipe")
        said = bytearray()
        while data := os.read(reader, 1 << 16):
            said += data
        assert run.wait() == 0
    records = [json.loads(line) for line in said.splitlines()]
    lines = [record["event"] for record in records if "stream" in record]
    assert lines == [str(n) for n in range(200_000)]
    os.close(reader)


def test_both_streams_blocked_for_ever_do_not_hold_up_the_end(tmp_path) -> None:
    reader, writer = os.pipe()
    app = python(tmp_path, "flood", FLOOD)
    wrap = ("sh", "-c", 'exec "$@" 2>&1', "sh")
    with Run(tmp_path, [app], stdout=writer, wrap=wrap, shutdown={"timeout": "1s"}) as run:
        os.close(writer)
        run.until(lambda: full(reader), "a full pipe")
        began = time.monotonic()
        assert run.stop() == 0
        assert time.monotonic() - began < 1 + 3
    os.close(reader)


@pytest.mark.parametrize("kind", ["reader gone", "full disk", "closed"])
def test_a_stdout_that_takes_nothing(tmp_path, kind) -> None:
    app = python(tmp_path, "app", PARTING)
    apps = [app, python(tmp_path, "crash", CRASH, autorestart=True, max_restarts=1000)]
    wrap: tuple[str, ...] = ()
    reader, writer = os.pipe()
    os.close(reader)
    if kind == "full disk":
        os.close(writer)
        writer = os.open("/dev/full", os.O_WRONLY)
    elif kind == "closed":
        wrap = ("sh", "-c", 'exec "$@" >&-', "sh")
    with Run(tmp_path, apps, stdout=writer, wrap=wrap, shutdown={"timeout": "3s"}) as run:
        os.close(writer)
        run.until(lambda: starts(tmp_path) > 3, "restarts")
        code = run.stop()
        events = [json.loads(line)["event"] for line in run.stderr.splitlines()]
        # Who closes stdout (`>&-`) has said that nothing is wanted.
        assert events == ([] if kind == "closed" else ["log lines were not delivered"])
        # On a full disk the worker's parting words cannot be written: it is killed.
        assert code in ((3, 137) if kind == "full disk" else (3,))


# -- raw ------------------------------------------------------------------------------------

RAW = (
    WRITE
    + """
os.set_blocking(1, False)
same = os.stat("/proc/1/fd/1").st_ino == os.fstat(1).st_ino
write(b"same\\n" if same else b"copied\\n")
while True:
    signal.pause()
"""
)


def test_raw_gives_workers_the_real_stdout_alone(tmp_path) -> None:
    reader, writer = os.pipe()
    app = python(tmp_path, "app", RAW)
    with Run(tmp_path, [app], stdout=writer, log="raw") as run:
        os.close(writer)
        assert os.read(reader, 100) == b"same\n"
        run.until(lambda: b"worker started" in run.stderr, "events on stderr")
        assert run.stop() == 0
        assert os.read(reader, 100) == b""
        for line in run.stderr.splitlines():
            assert json.loads(line)["event"]
    os.close(reader)


# -- a file that says something else of the log ------------------------------------------------

TALK = (
    WRITE
    + """
write(b"half of ")
signal.signal(signal.SIGUSR2, lambda *_: write(b"a line\\n"))
write(b"ready\\n", 2)
while True:
    signal.pause()
"""
)


def test_the_log_changes_under_running_workers(tmp_path) -> None:
    app = python(tmp_path, "app", TALK)

    def reload(**log) -> None:
        run.write(json.dumps({"apps": [app], "log": log}))
        run.signal(signal.SIGHUP)

    with Run(tmp_path, [app], log={"level": "info"}) as run:
        [ready] = run.said("ready")
        reload(keys="gcp")
        run.until(lambda: b'"severity":"INFO","message":"config accepted"' in run.lines[-1], "gcp")
        os.kill(run.outer_pid(ready["pid"]), signal.SIGUSR2)
        run.until(lambda: b'"message":"half of a line"' in run.lines[-1], "a line as gcp")
        app["time"] = True
        reload(format="console")
        run.until(lambda: b"config accepted" in run.lines[-1], "console")
        os.kill(run.outer_pid(ready["pid"]), signal.SIGUSR2)
        run.until(lambda: b"a line" in run.lines[-1], "a line as text")
        assert run.lines[-1].startswith(b"app:0  | 20")
        reload(level="error")
        run.until(lambda: listed(run).get("revision") == 4, "the third change")
        # Nobody was replaced for it.
        assert sum(b"worker started" in line for line in run.lines) == 1
        assert run.stop() == 0
        assert b"shutdown" not in run.lines[-1]


def test_to_and_from_raw_counts_for_new_workers(tmp_path) -> None:
    app = python(tmp_path, "app", TALK, autorestart=True)
    with Run(tmp_path, [app]) as run:
        run.said("ready")
        run.write(json.dumps({"apps": [app], "log": "raw"}))
        run.signal(signal.SIGHUP)
        run.until(lambda: b"config accepted" in run.stderr, "events on stderr")
        assert pyinit(run, "restart", "app").returncode == 0
        run.until(lambda: b"ready\n" in run.stderr, "the worker's own stderr")
        run.write(json.dumps({"apps": [app], "log": "json"}))
        run.signal(signal.SIGHUP)
        # What the raw worker wrote without an end is before it on the same line.
        run.until(lambda: b"config accepted" in run.lines[-1], "events on stdout")
        assert pyinit(run, "restart", "app").returncode == 0
        run.until(lambda: sum(b'"event":"ready"' in x for x in run.lines) == 2, "wrapped again")
        assert run.stop() == 0
