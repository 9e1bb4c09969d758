from __future__ import annotations

import io
import random
import sys

import pytest

from entrypoint.core import events as e
from entrypoint.core.record import Record
from entrypoint.core.spec import HealthSpec
from entrypoint.core.supervisor import Supervisor
from entrypoint.core.transaction import State
from entrypoint.journal import document, excerpts, replay
from entrypoint.journal.packing import Packer, Unpacker, kinds, text_of
from entrypoint.journal.recorder import LIMIT, Recorder, rebuilt
from entrypoint.logs.schema import encode
from tests.simulation.world import Script, World, app, plan, shared

SECRET = "hunter2-secret"
HEAD = '{"journal": 1, "pyinit": "0", "dropped": 0}'
SEGMENT = '{"segment": 1, "snapshot": true}'
UNKNOWN = '{"spec": 0, "value": {"is": "Nothing"}}'


def recorded(world: World, limit: int = LIMIT, *, from_now: bool = False) -> Recorder:
    """A recorder of what happens in the world from now on."""
    recorder = Recorder(world.core.state, limit)
    if from_now:
        recorder.begin()
    turns = []
    handle = world.core.handle

    def and_record(event, now):
        ordered = handle(event, now)
        (recorder.append if from_now else turns.append)((now, event, ordered, ""))
        return ordered

    world.core.handle = and_record
    recorder.early = turns
    return recorder


def text_of_journal(recorder: Recorder) -> list[str]:
    return list(document.lines(recorder.dump("1.2.3"), kinds()))


def crash_all(world: World, rounds: int) -> None:
    for _ in range(rounds):
        for process in world.live():
            world.crash(process)
        world.advance(2)


def replayed(recorder: Recorder) -> tuple[document.Journal, list]:
    journal = document.read(text_of_journal(recorder), kinds())
    return journal, replay.replay(journal)


def test_what_happened_before_the_recorder_was_loaded_is_its_beginning():
    world = World()
    recorder = recorded(world)
    world.emit(e.Booted(plan(shared(instances=3))))
    world.advance(1)
    recorder.begin(recorder.early)
    journal, differences = replayed(recorder)
    assert not differences
    assert type(journal.segments[0].turns[0][1]) is e.Booted
    assert len(journal.segments[0].turns) == len(world.history)


def test_a_journal_of_two_segments_keeps_to_its_limit_and_replays():
    world = World()
    world.emit(e.Booted(plan(shared(instances=4, max_restarts=9999), app("job"))))
    recorder = recorded(world, 120_000, from_now=True)
    crash_all(world, 150)
    journal, differences = replayed(recorder)
    assert not differences
    assert not journal.dropped
    assert len(journal.segments) == 2
    assert len(recorder.dump("1")) < 120_000
    # The newest event is there, the oldest are not.
    assert journal.segments[-1].turns[-1][0] == world.history[-1][0]
    assert sum(len(segment.turns) for segment in journal.segments) < len(world.history)


def test_a_thousand_workers_fit():
    world = World()
    world.emit(e.Booted(plan(shared(instances=1000), shared("db"))))
    world.advance(10)
    recorder = recorded(world, from_now=True)
    for process in world.live()[:50]:
        world.crash(process)
    world.emit(e.ReloadRequested("db"))
    world.advance(5)
    journal, differences = replayed(recorder)
    assert not differences
    assert journal.segments[0].items is not None
    assert len(recorder.dump("1")) < LIMIT


def test_a_state_too_large_to_keep_leaves_the_events_readable(capsys, tmp_path):
    world = World()
    many = [app(f"app-{n}").replace(cwd=f"/{n * 7919**5}/{n**9}") for n in range(300)]
    world.emit(e.Booted(plan(*many)))
    world.advance(10)
    recorder = recorded(world, 22_000, from_now=True)
    world.emit(e.StopRequested("app-7"))
    world.advance(10)
    journal = tmp_path / "journal"
    journal.write_text("\n".join(text_of_journal(recorder)))
    assert replay.main([str(journal)]) == 0
    said = capsys.readouterr().out
    assert "not replayed (their snapshot was too large to keep)" in said
    assert "StopRequested" in said


def test_a_core_that_decides_otherwise_is_found():
    world = World()
    world.emit(e.Booted(plan(shared(instances=2))))
    world.advance(1)
    recorder = recorded(world, from_now=True)
    crash_all(world, 2)
    lines = text_of_journal(recorder)
    # What has its default is not written: now it says something else.
    changed = [line.replace('"AppSpec", ', '"AppSpec", "restart_delay": 7, ') for line in lines]
    differences = replay.replay(document.read(changed, kinds()))
    assert any("restart waits" in each.what for each in differences)


def test_each_change_of_the_state_is_shown_once():
    world = World()
    world.emit(e.Booted(plan(shared())))
    world.advance(1)
    recorder = recorded(world, from_now=True)
    crash_all(world, 1)
    shown: list[str] = []
    replay.replay(document.read(text_of_journal(recorder), kinds()), shown.append)
    [crash] = [text for text in shown if "WorkerExited(" in text]
    changes = [
        line.strip().partition(":")[0] for line in crash.splitlines()[1:] if "→ " not in line[:6]
    ]
    assert {name.split()[0] for name in changes} <= {"apps", "instances", "run", "workers"}
    assert len(changes) == len(set(changes))


def test_a_state_that_does_not_follow_from_the_segment_before_is_found():
    world = World()
    world.emit(e.Booted(plan(shared(instances=4, max_restarts=9999))))
    recorder = recorded(world, 120_000, from_now=True)
    crash_all(world, 150)
    journal = document.read(text_of_journal(recorder), kinds())
    journal.segments[0].turns.pop()
    assert any("the snapshot" in each.what for each in replay.replay(journal))


def test_an_event_that_raised_raises_again():
    core = Supervisor()
    recorder = Recorder(core.state)
    recorder.begin()
    good = e.StopRequested()
    with pytest.raises(AttributeError):
        core.handle(e.Booted(plan=None), 1.0)
    recorder.append((1.0, e.Booted(plan=None), (), "AttributeError()"))
    recorder.append((2.0, e.Booted(plan(app())), core.handle(e.Booted(plan(app())), 2.0), ""))
    recorder.append((3.0, good, core.handle(good, 3.0), "it did not raise"))
    _, differences = replayed(recorder)
    assert [each.number for each in differences] == [3]


class TestShortage:
    def record(self, monkeypatch, failing, rounds=20) -> tuple[World, Recorder]:
        """A crash loop beside which there is no memory to pack while `failing()`."""
        world = World()
        world.emit(e.Booted(plan(shared(instances=4, max_restarts=9999))))
        recorder = recorded(world, from_now=True)
        real = Packer.pack

        def pack(self, value):
            if failing():
                raise MemoryError
            return real(self, value)

        monkeypatch.setattr(Packer, "pack", pack)
        crash_all(world, rounds)
        monkeypatch.setattr(Packer, "pack", real)
        return world, recorder

    def test_what_could_not_be_packed_is_packed_later(self, monkeypatch):
        rng = random.Random(1)
        world, recorder = self.record(monkeypatch, lambda: rng.random() < 0.004)
        journal, differences = replayed(recorder)
        assert not differences
        assert not journal.dropped
        assert sum(len(segment.turns) for segment in journal.segments) == len(world.history) - 5

    def test_turns_are_dropped_rather_than_kept_without_end(self, monkeypatch):
        world, recorder = self.record(monkeypatch, lambda: True, 80)
        recorder.dump("there is memory again")
        world.emit(e.ReloadRequested())
        world.advance(10)
        journal, differences = replayed(recorder)
        assert not differences
        assert journal.dropped
        assert journal.segments[-1].turns


class TestSecrets:
    def test_nothing_secret_is_in_it(self):
        world = World()
        health = HealthSpec(command=("sh", "-c", SECRET))
        check = HealthSpec(http=f"http://127.0.0.1/up?token={SECRET}")
        recorder = recorded(world)
        world.emit(
            e.Booted(
                plan(
                    app(env=(("PASSWORD", SECRET),), health=health),
                    app("db", health=check).replace(command=("run", f"--password={SECRET}")),
                )
            )
        )
        first = world.live()[0]
        world.run_until(lambda: first.check)
        world.advance(1)
        world.tell(first, status=SECRET)
        world.run_until(lambda: first.check)
        world.emit(e.HealthChecked(first.incarnation, first.check, "exit code 1", SECRET))
        world.advance(1)
        assert any(SECRET in repr(effect) for _, effect in world.effects), "it is in a report"
        recorder.begin(recorder.early)
        text = "\n".join(text_of_journal(recorder))
        assert SECRET not in text
        assert "PASSWORD" not in text
        said = repr(excerpts.records(recorder, world.core.state, "web"))
        assert SECRET not in said
        _, differences = replayed(recorder)
        assert not differences

    def test_equal_values_have_equal_hashes_in_one_run_only(self):
        first, second = Packer(b"1" * 16), Packer(b"2" * 16)
        said = e.NotifyReceived(1, status="ready to serve")
        again = e.NotifyReceived(1, status=str(b"ready to serve", "ascii"))
        other = e.NotifyReceived(1, status="something else")
        assert first.pack(said) == first.pack(again) != first.pack(other)
        assert first.pack(said) != second.pack(said)

    def test_what_is_empty_stays_so(self):
        packer = Packer(b"1" * 16)
        for event in (e.NotifyReceived(1, status=""), e.NotifyReceived(1), e.HealthChecked(1, 2)):
            packed = packer.pack(event)
            assert Unpacker(packer.types, kinds()).unpack(packed) == event


class Odd(Record):
    value: object = None


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        -1,
        1 << 70,
        0.1,
        float("inf"),
        "héllo\udc80",
        (),
        ((1, 2), ("a", (None,))),
        [1, [2, (3,)]],
        {"a": (1,), 2: {"b": 3}},
        Odd((Odd(1),)),
    ],
)
def test_any_value_comes_back_as_it_was(value):
    packer = Packer(b"1" * 16)
    packed = packer.pack(Odd(value))
    assert Unpacker(packer.types, kinds()).unpack(packed) == Odd(value)
    plain = document._Plain(packer.types, kinds()).of(packed)
    assert document._Reading(kinds()).value(plain) == Odd(value)


def test_what_has_no_packed_form_is_kept_as_text():
    packer = Packer(b"1" * 16)
    (value,) = packer.pack(Odd(range(3)))[1:]
    assert value == [-2, "range(0, 3)"]
    assert text_of(packer.pack(Odd(range(3))), packer.types) == "Odd(value=range(0, 3))"


def test_a_snapshot_is_the_state_with_what_is_shared_still_shared():
    world = World()
    world.emit(e.Booted(plan(shared(instances=3), app("job"))))
    world.advance(0.1)
    recorder = recorded(world, from_now=True)
    journal = document.read(text_of_journal(recorder), kinds())
    state = rebuilt(State(), journal.segments[0].items)
    assert list(state.workers) == list(world.core.state.workers)
    for number, worker in state.workers.items():
        assert state.workers_by_app[worker.app][number] is worker
        assert worker.spec is state.apps[worker.app].spec
    assert state.followed_up == world.core.state.followed_up


class TestExcerpts:
    def crash_loop(self, rounds: int, **keys) -> tuple[World, Recorder]:
        world = World()
        recorder = recorded(world, from_now=True)
        bad = Script(ends_after=0.01, code=1)
        world.usual = lambda spawn: bad if spawn.spec.name == "web" else Script()
        world.emit(e.Booted(plan(app(max_restarts=rounds, on_errored="keep", **keys), app("db"))))
        world.advance(60)
        return world, recorder

    def test_it_has_the_last_events_of_that_app_in_their_order(self):
        world, recorder = self.crash_loop(80)
        found = excerpts.records(recorder, world.core.state, "web")
        lines = [line for record in found for line in record["events"]]
        assert len(lines) == excerpts.EVENTS
        assert "Report(app errored)" in lines[-1]
        assert not any("db" in line for line in lines)
        times = [float(line.split()[0]) for line in lines]
        assert times == sorted(times)
        assert [record["part"] for record in found] == list(range(1, len(found) + 1))

    def test_records_are_bounded(self):
        # Each line as long as a line can be, with characters that JSON writes as six.
        world, recorder = self.crash_loop(80)
        world.usual = lambda _spawn: Script(exec_fails="\x01" * 3000)
        world.emit(e.StartRequested("web"))
        world.advance(60)
        found = excerpts.records(recorder, world.core.state, "web")
        sizes = [len(encode(record)) for record in found]
        assert max(sizes) <= excerpts.RECORD_LIMIT
        assert sum(sizes) <= excerpts.LIMIT
        assert len(found) == excerpts.LIMIT // excerpts.RECORD_LIMIT


class TestCommand:
    @pytest.fixture
    def journal(self, tmp_path):
        world = World()
        recorder = recorded(world, from_now=True)
        world.emit(e.Booted(plan(shared(instances=2), app("db"))))
        world.advance(1)
        path = tmp_path / "journal"
        path.write_text("\n".join(text_of_journal(recorder)) + "\n")
        return path

    def test_it_shows_events_changes_and_orders(self, journal, capsys):
        assert replay.main([str(journal)]) == 0
        said = capsys.readouterr().out
        assert "WorkerSpawned(incarnation=1" in said
        assert "workers 1: state 'launching' → 'online'" in said
        assert "    → Report(level='info', event='worker ready'" in said
        assert "0 decided otherwise" in said

    def test_one_app_and_the_last_events_can_be_chosen(self, journal, capsys):
        assert replay.main([str(journal), "--app", "db"]) == 0
        said = capsys.readouterr().out
        assert "name='web'" not in said.split("Booted", 1)[0]
        assert replay.main([str(journal), "--last", "1"]) == 0
        assert capsys.readouterr().out.count("(incarnation=") <= 4
        assert replay.main([str(journal), "--quiet"]) == 0
        assert capsys.readouterr().out.count("\n") == 1

    def test_stdin(self, journal, capsys, monkeypatch):
        monkeypatch.setattr(sys, "stdin", io.StringIO(journal.read_text()))
        assert replay.main(["-"]) == 0
        assert "0 decided otherwise" in capsys.readouterr().out

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("", "it is empty"),
            ("{}", "no journal"),
            ("hello", "not understood"),
            ('{"journal": 99}', "format 99"),
            (HEAD + '\n{"at": 1}', "line 2: not understood"),
            (f"{HEAD}\n{SEGMENT}\n{UNKNOWN}", "pyinit 0 wrote it"),
        ],
    )
    def test_what_is_no_journal_is_refused(self, tmp_path, capsys, text, reason):
        path = tmp_path / "file"
        path.write_text(text)
        assert replay.main([str(path)]) == 2
        assert reason in capsys.readouterr().err

    def test_a_difference_is_exit_1(self, journal, capsys):
        text = journal.read_text().replace('"event": "worker ready"', '"event": "worker odd"')
        journal.write_text(text)
        assert replay.main([str(journal), "--quiet"]) == 1
        assert "differs: segment 1" in capsys.readouterr().out


def test_a_name_that_another_folder_uses_too_is_the_cores():
    from entrypoint.core import events
    from entrypoint.journal.packing import kinds
    from entrypoint.kernel import child_report

    assert child_report.SpawnFailed.__name__ == events.SpawnFailed.__name__
    assert kinds()["SpawnFailed"] is events.SpawnFailed
