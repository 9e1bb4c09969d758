"""Lines a second through the log pump: real pipes, real writers, a reader that counts.

    python benchmarks/log_throughput.py [--lines N] [--writers 1,8] [--format json] [--profile]

For each number of writers: that many processes write 80-byte lines (in pieces of 4 KiB,
as libc's stdout buffer does) through the pump of this process into a pipe that `wc -l`
reads. Prints lines a second, CPU time of the pump for a line, and lines lost, which must
be 0. For comparison `cat` carries the same bytes.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from entrypoint.core.spec import LogSpec
from entrypoint.logs.pump import LogPump
from entrypoint.logs.stream import worker_pipe
from entrypoint.loop import Loop

KINDS = {
    "plain": b"x" * 79 + b"\n",
    "json": b'{"msg":"' + b"x" * 50 + b'","status":200,"n":1}\n',
    "pino": b'{"level":30,"time":1767323045678,"pid":27,"hostname":"web-5d9","msg":"GET /"}\n',
    "escaped": b'GET "/index.html" \t' + "é".encode() * 20 + b"x" * 20 + b"\n",
}
WRITER = """
import os, sys
line, lines = sys.argv[1].encode(), int(sys.argv[2])
n = max(1, 4096 // len(line))
block = line * n
while lines >= n:
    data = block
    while data:
        data = data[os.write(1, data):]
    lines -= n
os.write(1, line * lines)
"""


def fail(where: str, error: BaseException) -> None:
    raise SystemExit(f"{where}: {error!r}")


def writer(line: bytes, lines: int, fd: int) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", WRITER, line, str(lines)], stdout=fd)


def run(
    line: bytes, lines: int, writers: int, log_format: str, multiline: str = ""
) -> tuple[float, float, int]:
    """(seconds, CPU seconds of the pump, lines counted by the reader)."""
    counter = subprocess.Popen(["wc", "-l"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    loop = Loop(fail)
    pump = LogPump(loop, counter.stdin.fileno(), LogSpec(format=log_format))
    started = time.perf_counter()
    cpu = time.process_time()
    children = []
    for number in range(writers):
        ours, theirs = worker_pipe()
        children.append(writer(line, lines // writers, theirs))
        os.close(theirs)
        pump.attach("web", number, number, children[-1].pid, ours, None, multiline=multiline)
        pump.closed(number, lambda: loop.stop() if not pump._open else None)
    loop.run()
    lost = pump.flush(time.monotonic() + 60)
    cpu = time.process_time() - cpu
    pump.close()
    counter.stdin.close()
    counted = int(counter.stdout.read())
    seconds = time.perf_counter() - started
    counter.wait()
    for child in children:
        child.wait()
    assert not lost
    return seconds, cpu, counted


def run_cat(line: bytes, lines: int) -> float:
    counter = subprocess.Popen(["wc", "-l"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    started = time.perf_counter()
    cat = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=counter.stdin)
    child = writer(line, lines, cat.stdin.fileno())
    cat.stdin.close()
    counter.stdin.close()
    counter.stdout.read()
    seconds = time.perf_counter() - started
    for process in (child, cat, counter):
        process.wait()
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--lines", type=int, default=2_000_000)
    parser.add_argument("--writers", default="1,8")
    parser.add_argument("--format", default="json")
    parser.add_argument("--kind", default="plain", choices=KINDS)
    parser.add_argument("--multiline", default="", help="auto, or ^REGEX")
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    line = KINDS[options.kind]
    print(f"cat: {options.lines / run_cat(line, options.lines):,.0f} lines/s")
    for writers in map(int, options.writers.split(",")):
        lines = options.lines // writers * writers
        if options.profile:
            import cProfile

            profile = cProfile.Profile()
            profile.runcall(run, line, lines, writers, options.format, options.multiline)
            profile.print_stats("tottime")
            continue
        seconds, cpu, counted = run(line, lines, writers, options.format, options.multiline)
        print(
            f"{writers} writers: {lines / seconds:,.0f} lines/s, "
            f"{cpu / lines * 1e6:.2f} µs CPU a line, {lines - counted} lost"
        )


if __name__ == "__main__":
    main()
