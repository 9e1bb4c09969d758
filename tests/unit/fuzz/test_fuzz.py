"""A short run of each target of `make fuzz`, and proof that each can fail."""

from __future__ import annotations

import pytest

from entrypoint.api import control
from entrypoint.config import dotenv, jsonfile, tree
from entrypoint.http import http1
from entrypoint.kernel import inotify
from entrypoint.logs import schema, wrap
from entrypoint.shell import notify_messages
from entrypoint.sockets import node_channel, node_protocol
from tests.fuzz import engine, targets
from tests.fuzz.targets import TARGETS

SECONDS = 0.5


@pytest.mark.parametrize("name", TARGETS)
def test_nothing_is_found_in_a_short_time(name):
    least = len(engine.seeds(name))
    assert least
    tried = engine.plain(name, TARGETS[name], seconds=SECONDS, seed=3)
    assert tried >= least


def http_bug(patch):
    """A line end is looked for from the last look on: half a CRLF is missed."""
    real = http1.RequestParser._take_line

    def take(self):
        if self._buffer.endswith(b"\r"):
            self._buffer.pop()
        return real(self)

    patch.setattr(http1.RequestParser, "_take_line", take)


def control_bug(patch):
    """A signal that nobody knows is looked up all the same."""
    patch.setattr(control.signals, "parse_signal", lambda text: control.signals.names[text])


def node_bug(patch):
    """A port of another type than a number."""
    real = node_channel.node_protocol.parse_query

    def parse(message):
        if "port" in message and message["port"] + 0 < -1:
            raise ValueError
        return real(message)

    patch.setattr(node_protocol, "parse_query", parse)


def notify_bug(patch):
    """No bound for EXTEND_TIMEOUT_USEC."""
    patch.setattr(notify_messages, "EXTEND_AT_MOST", 1e300)


def logs_bug(patch):
    """A control byte is not escaped."""
    patch.setattr(wrap, "escape", lambda text: text.replace(b'"', b'\\"'))
    patch.setattr(schema, "_CONTROLS", {byte: bytes((byte,)) for byte in range(32)})


def yaml_bug(patch):
    """An alias of what is not finished."""
    patch.setattr(tree._Builder, "_alias", lambda self, anchor, *_: self._anchors[anchor + "x"])


def json_bug(patch):
    """The second half of a surrogate pair is dropped."""
    real = jsonfile._Parser._escape

    def escape(self, at):
        at, text = real(self, at)
        return at, text[:1] if text < "\U0001f600" else "?"

    patch.setattr(jsonfile._Parser, "_escape", escape)


def config_bug(patch):
    """A file with an error raises what is no ConfigErrors."""
    patch.setattr(targets, "ConfigErrors", type("Other", (Exception,), {}))


def env_bug(patch):
    """A mistake has no place."""
    patch.setattr(dotenv._Parser, "_tell", lambda self, error: self._wrong(0, 1, str(error)))


def inotify_bug(patch):
    """Padding stays in the name."""
    real = inotify.Inotify.read

    def read(self):
        return [each.replace(name=each.name + b"\0") for each in real(self)]

    patch.setattr(inotify.Inotify, "read", read)


BUGS = {
    "http": http_bug,
    "control": control_bug,
    "node": node_bug,
    "notify": notify_bug,
    "logs": logs_bug,
    "yaml": yaml_bug,
    "json": json_bug,
    "config": config_bug,
    "env": env_bug,
    "inotify": inotify_bug,
}


@pytest.mark.parametrize("name", TARGETS)
def test_a_planted_bug_is_found(name, monkeypatch):
    BUGS[name](monkeypatch)
    with pytest.raises(engine.FoundError):
        engine.plain(name, TARGETS[name], seconds=3600, tries=20_000)
