"""Which sockets count as stalled, by real queues and a clock of the test."""

from __future__ import annotations

import socket
import struct
from types import SimpleNamespace

import pytest

from entrypoint.kernel import sockdiag, sockets
from entrypoint.sockets.stalls import Stalls
from tests.support.wait import wait_until


class Stand:
    """A listener, its clients, and what `Stalls` says of it."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.clients: list[socket.socket] = []
        self.now = 100.0
        self.seen: list[tuple[int, float, int]] = []
        self.group = SimpleNamespace(
            single=False,
            listening=True,
            form=SimpleNamespace(family="inet", port=self.port),
            at=lambda _key: self.listener,
            slot_of=lambda key: key,
            waiting=lambda: ((self.listener, self.length),) if self.length else (),
            descriptors={3: self.listener.fileno()},
        )
        self.stalls = Stalls(lambda: self.now, lambda: [self.group])
        self.stalls.on_stalled = lambda _group, slot, since, waiting: self.seen.append(
            (slot, since, waiting)
        )

    @property
    def length(self) -> int:
        return sockets.queue_length(self.listener)

    def connect(self, count: int = 1) -> None:
        wanted = self.length + count
        self.clients += [socket.create_connection(("127.0.0.1", self.port)) for _ in range(count)]
        wait_until(lambda: self.length == wanted)

    def look(self, seconds: float, each: float = 0.4) -> None:
        until = self.now + seconds
        while self.now < until:
            self.stalls.look(self.group, 3)
            self.now += each

    def close(self) -> None:
        for each in (self.listener, *self.clients):
            each.close()


@pytest.fixture
def stand():
    made = Stand()
    yield made
    made.close()


def test_who_accepts_nothing_for_5_s_is_stalled(stand):
    stand.connect(2)
    stand.look(4.9)
    assert stand.seen == []
    stand.look(0.5)
    assert stand.seen == [(3, 100.0, 2)]
    stand.connect()
    stand.look(6)
    assert stand.seen[1:] == [(3, 100.0, 3)]


def test_an_empty_queue_ends_the_suspicion(stand):
    stand.connect()
    stand.look(4.5)
    stand.listener.accept()[0].close()
    stand.look(0.4)
    stand.connect()
    stand.look(4.5)
    assert stand.seen == []


def test_a_queue_as_long_as_before_may_hold_others(stand):
    """The worker is slow: it accepts one a second, and as many come."""
    stand.connect(5)
    for _ in range(12):
        stand.look(1)
        stand.connect()
        stand.listener.accept()[0].close()
    assert stand.seen == []


def test_clients_that_give_up_do_not_hide_it(stand):
    stand.connect(4)
    stand.look(2)
    stand.clients[0].close()
    # With a reset.
    stand.clients[1].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    stand.clients[1].close()
    stand.connect()
    stand.look(4)
    assert [slot for slot, _, _ in stand.seen] == [3]


def test_a_container_that_was_frozen_is_looked_at_anew(stand):
    stand.connect()
    stand.look(2)
    stand.now += 3600
    stand.look(4)
    assert stand.seen == []


def test_where_the_kernel_does_not_tell_nobody_is_stalled(stand, monkeypatch):
    monkeypatch.setattr(sockdiag, "waiting_at", lambda _port: None)
    stand.connect()
    stand.look(20)
    assert stand.seen == []


def test_connections_that_wait_are_those_without_an_inode(stand):
    assert sockdiag.waiting_at(stand.port) == frozenset()
    stand.connect(2)
    before = sockdiag.waiting_at(stand.port)
    assert len(before) == 2
    accepted, _ = stand.listener.accept()
    assert len(sockdiag.waiting_at(stand.port) & before) == 1
    accepted.close()


def test_the_age_of_a_queue(stand):
    assert stand.stalls.age(stand.group) == 0
    stand.group.single = True  # of one that siblings share no more is known
    stand.connect()
    stand.look(30)
    assert stand.stalls.age(stand.group) == pytest.approx(30, abs=1)
    assert stand.seen == []
    stand.listener.accept()[0].close()
    assert stand.stalls.age(stand.group) == 0
