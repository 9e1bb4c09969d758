"""What is kept of the log: bounded, fair, in order."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from entrypoint.api.recent_logs import (
    BYTES_LIMIT,
    CHUNK_LIMIT,
    CHUNKS_LIMIT,
    Choice,
    Recent,
)

ALL = Choice(())


def test_the_last_lines_come_in_the_order_in_which_they_were_written() -> None:
    recent = Recent()
    recent("web", b"1\n2\n")
    recent("api", b"3\n")
    recent("web", b"4\n5\n")
    assert recent.last(ALL, 4) == b"2\n3\n4\n5\n"
    assert recent.last(Choice((("web", ()),)), 3) == b"2\n4\n5\n"
    assert recent.last(ALL, 100) == b"1\n2\n3\n4\n5\n"
    assert recent.last(ALL, 0) == b""
    assert recent.last(Choice((("none", ()),)), 5) == b""


def test_an_event_that_names_an_app_is_one_of_its_lines() -> None:
    recent = Recent()
    recent("", b'{"event":"worker exited","app":"web","pid":1}\n')
    recent("", b'{"event":"worker exited","app":"web2","pid":1}\n')
    recent("api", b'{"event":"x","app":"api"}\n')
    assert (
        recent.last(Choice((("web", ()),)), 9) == b'{"event":"worker exited","app":"web","pid":1}\n'
    )


def test_a_talkative_app_does_not_push_out_the_lines_of_others() -> None:
    recent = Recent()
    recent("quiet", b"once\n")
    for number in range(10_000):
        recent("loud", b"%d\n" % number)
    assert recent.last(Choice((("quiet", ()),)), 5) == b"once\n"
    assert recent.last(Choice((("loud", ()),)), 1) == b"9999\n"


def test_a_record_longer_than_all_that_is_kept_is_left_out() -> None:
    recent = Recent()
    recent("web", b"x" * (CHUNK_LIMIT + 1) + b"\n")
    assert recent.last(ALL, 5) == b""
    recent("web", b"y" * CHUNK_LIMIT + b"\nend\n")
    assert recent.last(ALL, 5) == b"end\n"


def test_the_records_of_one_instance() -> None:
    recent = Recent()
    zero = b'{"event":"a","app":"web","instance":0,"pid":7,"stream":"stdout"}\n'
    ten = b'{"event":"b","app":"web","instance":10,"pid":8,"stream":"stdout"}\n'
    started = b'{"event":"worker started","app":"web","instance":0,"pid":7}\n'
    other = b'{"event":"worker started","app":"api","instance":0,"pid":9}\n'
    console = b"web:0 | hello\n"
    for app, record in (("web", zero), ("web", ten), ("", started), ("", other), ("web", console)):
        recent(app, record)
    assert recent.last(Choice((("web", (0,)),)), 9) == zero + started + console
    assert recent.last(Choice((("web", (1,)),)), 9) == b""


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 3 * CHUNK_LIMIT)), max_size=60))
def test_it_is_bounded_and_holds_whole_lines(chunks) -> None:
    recent = Recent()
    for app, size in chunks:
        recent(app, (b"line\n" * (size // 5 + 1)))
    assert recent.size <= BYTES_LIMIT
    assert sum(len(queue) for queue in recent._chunks.values()) <= CHUNKS_LIMIT
    assert set(recent.last(ALL, 10**6).split(b"\n")) <= {b"line", b""}


def test_followers_get_everything_until_they_leave() -> None:
    recent = Recent()
    seen = []

    def follower(app, records) -> None:
        seen.append((app, records))
        recent.unfollow(follower)

    recent.follow(follower)
    recent("web", b"1\n")
    recent("web", b"2\n")
    assert seen == [("web", b"1\n")]
