"""A program gets the environment that the container has, and nothing of Python's."""

from __future__ import annotations

import os
import sys

import pytest

from tests.support.inits import inits, words
from tests.support.namespace import Init
from tests.support.run import Run

# Written by env(1) with NULs between; PWD and _ are a shell's own.
PRINT = ["env", "-0"]


def variables(text):
    return dict(item.split("=", 1) for item in text.split("\0") if "=" in item)


@inits("pyinit", "tini")
@pytest.mark.parametrize(
    "given",
    [
        {},
        {"LC_CTYPE": "POSIX"},
        {"LC_CTYPE": "C.UTF-8"},
        {"LC_ALL": "C", "LANG": "C"},
        {"LANG": "C.UTF-8"},
        # Read from where a module of the app's would be loaded (a second start).
        {"PYTHONPATH": "."},
    ],
    ids=str,
)
def test_of_one_command(init, given, tmp_path):
    (tmp_path / "sitecustomize.py").write_text("")
    env = {"PATH": os.environ["PATH"], **given}
    command = ["env", "-i", *(f"{name}={value}" for name, value in env.items())]
    with Init([*command, *words(init), *PRINT], cwd=tmp_path) as process:
        assert process.wait() == 0
        assert variables(process.out) == env


def test_of_a_worker(tmp_path):
    (tmp_path / "show.py").write_text(
        "import os\nfor n in sorted(open('/proc/self/environ').read().split('\\0')): print(n)\n"
    )
    wrap = ("env", "-i", f"PATH={os.environ['PATH']}", "A=ü")
    app = {"script": "show.py", "interpreter": sys.executable, "autorestart": False, "name": "a"}
    with Run(tmp_path, [app], wrap=wrap) as run:
        assert run.wait() == 0
        names = {line["event"].partition("=")[0] for line in run.records if "stream" in line}
    ours = {
        "NODE_APP_INSTANCE",
        "PYINIT_SLOT",
        "PYINIT_WORKER",
        "NOTIFY_SOCKET",
        "PYTHONUNBUFFERED",
    }
    assert names - {""} == {"PATH", "A"} | ours


@inits("pyinit", "tini")
@pytest.mark.parametrize("locale", ["C", "C.UTF-8", "en_US.ISO-8859-1"])
def test_bytes_that_are_no_text(init, locale):
    bad = b"a\xff\xfeb".decode("utf-8", "surrogateescape")
    show = ["sh", "-c", 'printf "%s|%s" "$BAD" "$0" | od -An -tx1', bad]
    with Init([*words(init), *show], env={"BAD": bad, "LC_ALL": locale}) as process:
        assert process.wait() == 0
        assert process.out.split() == ["61", "ff", "fe", "62", "7c", "61", "ff", "fe", "62"]
