"""`pyinit logs`: recent lines, following ones, and readers that are too slow."""

from __future__ import annotations

import json
import time

import pytest

from tests.support.commands import (
    PYINIT,
    answering,
    begin,
    connect,
    inside,
    private_socket,
    pyinit,
)
from tests.support.run import Run
from tests.support.vt import Transcript

pytestmark = [pytest.mark.process, pytest.mark.pid1]


class ShortList(list):
    """Forgets what a flood brings: a failure shows everything else."""

    def append(self, line) -> None:
        super().append(line[:200])


def shell(name: str, code: str) -> dict:
    return {"name": name, "script": "sh", "args": ["-c", code]}


def test_recent_lines_of_one_app_and_of_all(tmp_path) -> None:
    apps = [shell("web", "echo one; echo two >&2; exec sleep 1000")]
    apps.append(shell("api", "sleep 0.2; while :; do echo tick; sleep 0.2; done"))
    with Run(tmp_path, apps) as run:
        run.said("two")
        answering(run)
        web = pyinit(run, "logs", "web")
        # The very first lines may have come before anything was kept.
        assert "tick" not in web.stdout
        run.until(lambda: "tick" in pyinit(run, "logs").stdout, "lines of api")
        raw = pyinit(run, "logs", "api", "--json", "--lines", "2").stdout.splitlines()
        assert len(raw) == 2
        assert all("app" in json.loads(line) for line in raw)


def test_following_goes_on_until_pyinit_ends(tmp_path) -> None:
    apps = [shell("web", "n=0; while :; do echo line $n; n=$((n+1)); sleep 0.05; done")]
    with Run(tmp_path, apps) as run:
        answering(run)
        client = begin(run, "logs", "web", "-f", "--lines", "0")
        numbers = []
        while len(numbers) < 10:
            line = client.stdout.readline()
            if " | line " in line:
                numbers.append(int(line.split()[-1]))
        assert numbers == list(range(numbers[0], numbers[0] + 10))
        # The end of PID 1 takes everything of its namespace along, the client too.
        assert run.stop() == 0
        client.communicate(timeout=30)
        assert client.returncode


def test_a_reader_that_is_too_slow_misses_lines_and_is_told(tmp_path) -> None:
    code = "sleep 1; while :; do head -c 4000 /dev/zero | tr '\\0' x; echo; done"
    with Run(tmp_path, [shell("loud", code)]) as run:
        answering(run)
        sock = connect(private_socket(run))
        with sock:
            request = "GET /control/logs?follow=1&lines=0&app=loud HTTP/1.1\r\nHost: p\r\n\r\n"
            sock.sendall(request.encode())
            seen = len(run.lines)
            # More than the kernel and pyinit keep for a client.
            run.until(lambda: len(run.lines) > seen + 300, "lines on stdout")
            run.lines = ShortList()
            data = b""
            end = time.monotonic() + 30
            while b"log lines skipped" not in data and time.monotonic() < end:
                data += sock.recv(1 << 16)
        lines = data.partition(b"\r\n\r\n")[2].split(b"\n")[:-1]
        records = [json.loads(line) for line in lines]
        [notice] = [r for r in records if r["event"] == "log lines skipped"][:1]
        assert notice["lines"] > 0


def test_a_list_again_and_again_for_a_pipe_and_filters_for_logs(tmp_path) -> None:
    said = 'echo \'{"level":"error","msg":"bad","n":7}\'; echo fine'
    # The very first lines come before any are kept.
    code = f"while :; do {said}; sleep 0.2; done"
    with Run(tmp_path, [shell("web", code)]) as run:
        run.said("fine")
        answering(run)
        client = begin(run, "ls", "--json", "--watch", "0.1")
        listed = [json.loads(client.stdout.readline()) for _ in range(2)]
        client.stdout.close()  # as `| head -2` does
        assert client.wait(30) == 1
        assert [found["apps"][0]["name"] for found in listed] == ["web", "web"]
        client = begin(run, "ls", "--watch", "0.1")
        rows = []
        while rows.count("\n") < 2:  # an empty line after each table
            rows.append(client.stdout.readline())
        client.stdout.close()
        assert client.wait(30) == 1
        assert sum("web" in row for row in rows) == 2
        # A terminal that knows no escapes gets none.
        watch = inside(run, PYINIT, "ls", "--watch", "0.1")
        with Transcript(watch, env={"TERM": "dumb"}) as terminal:
            assert "\x1b" not in terminal.shows("┘") + terminal.shows("┘")
        wrong = pyinit(run, "ls", "--watch", "soon")
        assert wrong.returncode == 2
        assert "is no number of seconds" in wrong.stderr

        run.until(lambda: "bad" in pyinit(run, "logs", "web").stdout, "its line")
        shown = pyinit(run, "logs", "web", "--level", "error", "--field", "n=7")
        assert "bad" in shown.stdout
        assert "fine" not in shown.stdout
        assert pyinit(run, "logs", "--field", "n=8").stdout == ""
        assert run.stop() == 0
