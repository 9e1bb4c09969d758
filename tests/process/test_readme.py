"""The blocks of README.md, executed. Its Dockerfile is built in tests/container."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.support.ports import free_port
from tests.support.run import PYINIT, Run, get
from tests.support.wait import wait_until

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
FILES = [yaml.safe_load(text) for language, text in BLOCKS if language == "yaml"]
COMMANDS = [
    line[2:].partition("  #")[0].strip()
    for language, text in BLOCKS
    if language == "console"
    for line in text.splitlines()
]

SERVER = """
import http.server, os, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")
print("serves", flush=True)
http.server.ThreadingHTTPServer(("127.0.0.1", {port}), Handler).serve_forever()
"""
SLEEPER = "import time\nprint('works', flush=True)\nwhile True: time.sleep(1000)\n"


def file_with(app: str) -> dict:
    (found,) = [each for each in FILES if app in [one["name"] for one in each["apps"]]]
    return found


def test_every_block_is_of_a_kind_that_is_executed() -> None:
    assert {language for language, _ in BLOCKS} == {"console", "dockerfile", "yaml"}
    assert len(FILES) == 3
    named = {command.split()[0] for command in COMMANDS}
    assert named == {"make", "pyinit"}


@pytest.mark.parametrize("number", range(3))
def test_the_files_are_right(tmp_path: Path, number: int) -> None:
    text = [text for language, text in BLOCKS if language == "yaml"][number]
    (tmp_path / "ecosystem.yaml").write_text(text)
    for name in ("server.js", "app.py", "api.py", "migrate.py", "mailer.py"):
        (tmp_path / name).touch()
    # The commands of the file must be there, whatever they are here.
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("node", "uvicorn", "python3"):
        (tools / name).symlink_to("/bin/true")
    path = f"{tools}:{os.environ['PATH']}"
    done = subprocess.run(
        [PYINIT, "check", "--strict"],
        cwd=tmp_path,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_two_processes_in_a_container(tmp_path: Path) -> None:
    file = file_with("mailer")
    port = free_port()
    apps = {each["name"]: each for each in file["apps"]}
    apps["api"]["listen"] = f"127.0.0.1:{port}"
    (tmp_path / "migrate.py").write_text("print('migrated', flush=True)")
    (tmp_path / "api.py").write_text(SERVER.format(port=port))
    (tmp_path / "mailer.py").write_text(SLEEPER)
    with Run(tmp_path, file["apps"]) as run:
        run.said("works", app="mailer")
        run.event("app ready", app="api")
        assert get(port) == (200, "ok")
        order = [record["event"] for record in run.records if "stream" in record]
        assert order.index("migrated") < order.index("serves")
        assert run.stop() == 0


@pytest.mark.servers
def test_python(tmp_path: Path) -> None:
    file = file_with("web") if len(FILES) == 1 else FILES[1]
    (app,) = file["apps"]
    port = free_port()
    app["script"] = app["script"].replace("3000", str(port))
    app["script"] = f"{Path(sys.executable).parent}/{app['script']}"
    app["listen"] = f"127.0.0.1:{port}"
    (tmp_path / "app.py").write_text(
        "async def app(scope, receive, send):\n"
        "    if scope['type'] == 'http':\n"
        "        start = {'type': 'http.response.start', 'status': 200, 'headers': []}\n"
        "        await send(start)\n"
        "        await send({'type': 'http.response.body', 'body': b'ok'})\n"
    )
    with Run(tmp_path, [app]) as run:
        run.event("app ready", app="web")
        assert run.events("app ready")[0]["workers"] == 4
        assert get(port, "/health") == (200, "ok")
        assert run.stop() == 0


@pytest.mark.node
def test_node_by_pm2s_file(tmp_path: Path) -> None:
    if shutil.which("node") is None:
        pytest.skip("needs node")
    config = "module.exports = {apps: [{name: 'web', script: 'server.js', instances: 2}]};"
    (tmp_path / "ecosystem.config.js").write_text(config)
    (tmp_path / "server.js").touch()
    commands = [each for each in COMMANDS if each.endswith("ecosystem.config.js")]
    assert [each.split()[1] for each in commands] == ["check", "convert"]
    for command in commands:
        done = subprocess.run(
            [PYINIT, *command.split()[1:]], cwd=tmp_path, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_a_laptop(tmp_path: Path) -> None:
    commands = [each for each in COMMANDS if each.split()[0] == "pyinit" and "." not in each]
    assert commands == ["pyinit ecosystem", "pyinit check", "pyinit"]
    (tmp_path / "server.js").touch()
    for command in commands[:2]:
        done = subprocess.run(
            [PYINIT, *command.split()[1:]], cwd=tmp_path, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "ecosystem.yaml").exists()
    # Without -c it is the file of the folder that runs.
    text = '{"apps": [{"name": "one", "script": "sh -c \'echo up; exec sleep 1000\'"}]}'
    with Run(tmp_path, file=text, command=("--only", "one")) as run:
        run.said("up", app="one")
        wait_until(lambda: run.events("app ready"), run.story)
        assert run.stop() == 0


def test_the_targets_of_make_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    named = {each.split()[1] for each in COMMANDS if each.startswith("make ")}
    named |= set(re.findall(r"`make (\w+)", README))
    assert named >= {"image", "demo", "sbom", "bench"}
    for target in named:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
