"""The tutorial from pm2-runtime, executed as it stands: files, commands, a reload under load."""

from __future__ import annotations

import re
import shlex
import tempfile
import textwrap
import threading
import time
from pathlib import Path

import pytest

from tests.container.engine import Container, wait_until

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/tutorial/from-pm2.md"
BLOCK = re.compile(r"^ *```(\w+)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)


def blocks():
    """(language, text) of each block, without the page's indent."""
    found = BLOCK.findall(PAGE.read_text(encoding="utf-8"))
    return [(language, textwrap.dedent(text)) for language, text in found]


def commands():
    """The words of each `docker` command of the page."""
    lines = [line for kind, text in blocks() if kind == "console" for line in text.splitlines()]
    return [shlex.split(line[2:]) for line in lines if line.startswith("$ docker ")]


class Load(threading.Thread):
    """Asks again and again, with a connection each; what came is counted."""

    def __init__(self, container):
        super().__init__(daemon=True)
        self.container, self.answers, self.failures, self.over = container, 0, [], False
        self.start()

    def run(self):
        while not self.over:
            try:
                answer = self.container.get(3000)
                assert answer.status == 200, answer
                self.answers += 1
            except (OSError, AssertionError) as error:
                self.failures.append(repr(error))
            time.sleep(0.005)

    def stop(self):
        self.over = True
        self.join(30)


@pytest.fixture
def folder():
    """A folder that the image's user may read, which pytest's are not."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_from_pm2(engine, pyinit_image, folder):
    for kind, text in blocks():
        named = re.match(r"(?://|#) (\S+)\n", text)
        if kind in {"js", "dockerfile"} and named:
            (folder / named[1]).write_text(text.replace("pyinit:node", pyinit_image))
    assert {path.name for path in folder.iterdir()} == {
        "server.js",
        "ecosystem.config.js",
        "Dockerfile",
    }
    replaced = {"$PWD:/app:ro": f"{folder}:/app:ro", "pyinit:node": pyinit_image}
    replaced |= {".": str(folder), "api": "pyinit-tutorial"}
    said = {}
    load = None
    engine.docker("rm", "--force", "pyinit-tutorial", check=False)
    try:
        for words in commands():
            verb = words[1]
            args = [replaced.get(word, word) for word in words[1:]]
            if verb == "exec":
                args[-1] = words[-1]  # the app's name, not the container's
            if verb == "stop":
                load.stop()
            done = engine.docker(*args)
            said[" ".join(words[1:])] = done.out + done.err
            if "--detach" in words:
                load = loaded(Container(engine, "pyinit-tutorial"))
    finally:
        if load is not None:
            load.stop()
        engine.docker("rm", "--force", "pyinit-tutorial", check=False)
    assert load.failures == []
    assert load.answers > 20
    texts = {key.split()[0] + " " + key.split()[-1]: text for key, text in said.items()}
    assert "PM2-002" in texts["run production"]
    assert "ecosystem.config.js: ok" in texts["run production"]
    assert texts["exec list"].count("online") == 2
    assert "2 of 2 workers" in texts["exec api"]
    assert texts["inspect api"].strip() == "0"
    assert "kill_signal: SIGINT" in texts["run ecosystem.config.js"]


def loaded(container):
    """Requests without a pause, once both workers are ready."""
    wait_until(lambda: len(ready(container)) == 2, "two workers")
    load = Load(container)
    wait_until(lambda: load.answers > 20, "answers")
    return load


def ready(container):
    return [event for event in container.events() if event.get("event") == "worker ready"]
