"""What may be given any bytes. A target raises when pyinit breaks a promise about them.

Bytes that choose (how input is cut, what kind it is) are the first of the data.
"""

from __future__ import annotations

import json
import os
import socket
import tempfile
from pathlib import Path

from entrypoint.config import dotenv, jsonfile, tree
from entrypoint.config.errors import ConfigErrors, Problems
from entrypoint.config.load import load
from entrypoint.core import events as e
from entrypoint.http.http1 import (
    CLOSED,
    REFUSED,
    Refused,
    Request,
    RequestParser,
)
from entrypoint.kernel import inotify
from entrypoint.kernel.notify import parse
from entrypoint.logs.layout import Flat, Keys
from entrypoint.logs.multiline import Joiner
from entrypoint.logs.wrap import JsonWrapper
from entrypoint.loop import Loop
from entrypoint.shell.notify_messages import event_of
from entrypoint.sockets import node_protocol
from entrypoint.sockets.node_channel import NodeChannel, Shared

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def pieces(data: bytes) -> Iterator[bytes]:
    """The rest of the data, cut as its first byte says."""
    size, rest = (data[0] % 64) + 1 if data else 1, data[1:]
    for at in range(0, len(rest), size):
        yield rest[at : at + size]


# -- probes and control -------------------------------------------------------------------


def http(data: bytes) -> None:
    """A request means the same however it is cut, and nobody decides about our memory."""
    assert _requests([data[1:]]) == _requests(pieces(data))


def _requests(chunks) -> list[object]:
    parser = RequestParser()
    found: list[object] = []
    waiting = [*chunks, b""]
    while waiting and parser.state not in {REFUSED, CLOSED}:
        parser.receive(waiting.pop(0))
        while (event := parser.next_event()) is not None:
            found.append(event)
            if isinstance(event, Request):
                assert event.method
                assert all(isinstance(part, str) for part in event.path)
                parser.answered()
            elif isinstance(event, Refused):
                assert 400 <= event.status < 600
                break
            else:
                break
        else:
            assert parser.buffered < 1 << 16 or len(waiting) == 1
    return found


def control(data: bytes) -> None:
    """Every command is answered or refused; the core goes on."""
    from tests.fuzz.stand import Stand

    query = data.replace(b" ", b"+").replace(b"\r", b"").replace(b"\n", b"")
    verb = (b"GET", b"POST")[data[0] & 1] if data else b"GET"
    parser = RequestParser()
    parser.receive(verb + b" /control/" + query[1:] + b" HTTP/1.1\r\nHost: a\r\n\r\n")
    request = parser.next_event()
    if isinstance(request, Request):
        with Stand() as stand:
            stand.ask(request)


# -- workers --------------------------------------------------------------------------------


def node(data: bytes) -> None:
    """Messages are the same however they are cut; none breaks the channel."""
    whole, cut = node_protocol.Decoder(), node_protocol.Decoder()
    lines = whole.feed(data[1:])
    assert [line for piece in pieces(data) for line in cut.feed(piece)] == lines
    for line in lines:
        message = node_protocol.decode(line)
        if isinstance(message, dict):
            query = node_protocol.parse_query(message)
            node_protocol.encode(node_protocol.answer(query))
    _channel(data)


class _Refusing:
    """In the place of the app's listeners: nothing can be bound."""

    def __getattr__(self, _name: str) -> Callable[..., object]:
        def refuse(*_args: object, **_named: object) -> object:
            raise OSError(98, "Address already in use")

        return refuse


def _channel(data: bytes) -> None:
    from tests.simulation.world import shared

    errors: list[BaseException] = []
    loop = Loop(lambda _where, error: errors.append(error))
    events: list[object] = []
    channel = NodeChannel(
        loop,
        shared(node=True),
        _Refusing(),
        Shared(),
        lambda *what: events.append(what),
        incarnation=1,
        slot=0,
        primary=True,
    )
    other = socket.socket(fileno=os.dup(channel.child_fd))
    other.setblocking(False)
    channel.started()
    try:
        for piece in pieces(data):
            try:
                other.send(piece)
            except BlockingIOError:
                pass
            loop.turn(0)
            try:
                other.recv(1 << 16)
            except BlockingIOError:
                pass
        loop.turn(0)
    finally:
        other.close()
        channel.close()
        loop.close()
    assert not errors, errors


def notify(data: bytes) -> None:
    """Whatever a worker says of itself: numbers are bounded, the core goes on."""
    from tests.simulation.world import World, plan, shared

    world = World()
    world.emit(e.Booted(plan(shared(instances=2, watchdog=5.0))))
    world.advance(1)
    (first, *_) = world.live()
    for message in data.split(b"\0"):
        event = event_of(first.incarnation, parse(message))
        if event is not None:
            assert event.extend <= 3600
            assert event.watchdog_interval is None or event.watchdog_interval <= 366 * 86400
            assert len(event.status or "") <= 201
            assert (event.status or "").isprintable()
            world.emit(event)
        world.advance(0.5)
    world.advance(5)


def logs(data: bytes) -> None:
    """Each line comes out once, whole, as JSON, however it is cut."""
    whole, cut = _wrapper(), _wrapper()
    text = data[1:]
    limit = 50 if data[:1] > b"\x80" else 1 << 20
    once = whole.feed(text, "t", limit) + whole.end("t")
    made = b"".join(cut.feed(piece, "t", limit) for piece in pieces(data)) + cut.end("t")
    assert _said(once) == _said(made)
    joined = JsonWrapper(Flat(Keys()).lines("a", 0, 1, "stdout"), Joiner("auto"))
    made = b"".join(joined.feed(piece, "t", limit) for piece in pieces(data)) + joined.end("t")
    for record in made.split(b"\n")[:-1]:
        json.loads(record)


def _wrapper() -> JsonWrapper:
    return JsonWrapper(Flat(Keys()).lines("a", 0, 1, "stdout"))


def _said(records: bytes) -> list[object]:
    assert not records or records.endswith(b"\n")
    found: list[object] = []
    part = ""
    for record in records.split(b"\n")[:-1]:
        fields = json.loads(record)
        assert isinstance(fields, dict)
        ours = set(fields) <= _OURS and "event" in fields
        if ours and fields.get("partial") is True:
            part += str(fields["event"])
        elif ours:
            found.append(part + str(fields["event"]))
            part = ""
        else:
            found.append({k: v for k, v in fields.items() if k != "base64"})
    return found


_OURS = {"timestamp", "level", "event", "app", "instance", "pid", "stream", "partial", "base64"}


def _is_told(error: ConfigErrors) -> None:
    assert error.errors
    assert all(str(each) for each in error.errors)


# -- files ------------------------------------------------------------------------------------


def yaml(data: bytes) -> None:
    """A file is read, or what is wrong is said with its place."""
    problems = Problems("fuzz.yaml")
    try:
        tree.parse_yaml(tree.decode(data, problems), problems)
    except ConfigErrors as error:
        _is_told(error)


def json_file(data: bytes) -> None:
    """What is JSON is read as Python reads it; all else is an error with its place."""
    problems = Problems("fuzz.json")
    try:
        text = tree.decode(data, problems)
        node = jsonfile.parse_json(text, problems)
    except ConfigErrors as error:
        _is_told(error)
        return
    try:
        expected = json.loads(text, object_pairs_hook=_Pairs, parse_constant=lambda _: None)
    except (ValueError, RecursionError):
        return  # comments, trailing commas, duplicates: more than JSON
    if not _has_duplicates(expected):
        assert _shape(node) == _expected(expected)


class _Pairs(list):
    """A JSON object as its pairs."""


def _has_duplicates(value: object) -> bool:
    if isinstance(value, _Pairs):
        keys = [key for key, _ in value]
        return len(set(keys)) < len(keys) or any(_has_duplicates(item) for _, item in value)
    return isinstance(value, list) and any(map(_has_duplicates, value))


def _shape(node: tree.Node) -> object:
    if node.kind == "map":
        return {key: _shape(value) for key, (_, value) in node.entries.items()}
    if node.kind == "seq":
        return [_shape(item) for item in node.items]
    return node.text if isinstance(node.value, str) else "scalar"


def _expected(value: object) -> object:
    if isinstance(value, _Pairs):
        return {key: _expected(item) for key, item in value}
    if isinstance(value, list):
        return [_expected(item) for item in value]
    return value if isinstance(value, str) else "scalar"


def config(data: bytes) -> None:
    """A whole ecosystem file: a plan, or errors; nothing else."""
    suffix = (".yaml", ".json")[data[0] & 1] if data else ".yaml"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "ecosystem" + suffix)
        path.write_bytes(data[1:])
        try:
            found = load(str(path), environ={"PATH": "/usr/bin", "A": "1"})
        except ConfigErrors as error:
            _is_told(error)
        else:
            assert found.plan.apps


def env_file(data: bytes) -> None:
    """A file of variables: names and values without NUL, mistakes with their place."""
    mistakes: list[tuple[int, int, str]] = []
    text = data.decode("utf-8", "replace")
    lines = text.count("\n") + 1
    for reading in (dotenv.parse, dotenv.parse_raw):
        found = reading(text, {"HOME": "/root"}, lambda *what: mistakes.append(what))
        assert all(isinstance(k, str) and k and "=" not in k for k in found)
    assert all(1 <= line <= lines and column >= 1 and what for line, column, what in mistakes)


def inotify_events(data: bytes) -> None:
    """Whatever the kernel's buffer holds, also half an event."""
    read, write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        os.write(write, data[:60_000] or b"\0")
        watcher = inotify.Inotify.__new__(inotify.Inotify)
        watcher.fd = read
        for changed in watcher.read():
            assert not changed.name.endswith(b"\0")
        assert watcher.read() == []
    finally:
        os.close(read)
        os.close(write)


TARGETS: dict[str, Callable[[bytes], None]] = {
    "http": http,
    "control": control,
    "node": node,
    "notify": notify,
    "logs": logs,
    "yaml": yaml,
    "json": json_file,
    "config": config,
    "env": env_file,
    "inotify": inotify_events,
}
