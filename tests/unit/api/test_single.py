"""Which command lines are those of `pyinit -- CMD`."""

from __future__ import annotations

import pytest

from entrypoint.client.single_command import command_of

PYTHON = "/usr/bin/python3"


@pytest.mark.parametrize(
    ("line", "command"),
    [
        ("pyinit -- node app.js", "node app.js"),
        ("-E -P /usr/local/bin/pyinit -- node app.js", "node app.js"),
        ("-m entrypoint -- node", "node"),
        ("pyinit -g -- node -e 1", "node -e 1"),
        ("pyinit -vvg -p SIGTERM -e 143 node x", "node x"),
        ("pyinit -pTERM -e143 -- node", "node"),
        ("pyinit -c ecosystem.yaml", ""),
        ("pyinit", ""),
        ("pyinit run", ""),
        ("pyinit health live", ""),
        ("app.py -- node", ""),
        ("-m other -- node", ""),
        ("", ""),
    ],
)
def test_the_command(line: str, command: str) -> None:
    assert command_of((PYTHON, *line.split())) == tuple(command.split())


def test_a_link_by_another_name(tmp_path) -> None:
    (tmp_path / "pyinit").touch()
    (tmp_path / "tini").symlink_to(tmp_path / "pyinit")
    assert command_of((PYTHON, str(tmp_path / "tini"), "--", "node")) == ("node",)


@pytest.mark.parametrize("name", ["pyinit", "/opt/pyinit/bin/pyinit"])
def test_the_packaged_program_has_no_interpreter(name):
    assert command_of((name, "--", "node", "app.js")) == ("node", "app.js")
    assert command_of((name, "-g", "--", "node")) == ("node",)
    assert command_of((name, "-c", "ecosystem.yaml")) == ()
