from __future__ import annotations

import os
import stat

import pytest

from entrypoint.config.errors import ConfigErrors
from entrypoint.config.load import load


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory with programs of its own: `run(text)` loads a file there."""
    monkeypatch.chdir(tmp_path)
    return Folder(tmp_path)


class Folder:
    def __init__(self, path):
        self.path = path
        self.bin = path / "bin"
        self.bin.mkdir()
        self.environ = {"PATH": f"{self.bin}:/usr/bin:/bin"}
        for name in ("node", "python3", "bash"):
            self.program(f"bin/{name}")
        self.program("bin/serve", "#!/usr/bin/env node\n")
        self.program("bin/npm", "#!/usr/bin/env node\n")
        self.program("bin/tool", "#!/bin/sh\n")
        self.file("app.js", "//\n")

    def file(self, name, text=""):
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    def program(self, name, text="#!/bin/sh\n"):
        path = self.file(name, text)
        path.chmod(path.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
        return path

    def load(self, text, *, name="ecosystem.yaml", **options):
        self.file(name, text)
        return load(name, environ=options.pop("environ", self.environ), **options)

    def app(self, text, **options):
        """The one app with these keys, as YAML lines."""
        lines = "\n".join(f"    {line}" for line in text.strip("\n").split("\n"))
        return self.load(f"apps:\n  -\n{lines}\n", **options).plan.apps[0]

    def errors(self, text, **options):
        with pytest.raises(ConfigErrors) as caught:
            self.load(text, **options)
        return [str(error) for error in caught.value.errors]

    def app_errors(self, text, **options):
        lines = "\n".join(f"    {line}" for line in text.strip("\n").split("\n"))
        return self.errors(f"apps:\n  -\n{lines}\n", **options)


@pytest.fixture
def not_root(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(os, "getegid", lambda: 1000)
