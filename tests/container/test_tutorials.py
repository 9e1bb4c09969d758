"""The tutorials for movers, executed as they stand: files, commands, a reload under load."""

from __future__ import annotations

import json
import shlex
import tempfile
import threading
import time
from pathlib import Path

import pytest

from tests.container.engine import Container, wait_until
from tests.support.pages import Page

NAME = "pyinit-tutorial"


class Load(threading.Thread):
    """Asks again and again, with a connection each; what came is counted."""

    def __init__(self, container, port):
        super().__init__(daemon=True)
        self.container, self.port = container, port
        self.answers, self.failures, self.over = 0, [], False
        self.start()

    def run(self):
        while not self.over:
            try:
                answer = self.container.get(self.port)
                assert answer.status == 200, answer
                self.answers += 1
            except (OSError, AssertionError) as error:
                self.failures.append(repr(error))
            time.sleep(0.005)

    def stop(self):
        self.over = True
        self.join(30)


class Walk:
    """All steps of a page. `insert` (after which line, in which file): for YAML without a name."""

    load: Load | None = None

    def __init__(self, engine, page, folder, port, images, insert=("", "")):
        self.engine, self.folder, self.port = engine, folder, port
        self.images, self.insert = images, insert
        self.said: dict[str, str] = {}
        self.container = ""
        engine.docker("rm", "--force", NAME, check=False)
        try:
            for kind, name, text in page.steps:
                if kind == "run":
                    self.command(text)
                elif kind == "insert":
                    self.change(text)
                else:
                    self.write(name, text)
        finally:
            self.end_load()
            engine.docker("rm", "--force", NAME, check=False)
        assert self.load is not None
        assert self.load.failures == []
        assert self.load.answers > 20

    def end_load(self):
        if self.load is not None:
            self.load.stop()

    def write(self, name, text):
        for written, real in self.images.items():
            text = text.replace(f"FROM {written}\n", f"FROM {real}\n")
        path = self.folder / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(text)
        if text.startswith("#!"):
            path.chmod(0o755)

    def change(self, text):
        line, name = self.insert
        path = self.folder / name
        before = path.read_text()
        assert before.count(line) == 1, before
        path.write_text(
            before.replace(line, line + "".join(f"    {x}\n" for x in text.splitlines()))
        )

    def command(self, line):
        words = shlex.split(line)
        if words[0] != "docker":
            assert words[0] == "make", line
            return
        target = None
        if ">" in words:
            words, target = words[: words.index(">")], words[words.index(">") + 1]
        if "--name" in words:
            self.container = words[words.index("--name") + 1]
        if words[1] == "build":
            tag = words[words.index("--tag") + 1]
            self.images[tag] = f"pyinit-tutorial-{tag}"
        args = [self.real(at, words) for at in range(1, len(words))]
        if words[1] == "stop":
            self.end_load()
        reloads = "exec" in words and "reload" in words and "--config" not in words
        if reloads:
            self.begin_load()
        done = self.engine.docker(*args)
        self.said[line] = done.out + done.err
        if target is not None:
            (self.folder / target).write_text(done.out)
        if "--detach" in words:
            container = Container(self.engine, NAME)
            wait_until(
                lambda: all_online(container),
                lambda: "all workers online\n" + self.logs(),
            )
        if reloads:
            self.await_answers()

    def logs(self):
        done = self.engine.docker("logs", NAME, check=False)
        listed = self.engine.docker("exec", NAME, "pyinit", "ls", check=False)
        return done.out + done.err + listed.out + listed.err

    def begin_load(self):
        if self.load is None:
            self.load = Load(Container(self.engine, NAME), self.port)
        self.await_answers()

    def await_answers(self):
        before = self.load.answers
        wait_until(lambda: self.load.answers > before + 20, "answers")

    def real(self, at, words):
        """The word at that place, as it has to be here."""
        verb, word = words[1], words[at]
        if word == "$PWD:/app:ro":
            return f"{self.folder}:/app:ro"
        if verb == "build" and (word == "." or word.startswith("Dockerfile")):
            return str(self.folder / word)
        if verb == "cp":
            name = word.removeprefix(self.container)
            return str(self.folder / word) if at == 2 else NAME + name if at == 3 else word
        if word == self.container:
            # An app or an image may have the same name.
            first = words.index(word) == at
            if verb in {"exec", "stop", "rm", "inspect"} or words[at - 1] == "--name":
                return NAME if first else word
        return self.images.get(word, word) if verb in {"build", "run"} else word

    def of(self, *words):
        """What the one command with these words said."""
        found = [text for line, text in self.said.items() if all(word in line for word in words)]
        assert len(found) == 1, (words, list(self.said))
        return found[0]


def all_online(container):
    found = container.run("pyinit", "ls", "--json", check=False)
    apps = json.loads(found.out)["apps"] if found.code == 0 else []
    states = [worker["status"] for app in apps for worker in app["workers"]]
    return states and set(states) == {"online"}


@pytest.fixture(scope="module")
def python_image(engine, pyinit_pip_image):
    """As python:3-slim below pyinit: `pip` and what it installs are in PATH."""
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "Dockerfile").write_text(
            f"FROM {pyinit_pip_image}\nUSER root\nRUN python3 -m venv /usr/local/venv\n"
            "ENV PATH=/usr/local/venv/bin:/usr/local/bin:/usr/bin:/bin\n"
        )
        return engine.build(Path(name), "pyinit-test/pyinit-venv")


@pytest.fixture
def folder():
    """A folder that the image's user may read, which pytest's are not."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_from_pm2(engine, pyinit_image, folder):
    walk = Walk(engine, Page("from-pm2"), folder, 3000, {"pyinit:node": pyinit_image})
    assert "PM2-002" in walk.of("check")
    assert "ecosystem.config.js: ok" in walk.of("check")
    assert walk.of("exec", "list").count("online") == 2
    assert "2 of 2 workers" in walk.of("reload")
    assert walk.of("inspect").strip() == "0"
    assert "kill_signal: SIGINT" in walk.of("convert")


def test_from_tini(engine, python_image, folder):
    walk = Walk(engine, Page("from-tini"), folder, 8000, {"pyinit:python": python_image})
    assert "ecosystem.yaml: ok" in walk.of("site-pyinit check")
    assert "2 of 2 workers" in walk.of("reload")
    assert walk.of("stop --time 35") and walk.of("inspect").strip() == "0"


def test_from_supervisord_and_s6(engine, pyinit_image, folder):
    walk = Walk(
        engine,
        Page("from-supervisord"),
        folder,
        8000,
        {"pyinit:python": pyinit_image},
        ("    script: python3 server.py\n", "ecosystem.yaml"),
    )
    assert walk.of("status").count("online") == 2
    assert "worked on letters" in walk.of("logs")
    assert "2 of 2 workers" in walk.of("reload server")
    assert walk.of("inspect").strip() == "0"
    assert "s6-rc.d/server/run" in walk.of("convert s6-rc.d")


def test_from_foreman(engine, pyinit_image, folder):
    walk = Walk(
        engine,
        Page("from-foreman"),
        folder,
        3000,
        {"pyinit:node": pyinit_image},
        ("    script: node server.js\n", "ecosystem.yaml"),
    )
    assert walk.of("pyinit ls").count("online") == 2
    assert "tick for letters" in walk.of("logs")
    assert "reloaded, 1 of 1 worker" in walk.of("reload web")
    assert walk.of("inspect").strip() == "0"
