"""Where a connection to a group has to go, when several groups listen on one port."""

from __future__ import annotations

import pytest

from entrypoint.sockets.address import landing
from entrypoint.sockets.addresses import Form
from entrypoint.sockets.group import Group

DUAL, ANY4, LOCAL4, ONLY6 = (
    Form("inet6", "::", 80, v6only=False),
    Form("inet", "0.0.0.0", 80),
    Form("inet", "127.0.0.1", 80),
    Form("inet6", "::", 80, v6only=True),
)


def group(form: Form, *, listening: bool = True) -> Group:
    made = Group(form, 10)
    made.listening = listening
    return made


@pytest.mark.parametrize(
    ("form", "others", "expected"),
    [
        (DUAL, (), ("inet", "127.0.0.1")),
        (ANY4, (), ("inet", "127.0.0.1")),
        (LOCAL4, (DUAL,), ("inet", "127.0.0.1")),
        (ONLY6, (ANY4,), ("inet6", "::1")),
        (DUAL, (ANY4,), ("inet6", "::1")),
        (DUAL, (LOCAL4,), ("inet6", "::1")),
        (DUAL, (Form("inet", "10.0.0.1", 80),), ("inet", "127.0.0.1")),
        (DUAL, (Form("inet", "0.0.0.0", 81),), ("inet", "127.0.0.1")),
        (ANY4, (DUAL,), ("inet", "127.0.0.1")),
        (Form("inet6", "fd00::1", 80), (ANY4,), ("inet6", "fd00::1")),
    ],
)
def test_a_connection_lands_in_the_group(form, others, expected):
    meant = group(form)
    assert landing(meant, [meant, *map(group, others)]) == expected


def test_a_group_that_does_not_listen_captures_nothing():
    meant = group(DUAL)
    assert landing(meant, [meant, group(ANY4, listening=False)]) == ("inet", "127.0.0.1")
