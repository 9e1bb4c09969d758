"""Ports of debuggers, as command lines ask for them."""

from __future__ import annotations

import pytest

from entrypoint.core.addresses import debugger_ports
from entrypoint.core.spec import AppSpec


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("node --inspect server.js", {9229, 9230, 9328}),
        ("node --inspect=0.0.0.0:9229 server.js", {9229, 9230}),
        ("node --inspect-brk=5858 server.js", {5858}),
        ("deno run --inspect-wait=[::1]:4000 main.ts", {4000}),
        ("java -agentlib:jdwp=transport=dt_socket,server=y,address=*:5005 -jar a.jar", {5005}),
        ("java -Xrunjdwp:transport=dt_socket,address=8000,server=y A", {8000}),
        ("python -m debugpy --listen 0.0.0.0:5678 app.py", {5678}),
        ("dlv exec --headless --listen=:2345 ./server", {2345}),
    ],
)
def test_a_debugger_of_the_command_line(command, expected):
    assert expected <= debugger_ports(AppSpec("web", tuple(command.split()), "/"))


@pytest.mark.parametrize(
    "command",
    [
        "node server.js --port 9229",
        "uvicorn app:app --port 5678",
        "server --listen 0.0.0.0:2345",
        "python app.py --inspect=",
        "node --inspect=0 server.js",
    ],
)
def test_a_port_of_the_program_is_none(command):
    found = debugger_ports(AppSpec("web", tuple(command.split()), "/"))
    assert not found & {5678, 2345, 0}
    if "--inspect" not in command:
        assert not found


def test_the_variables_of_runtimes_count_and_no_others():
    said = (("NODE_OPTIONS", "--inspect=9333"), ("OTHER", "--inspect=9444"))
    assert debugger_ports(AppSpec("web", ("npm", "start"), "/", env=said)) == {9333}
