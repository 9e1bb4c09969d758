"""How much Python PID 1 loads. The figures in docs/decisions/0003-imports-of-pid-1.md are bounds.

`pytest -s tests/pid1/test_loaded.py` prints today's.
"""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import sys
from pathlib import Path

import pytest

from tests.support.commands import answering, pyinit
from tests.support.namespace import PYINIT, ROOT, Init
from tests.support.ports import free_port
from tests.support.run import Run, get
from tests.support.wait import wait_until

pytestmark = pytest.mark.pid1

NOTE = [sys.executable, "-S", str(ROOT / "tests/support/note_imports.py")]
PAGE = ROOT / "docs/decisions/0003-imports-of-pid-1.md"
ROW = re.compile(r"^\| (.+?) \| ([\d,]+) \| ([\d,]+) \| ([\d,]+) \| ([\d,]+) \|$", re.MULTILINE)
BOUNDS = {
    case: tuple(int(figure.replace(",", "")) for figure in figures)
    for case, *figures in ROW.findall(PAGE.read_text(encoding="utf-8"))
}


def loaded(path: Path) -> dict[str, int]:
    """The lines of each module of Python among those that were noted."""
    found = {}
    for name in set(path.read_text().split()):
        try:
            spec = importlib.util.find_spec(name)
        except (ImportError, ValueError):
            continue  # was tried, and is not there
        if name == "__main__" or spec is None or not (spec.origin or "").endswith(".py"):
            continue
        found[name] = len(Path(spec.origin).read_bytes().splitlines())
    return found


def bounded(case: str, path: Path) -> None:
    found = loaded(path)
    ours = {name: lines for name, lines in found.items() if name.split(".")[0] == "entrypoint"}
    figures = (len(ours), sum(ours.values()), len(found), sum(found.values()))
    print(f"\n{case}: pyinit's own: {figures[0]} modules, {figures[1]:,} lines;", end=" ")
    print(f"with all others: {figures[2]} modules, {figures[3]:,} lines")
    most = sorted(found.items(), key=lambda each: -each[1])[:8]
    print("  the longest:", ", ".join(f"{name} {count:,}" for name, count in most))
    assert "entrypoint.boot" in ours
    within = [figure <= bound for figure, bound in zip(figures, BOUNDS[case], strict=True)]
    assert all(within), f"{figures} where {BOUNDS[case]} is the most: {sorted(found)}"


def test_the_page_has_a_bound_for_each_case() -> None:
    assert set(BOUNDS) == {"`pyinit -- CMD`", "a file with one app", "everything on"}


def test_one_command(tmp_path: Path) -> None:
    with Init([*NOTE, tmp_path / "noted", PYINIT, "--", "sh", "-c", "echo up; exit 3"]) as init:
        assert init.wait() == 3
        assert init.out == "up\n"
    bounded("`pyinit -- CMD`", tmp_path / "noted")


def test_a_plain_file(tmp_path: Path) -> None:
    apps = [{"name": "web", "script": "sh -c 'echo up; exec sleep 1000'"}]
    with Run(tmp_path, apps, wrap=(*NOTE, str(tmp_path / "noted"))) as run:
        run.said("up")
        run.event("worker started")
        assert run.stop() == 0
    bounded("a file with one app", tmp_path / "noted")


SERVER = """
import http.server
http.server.test(http.server.SimpleHTTPRequestHandler, port={port}, bind="127.0.0.1")
"""
NODE = """
require("http").createServer((_, answer) => answer.end("ok")).listen({port}, "127.0.0.1",
  () => process.send("ready"));
"""


PATHS = ("/livez", "/readyz?verbose", "/startupz", "/status", "/metrics", "/", "/nonsense")


@pytest.mark.slow
def test_everything_on(tmp_path: Path) -> None:
    web, probes, node = free_port(), free_port(), free_port()
    (tmp_path / "server.py").write_text(SERVER.format(port=web))
    (tmp_path / "server.js").write_text(NODE.format(port=node))
    (tmp_path / "secret").write_text("x")
    apps = [
        {
            "name": "web",
            "script": "server.py",
            "interpreter": sys.executable,
            "exec_mode": "cluster",
            "instances": 2,
            "listen": [f"127.0.0.1:{web}", {"address": f"unix:{tmp_path}/sock", "optional": True}],
            "health": {"http": "/", "interval": "1s"},
            "max_memory_restart": "1G",
            "watch": ["server.py"],
            "multiline": True,
            "before_start": "true",
            "after_stop": "true",
            "env_from_file": {"SECRET": str(tmp_path / "secret")},
        },
        {"name": "job", "script": "true", "cron_restart": "0 0 1 1 *", "autorestart": False},
        {"name": "terminal", "script": "sh -c 'echo up; exec sleep 1000'", "tty": True},
        {"name": "alive", "script": "sleep 1000", "health": {"exec": "true"}},
    ]
    if shutil.which("node"):
        listen = f"127.0.0.1:{node}"
        apps.append(
            {"name": "node", "script": "server.js", "exec_mode": "cluster", "listen": listen}
        )
    top = {"probes": {"listen": f"127.0.0.1:{probes}"}, "watch_config": True}
    with Run(tmp_path, apps, wrap=(*NOTE, str(tmp_path / "noted")), **top) as run:
        for app in ("web", "alive"):
            run.event("app ready", app=app)
        for path in PATHS:
            assert get(probes, path)[0] in (200, 404, 503)
        assert answering(run)
        for words in (
            ("describe", "web"),
            ("logs", "web"),
            ("signal", "WINCH", "terminal"),
            ("scale", "web", "3"),
            ("restart", "alive"),
            ("journal",),
            ("run", "job"),
            ("reload", "--config"),
            ("reload", "web"),
        ):
            done = pyinit(run, *words, timeout=120)
            assert done.returncode == 0, (words, done.stderr, run.story())
        (tmp_path / "server.py").write_text(SERVER.format(port=web) + "\n")
        run.event("files changed")
        wait_until(lambda: json.loads(get(probes, "/status")[1]), "still there")
        assert run.stop() == 0
    bounded("everything on", tmp_path / "noted")
