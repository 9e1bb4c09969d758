"""What the counters of a connection say: whether its worker has a request in hand."""

from __future__ import annotations

import socket
from types import SimpleNamespace

import pytest

from entrypoint.kernel.connections import CLOSE_WAIT, ESTABLISHED, SYN_RECV, Connection
from entrypoint.sockets import in_hand
from entrypoint.sockets.in_hand import FREE, HELD, UNSURE, InHand, verdict


def connection(inode: int = 5, state: int = ESTABLISHED, **fields: object) -> Connection:
    """One that has answered its last request a second ago, in the tick in which it came."""
    idle = {
        "sent_ago": 1.0,
        "received_ago": 1.0,
        "acknowledged_ago": 0.96,
        "acknowledged": 100,
        "received": 50,
        "segments": 1,
    }
    return Connection(inode, state, b"client", **{**idle, **fields})


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, FREE),
        ({"acknowledged_ago": 1.0}, UNSURE),
        ({"received_ago": 1.5}, FREE),
        ({"received_ago": 0.5}, HELD),
        ({"unread": 10}, HELD),
        ({"unsent": 10}, HELD),
        # It may be in the middle of an answer, or be asked again at once.
        ({"sent_ago": 0.05, "received_ago": 2.0}, HELD),
        # Nothing was sent yet: in the tick of the handshake the first request comes too.
        ({"segments": 0}, HELD),
        ({"segments": 0, "received": 0}, FREE),
        ({"segments": 0, "received": 0, "received_ago": 0.01, "sent_ago": 0.01}, HELD),
        # For longer than a stop may take: a stream, or a client that reads nothing.
        ({"received_ago": 9.0, "sent_ago": 12.0}, FREE),
        ({"unsent": 10, "received_ago": 9.0, "sent_ago": 9.0}, FREE),
        ({"unsent": 10, "received_ago": 9.0, "sent_ago": 2.0}, HELD),
    ],
)
def test_what_the_counters_of_a_connection_say(fields, expected):
    assert verdict(connection(**fields), 8.0) == expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"unread": 1, "received": 51, "received_ago": 1.5}, FREE),
        ({"unread": 2, "received": 51}, HELD),
        ({"received": 1, "segments": 0}, FREE),
        ({"received": 11, "segments": 0}, HELD),
        # The end of the stream is acknowledged without data too.
        ({"received": 51, "acknowledged_ago": 0.1}, UNSURE),
    ],
)
def test_the_end_of_the_stream_is_no_request(fields, expected):
    assert verdict(connection(state=CLOSE_WAIT, **fields), 8.0) == expected


class World:
    """A port with these connections, and a worker that holds some of their sockets."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.there: list[Connection] = []
        self.mine: set[int] = {5}
        self.refused: tuple[int, ...] = ()
        self.looks = 0
        seen = SimpleNamespace(tree=lambda pid: (pid,), sockets=self.sockets)
        patch.setattr(in_hand, "look", seen)
        patch.setattr(in_hand, "of_port", lambda _family, _port: iter([self.there]))
        self.looking = InHand(((socket.AF_INET, 80),), 7, 8.0)

    def sockets(self, _pids: object, wanted: set[int]) -> SimpleNamespace:
        self.looks += 1
        found = {} if self.refused else dict.fromkeys(wanted & self.mine, (7,))
        return SimpleNamespace(holders=found, refused=self.refused, cut=False)

    def holds(self, *there: Connection, ignore_unsure: bool = False) -> bool | None:
        self.there = list(there)
        found = None
        while found is None:
            found = self.looking.step(ignore_unsure=ignore_unsure)
        return found


@pytest.fixture
def world(monkeypatch):
    return World(monkeypatch)


def test_nothing_is_read_of_the_worker_while_nothing_is_held(world):
    assert not world.holds()
    assert not world.holds(connection(), connection(6))
    assert not world.looks


def test_only_its_own_connections_count(world):
    assert world.holds(connection(5, unread=1))
    assert not world.holds(connection(6, unread=1))
    assert not world.holds(connection(0, unread=1))  # it waits in a queue


def test_what_is_another_workers_is_looked_for_twice(world):
    for _ in range(5):
        assert not world.holds(connection(6, unread=1))
    assert world.looks == 2


def test_a_descriptor_may_appear_later_than_its_connection(world):
    world.mine = set()
    assert not world.holds(connection(5, unread=1))
    world.mine = {5}
    assert world.holds(connection(5, unread=1))


def test_what_cannot_be_told_counts_until_it_is_settled(world):
    unsure = connection(acknowledged_ago=1.0)
    assert world.holds(unsure)
    assert not world.holds(unsure, ignore_unsure=True)


def test_a_request_counts_until_it_is_answered(world):
    asked = connection(received_ago=0.5, received=60)
    for _ in range(3):
        assert world.holds(asked, ignore_unsure=True)
    assert world.holds(connection(acknowledged=200, received=60, sent_ago=0.01), ignore_unsure=True)
    assert not world.holds(connection(acknowledged=200, received=60, sent_ago=0.1))


def test_a_kept_connection_that_is_used_again_counts_until_it_is_settled(world):
    world.holds(connection(received_ago=0.5))
    world.holds(connection(acknowledged=200, sent_ago=0.02, received_ago=0.5))
    again = connection(acknowledged=200, sent_ago=0.03, received_ago=0.01, received=100)
    assert world.holds(again)
    assert not world.holds(again, ignore_unsure=True)


def test_one_that_was_idle_and_is_used_counts_until_it_is_settled(world):
    assert not world.holds(connection())
    again = connection(received_ago=0.01, received=100)
    assert world.holds(again)
    assert not world.holds(again, ignore_unsure=True)


def test_a_long_answer_counts_to_its_end(world):
    for size in range(100, 500, 100):
        download = connection(acknowledged=size, unsent=50, sent_ago=0.0, received_ago=0.9)
        assert world.holds(download, ignore_unsure=True)


def test_a_long_upload_counts_to_its_end(world):
    for size in range(100, 500, 100):
        upload = connection(received=size, received_ago=0.0, sent_ago=9.0)
        assert world.holds(upload, ignore_unsure=True)


def test_all_connections_can_be_waited_for(world):
    world.looking = InHand(((socket.AF_INET, 80),), 7, 8.0, closed=True)
    for _ in range(3):
        assert world.holds(connection(), connection(6), ignore_unsure=True)
    assert world.looks == 1  # while one of its own is there nothing is read
    for _ in range(3):
        assert not world.holds(connection(6), ignore_unsure=True)
    assert world.looks == 2


def test_a_handshake_that_had_begun_is_waited_for(world):
    begun = Connection(0, SYN_RECV, b"one")
    later = Connection(0, SYN_RECV, b"two")
    assert world.holds(begun)
    assert world.holds(begun, later)
    assert not world.holds(later)
    assert not world.holds(later, begun)


def test_a_handshake_that_does_not_end_counts_until_it_is_settled(world):
    begun = Connection(0, SYN_RECV, b"one")
    assert world.holds(begun)
    assert not world.holds(begun, ignore_unsure=True)


def test_thousands_are_looked_at_over_several_turns(world, monkeypatch):
    parts = [[connection(100 + number)] for number in range(9)]
    monkeypatch.setattr(in_hand, "of_port", lambda _family, _port: iter(parts))
    steps = [world.looking.step(ignore_unsure=False) for _ in range(3)]
    assert steps == [None, None, False]


def test_where_the_descriptors_may_not_be_read_nothing_is_told(world):
    world.refused = (7,)
    assert not world.holds(connection())
    with pytest.raises(OSError, match="may not be read"):
        world.holds(connection(unread=1))
