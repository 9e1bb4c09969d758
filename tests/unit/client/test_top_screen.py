"""What `pyinit top` draws, for terminals of any size."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrypoint.client.open_connections import Found, count, places, sockets
from entrypoint.client.top import keys
from entrypoint.client.top_screen import Row, Shown, columns_of, fit, head_of, lines, plain, rows_of


def app(name="web", **changed):
    worker = {
        "instance": 0,
        "id": 4,
        "pid": 17,
        "status": "waiting restart",
        "restarts": 3,
        "uptime": 90.0,
        "cpu": 12.34,
        "memory": 35 << 20,
        "open": 7,
        "busy": 2,
    }
    base = {
        "name": name,
        "ready": 1,
        "wanted": 2,
        "errored": False,
        "stopped": False,
        "finished": False,
        "reloading": False,
        "workers": [worker],
        "listening": [":1"],
        "open": 7,
        "busy": 2,
        "queue": 5,
    }
    return {**base, **changed}


def shown(apps, **changed):
    rows = rows_of(apps, folded=False)
    return Shown("head", rows, 0, ("a line", "another")).replace(**changed)


def test_eighty_columns_show_everything() -> None:
    made = lines(shown([app()]), 80, 24, colour=False)
    assert len(made) == 24
    assert max(map(len, made)) == 80
    assert made[1].split() == [
        *("name", "state", "pid", "age", "rst", "cpu", "mem", "open", "busy", "queue")
    ]
    assert made[2].split() == [">", "web", "unready", "1/2", "3", "12%", "35.0mb", "7", "2", "5"]
    assert made[3].split() == ["0", "waiting", "17", "1m", "3", "12%", "35.0mb", "7", "2"]
    assert made[4].startswith("-- log of web ---")
    assert [line.rstrip() for line in made[5:7]] == ["a line", "another"]
    assert made[-1].startswith("r reload")
    assert "\x1b" not in "".join(made)


def test_many_rows_leave_a_third_for_the_log_and_follow_the_chosen_one() -> None:
    apps = [app(f"app{n}") for n in range(40)]
    log = tuple(f"line {n}" for n in range(100))
    for chosen in (0, 40, 79):
        made = lines(shown(apps, chosen=chosen, log=log), 80, 24, colour=False)
        assert len(made) == 24
        (marked,) = [line for line in made if line.startswith("> ")]
        assert marked.split()[1] == f"app{chosen // 2}" or chosen % 2
        assert made[-2].rstrip() == "line 99"
        assert sum("line " in line for line in made) >= 6


TEXTS = st.text(max_size=60)


@given(
    names=st.lists(TEXTS, max_size=6),
    log=st.lists(TEXTS, max_size=6),
    width=st.integers(20, 200),
    height=st.integers(5, 60),
    chosen=st.integers(0, 11),
    words=st.tuples(TEXTS, TEXTS),
    helps=st.booleans(),
)
def test_no_line_is_too_wide_and_nothing_moves_the_cursor(
    names, log, width, height, chosen, words, helps
) -> None:
    apps = [app(name) for name in names]
    state = shown(apps, chosen=min(chosen, max(0, 2 * len(apps) - 1)), log=tuple(log))
    state = state.replace(question=words[0], message=words[1], helps=helps)
    made = lines(state, width, height, colour=False)
    assert len(made) == height
    for line in made:
        assert "\x1b" not in line
        assert "\n" not in line
        assert sum(map(columns_of, line)) <= width


def test_states_and_the_head() -> None:
    states = [
        rows_of([app(**changed)], folded=True)[0].state
        for changed in (
            {"ready": 2},
            {},
            {"errored": True},
            {"stopped": True},
            {"reloading": True},
            {"finished": True},
        )
    ]
    assert states == ["ready", "unready", "errored", "stopped", "reloading", "finished"]
    found = {
        "version": "1",
        "phase": "running",
        "revision": 2,
        "config_error": "x",
        "apps": [app()],
    }
    assert head_of(found, "12:00:00") == (
        "pyinit 1  running  0 of 1 apps ready  revision 2  FILE REJECTED  12:00:00"
    )


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x1b[31mred\x1b[0m\tb", "ared    b"),
        ("\x1b]0;title\x07x\x1b]8;;http://a\x1b\\y", "xy"),
        ("bell\x07\r\x08", "bell"),
        ("日本", "日本"),
    ],
)
def test_what_a_worker_writes_is_text(text, shown) -> None:
    assert plain(text) == shown


def test_wide_characters_take_two_columns() -> None:
    assert fit("日本語", 5) == "日本 "
    assert fit("é" + "e\u0301", 4) == "ée\u0301  "


def test_keys_of_terminals() -> None:
    assert keys("r\x1b[A\x1bOBq") == ["r", "up", "down", "q"]
    assert keys("\x1b") == ["escape"]
    assert keys("4\x7f\r") == ["4", "backspace", "enter"]
    # Keys that mean nothing here do nothing.
    assert keys("\x1b[1;5C\x1b[15~x") == ["x"]


# -- connections ------------------------------------------------------------------------

TCP = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:0BB8 00000000:0000 0A 00000000:00000003 00:00000000 00000000     0        0 11
   1: 0100007F:0BB8 0100007F:D431 01 00000000:00000010 00:00000000 00000000     0        0 12
   2: 0100007F:0BB8 0100007F:D432 01 00000005:00000000 00:00000000 00000000     0        0 13
   3: 0100007F:0BB8 0100007F:D433 01 00000000:00000000 00:00000000 00000000     0        0 14
   4: 0100007F:D433 0100007F:0BB8 01 00000000:00000000 00:00000000 00000000     0        0 15
   5: 0100007F:0BB8 0100007F:D434 06 00000000:00000000 00:00000000 00000000     0        0 0
"""
UNIX = """\
Num       RefCount Protocol Flags    Type St Inode Path
0000: 00000002 00000000 00010000 0001 01 20 /run/a sock
0000: 00000003 00000000 00000000 0001 03 21 /run/a sock
0000: 00000003 00000000 00000000 0001 03 22
"""


def test_connections_from_proc(tmp_path) -> None:
    (tmp_path / "tcp").write_text(TCP)
    (tmp_path / "unix").write_text(UNIX)
    found = sockets(str(tmp_path))
    assert Found("/run/a sock", False, 0, "21") in found
    apps = [
        {"listening": ["127.0.0.1:3000", "unix:/run/a sock"], "workers": [{"pid": 0}]},
        {"listening": [], "workers": []},
    ]
    count(apps, found)
    assert [(a["open"], a["busy"], a["queue"]) for a in apps] == [(4, 2, 3), (0, 0, 0)]
    assert apps[0]["workers"] == [{"pid": 0, "open": 0, "busy": 0}]
    assert places(["[::]:80", "unix:/x", "@y"]) == {"80", "/x", "@y"}


def test_rows_name_what_they_are() -> None:
    rows = rows_of([app()], folded=False)
    assert [(row.app, row.instance, row.id) for row in rows] == [("web", -1, -1), ("web", 0, 4)]
    assert isinstance(rows[0], Row)
