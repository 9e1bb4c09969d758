"""What an exit event and Kubernetes' termination message say."""

from __future__ import annotations

import pytest

from entrypoint.kernel import oom, termination
from entrypoint.shell import exits


class Pump:
    def __init__(self, *lines: str) -> None:
        self.lines = lines

    def last_lines(self, _incarnation: int) -> tuple[str, ...]:
        return self.lines


@pytest.fixture
def kills(monkeypatch):
    counted = [0]
    monkeypatch.setattr(oom, "oom_kills", lambda: counted[0])
    return counted


@pytest.fixture
def written(monkeypatch):
    texts: list[str] = []
    monkeypatch.setattr(termination, "write", lambda text: texts.append(text.decode()))
    return texts


EVENT = {"incarnation": 1, "app": "web", "instance": 0, "pid": 9, "uptime": 1.5, "expected": False}


def explained(*lines: str, **how) -> tuple[exits.Exits, dict]:
    made = exits.Exits(Pump(*lines))
    return made, made.explain({**EVENT, **how})


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ({"exit_code": 3}, "exit code 3"),
        ({"signal": "SIGSEGV"}, "killed by SIGSEGV"),
        ({"signal": "SIGABRT", "core_dumped": True}, "killed by SIGABRT (core dumped)"),
        ({"reason": "exec: No such file"}, "exec: No such file"),
    ],
)
def test_the_reason(kills, written, how, reason) -> None:
    made, fields = explained("last words", **how)
    assert fields["reason"] == reason
    assert fields["last_lines"] == ["last words"]
    assert "incarnation" not in fields
    assert "oom_killed" not in fields
    made.tell_orchestrator()
    [text] = written
    assert text.startswith(f"web (instance 0): {reason}")
    assert text.endswith("\nlast words\n")
    assert ("after 1.5 s" in text) is ("reason" not in how)


@pytest.mark.parametrize("how", [{"signal": "SIGKILL"}, {"exit_code": 137}])
def test_an_oom_kill_is_what_the_counter_says(kills, how) -> None:
    made = exits.Exits(Pump())
    assert "oom_killed" not in made.explain({**EVENT, **how})
    kills[0] += 1
    fields = made.explain({**EVENT, **how})
    assert fields["oom_killed"] is True
    assert str(fields["reason"]).endswith(": out of memory")
    assert "oom_killed" not in made.explain({**EVENT, **how})


def test_an_earlier_kill_is_not_a_later_ones(kills) -> None:
    made = exits.Exits(Pump())
    kills[0] += 1  # a grandchild; its parent ended by itself
    made.explain({**EVENT, "exit_code": 1})
    assert "oom_killed" not in made.explain({**EVENT, "signal": "SIGKILL"})


@pytest.mark.parametrize("how", [{"expected": True, "signal": "SIGKILL"}, {"exit_code": 0}])
def test_nothing_is_added_to_an_exit_that_is_fine(kills, written, how) -> None:
    made, fields = explained("x", **how)
    assert set(fields) == {*EVENT, *how} - {"incarnation"}
    made.tell_orchestrator()
    assert written == []


def test_the_message_fits_and_keeps_the_youngest_lines(kills, written) -> None:
    lines = [f"{n} " + "é" * 300 for n in range(10)]
    made, _ = explained(*lines, exit_code=1)
    made.tell_orchestrator("and a sentence")
    [text] = written
    assert len(text.encode()) <= termination.LIMIT
    assert text.splitlines()[0].startswith("web (instance 0): exit code 1")
    assert text.splitlines()[-2:] == [lines[-1], "and a sentence"]


def test_an_end_that_went_well_has_only_the_sentence(kills, written) -> None:
    made, _ = explained("old failure", exit_code=1)
    made.tell_orchestrator("5 log lines were not delivered", failed=False)
    assert written == ["5 log lines were not delivered\n"]


def test_the_file_is_written_where_there_is_one(tmp_path) -> None:
    path = tmp_path / "termination-log"
    assert not termination.write(b"x", str(path))
    assert not path.exists()
    path.write_text("older and longer")
    assert termination.write(b"y" * 5000, str(path))
    assert path.read_bytes() == b"y" * 4096
    assert not termination.write(b"x", str(tmp_path))
