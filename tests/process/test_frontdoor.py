"""`pyinit server.js -i 2` and its kin as PID 1, and PM2's commands in the running container."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.namespace import Init
from tests.support.wait import wait_until

PYINIT = Path(sys.executable).parent / "pyinit"

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(not shutil.which("node"), reason="node is not installed"),
]

PROGRAM = """\
console.log(JSON.stringify({
  id: process.env.pm_id, name: process.env.name, argv: process.argv.slice(2),
  mode: process.env.exec_mode, send: typeof process.send, cwd: process.cwd(),
}));
process.stderr.write('to stderr\\n');
setInterval(() => {}, 1e9);
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "server.js").write_text(PROGRAM)
    (tmp_path / "run").mkdir(mode=0o700)
    return tmp_path


def started(folder, *words, count=1):
    """pyinit as process 1, and the records of its first workers."""
    environ = {"PYINIT_RUN_DIR": str(folder / "run")}
    init = Init([PYINIT, *words], cwd=folder, env=environ)

    def records():
        found = [json.loads(line) for line in init.lines]
        return [r for r in found if r.get("stream") == "stdout" and "argv" in r]

    try:
        wait_until(lambda: len(records()) >= count, init.story)
    except BaseException:
        init.__exit__()
        raise
    return init, records()


def ask(init, folder, *words):
    done = subprocess.run(
        ["nsenter", "-t", str(init.pid), "-p", "-m", f"--wd={folder}", "--", PYINIT, *words],
        env={**os.environ, "PYINIT_RUN_DIR": str(folder / "run")},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    return done.returncode, done.stdout, done.stderr


def test_a_program_and_pm2s_commands(folder):
    init, records = started(folder, "-i", "2", "server.js", "--", "a b", "{port}", count=2)
    with init:
        assert sorted(record["id"] for record in records) == ["0", "1"]
        for record in records:
            assert record["argv"] == ["a b", "{port}"]
            assert (record["name"], record["mode"]) == ("server", "cluster_mode")
            assert record["send"] == "function"
        code, out, _ = ask(init, folder, "jlist")
        assert code == 0
        first, second = json.loads(out)
        assert (first["name"], first["pm_id"], second["pm_id"]) == ("server", 0, 1)
        assert first["pm2_env"]["exec_mode"] == "cluster_mode"
        assert "PATH" not in out
        assert ask(init, folder, "ping") == (0, "pong\n", "")
        assert ask(init, folder, "id", "server")[1] == "[0, 1]\n"
        assert len(ask(init, folder, "pid", "server")[1].split()) == 2
        assert "server" in ask(init, folder, "list")[1]
        assert "server" in ask(init, folder, "show", "server")[1]
        code, out, _ = ask(init, folder, "logs", "--raw", "--err", "--nostream", "--lines", "50")
        assert (code, out) == (0, "to stderr\n" * 2)
        code, _, err = ask(init, folder, "server.js")
        assert code == 2
        assert "runs in this container" in err
        code, _, err = ask(init, folder, "restart", "ecosystem.config.js")
        assert code == 1
        assert "reload --config" in err
        assert ask(init, folder, "restart", "0", "--update-env")[0] == 0
        assert ask(init, folder, "delete", "server")[0] == 0
        assert ask(init, folder, "start", "server")[0] == 0
        assert ask(init, folder, "reload", "--config")[0] == 0


def test_a_file_with_options(folder):
    apps = [{"name": name, "script": "server.js", "cwd": "/"} for name in ("a", "b")]
    (folder / "process.json").write_text(json.dumps(apps))
    words = ("start", "process.json", "--only", "b", "--cwd", str(folder), "--no-daemon")
    init, records = started(folder, *words)
    with init:
        assert [(r["name"], r["cwd"]) for r in records] == [("b", str(folder))]
        init.signal(15)
        assert init.wait() == 0


def test_a_program_that_is_wrong(folder):
    for words, said in (
        (["nope.js"], "no file 'nope.js'"),
        (["sleep", "1"], "pyinit -- sleep 1"),
        (["server.js", "-i", "many", "--uid", "nobody-here"], "no user 'nobody-here'"),
    ):
        with Init([PYINIT, *words], cwd=folder) as init:
            assert init.wait() == 2
            assert said in init.err
