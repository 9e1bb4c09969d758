"""`make chaos`: a real pyinit, real workers, and everything that may go wrong, by a seed.

`python -m tests.chaos [--minutes=N | --seconds=N | --smoke] [--seed=N] [--keep]`. Exit 0:
every promise held. The seed chooses the actions; the kernel's scheduling is not repeated by
it. `--smoke` does each action once to few workers.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.chaos import turns
from tests.chaos.actions import Actions
from tests.chaos.harness import Harness
from tests.chaos.load import Load
from tests.chaos.logbook import LogBook
from tests.chaos.oracle import RESTLESS, Oracle
from tests.chaos.scene import Scene
from tests.support import namespace
from tests.support.ports import free_port

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

# A crash loop is never ready, nor what grows until it is replaced.
STARTED = "/startupz?exclude=loop&exclude=hog"
QUIET_EVERY = 20.0
# At what PID 1 holds; the second in a smoke.
LOOKS = (20, 5)
ENDS_WITHIN = 60.0
PROGRESS_EVERY = 60.0
NOT_COVERED = ("SLOW DISKS: a watched folder, which PID 1 reads itself; logs in files",)


def main() -> int:
    parser = argparse.ArgumentParser(prog="make chaos")
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--seconds", type=float, default=0.0, help="instead of minutes")
    parser.add_argument("--smoke", action="store_true", help="each action once")
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4)))
    parser.add_argument("--keep", action="store_true", help="keep the folder of the run")
    options = parser.parse_args()
    namespace.enter("tests.chaos")
    folder = Path(tempfile.mkdtemp(prefix="pyinit-chaos-"))
    seconds = options.seconds or options.minutes * 60
    try:
        failures = run(folder, 0.0 if options.smoke else seconds, options.seed)
    finally:
        if not options.keep:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            print(f"kept: {folder}")
    return 1 if failures else 0


def run(folder: Path, seconds: float, seed: int) -> list[str]:
    """One run; its failures. Prints a table. `seconds` 0: each action once, to few workers."""
    print(f"chaos: seed {seed}, {f'{seconds:g} s' if seconds else 'each action once'}", flush=True)
    scene = Scene(folder, free_port(), free_port(), small=not seconds)
    scene.write()
    book = LogBook(folder)
    harness = Harness(scene, book.take)
    oracle = Oracle(harness, scene, book)
    actions = Actions(harness, scene, random.Random(seed), brief=not seconds)
    rows: dict[str, object] = {"seed": seed}
    try:
        load, long_turns = _live(scene, harness, oracle, actions, seconds, rows)
        rows["exit code"] = _stop(harness, oracle, book)
    except (OSError, ValueError, AssertionError, subprocess.TimeoutExpired) as error:
        if harness.alive:
            raise
        oracle.fail(f"pyinit has ended ({harness.process.returncode}): {error!r}")
        print(harness.said()[-3000:], *book.internal[:5], *oracle.failures, sep="\n")
        return oracle.failures
    finally:
        harness.close()
        scene.close()
        book.close()
    rows |= _judged(folder, oracle, book, load, actions)
    width = max(map(len, rows))
    for name, value in rows.items():
        print(f"{name.ljust(width)}  {value}")
    for text in (*NOT_COVERED, *actions.skipped):
        print(f"not covered: {text}")
    for turn in long_turns:
        print("long turn: " + ", ".join(f"{name} {value}" for name, value in turn.items()))
    for failure in oracle.failures:
        print(f"FAILED: {failure}")
    print(f"chaos: seed {seed}: {len(oracle.failures)} failures", flush=True)
    return oracle.failures


def _live(
    scene: Scene,
    harness: Harness,
    oracle: Oracle,
    actions: Actions,
    seconds: float,
    rows: dict[str, object],
) -> tuple[Load, list[dict[str, object]]]:
    """From the start to the moment before the stop. Notes figures in `rows`."""
    phases = Phases()
    _wait_up(harness)
    phases.end("start")
    first = _baseline(harness, scene, oracle, smoke=not seconds)
    slow_before, _ = turns.over(harness)
    phases.end("first look")
    with Load(scene.web_port, scene.probe_port) as load:
        if seconds:
            _act(actions, oracle, seconds)
        else:
            for _ in actions.each():
                oracle.compare()
        phases.end("actions")
        oracle.quiet()
    _bring_back(harness, scene, oracle)
    last = oracle.level(LOOKS[not seconds])
    # Some workers come and go: in the beginning fewer may have lived. A leak stays.
    for _ in range(5):
        if last.descriptors <= first.descriptors and last.timers <= first.timers:
            break
        last = oracle.level(LOOKS[not seconds])
    oracle.back(first, last)
    phases.end("back")
    replayed = oracle.replay_command()
    slow, all_turns = turns.over(harness)
    own, starved, long_turns = turns.own(harness)
    phases.end("replay")
    if own:
        oracle.fail(f"{own} turns of the loop worked for more than {turns.LIMIT * 1000:g} ms")
    rows |= {
        "took": phases.summary(),
        "turns": all_turns,
        "turns over 50 ms (wall)": slow - slow_before,
        "turns over 50 ms (own)": own,
        "turns over 50 ms (memory reclaimed)": starved,
        "comparisons of shown and found": oracle.comparisons,
        "longest until they agreed": f"{oracle.late[0]:.2f} s {oracle.late[1]}",
        "times at rest": oracle.quiets,
        "events replayed": oracle.replayed,
        "`pyinit replay` of the last journal": replayed,
        "descriptors": f"{first.descriptors} → {last.descriptors}",
        "timers": f"{first.timers} → {last.timers}",
        "memory (RssAnon)": f"{first.memory / 1e6:.1f} → {last.memory / 1e6:.1f} MB",
        "answers of the slow disk": scene.disk.answers if scene.disk is not None else 0,
    }
    return load, long_turns


def _judged(
    folder: Path, oracle: Oracle, book: LogBook, load: Load, actions: Actions
) -> dict[str, object]:
    """What the whole log and all requests show, once pyinit has ended."""
    lost = oracle.judge_lost(load.lost, actions.kills)
    for failure in (*book.failures, *book.missing(folder)):
        oracle.fail(f"log: {failure}")
    for error in book.internal:
        oracle.fail(f"internal error: {error}")
    if actions.done["memory limit"] > 5 and not book.events["oom kills"]:
        oracle.fail("the memory limit was never reached, or its kills are not in the log")
    return {
        **{f"did: {name}": count for name, count in sorted(actions.done.items())},
        **{f"requests {name}": count for name, count in sorted(load.counts.items())},
        **{f"requests lost {name}": count for name, count in lost.items()},
        "slowest probe": f"{load.slowest_probe * 1000:.0f} ms",
        "log lines": book.lines,
        "log lines of workers": book.worker_lines,
        "workers started": book.events["worker started"],
        "workers exited": book.events["worker exited"],
        "internal errors": len(book.internal),
        "shortages reported as internal errors": book.events["shortages reported"],
        "killed by the memory limit": book.events["oom kills"],
    }


class Phases:
    """How long each part of the run took."""

    def __init__(self) -> None:
        self._began = self._last = time.monotonic()
        self._parts: list[str] = []

    def end(self, name: str) -> None:
        now = time.monotonic()
        self._parts.append(f"{name} {now - self._last:.1f}")
        self._last = now

    def summary(self) -> str:
        return f"{self._last - self._began:.0f} s ({', '.join(self._parts)})"


def _wait_up(harness: Harness) -> None:
    end = time.monotonic() + ENDS_WITHIN
    while time.monotonic() < end and harness.alive:
        try:
            if harness.probe(STARTED, 5)[0] == 200 and harness.shown():
                return
        except OSError:
            pass
        time.sleep(0.1)
    raise AssertionError(f"not up: {harness.said()}")


def _wait_for(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + ENDS_WITHIN
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(what)
        time.sleep(0.1)


def _baseline(harness: Harness, scene: Scene, oracle: Oracle, *, smoke: bool):
    """What PID 1 holds once it has loaded what it loads late, and with all slots made."""
    harness.ask("POST", f"scale?app=web&to={scene.most_web}", 60)
    harness.ask("POST", "reload?app=all", 60)
    harness.ask("POST", f"scale?app=web&to={scene.app('web')['instances']}", 60)
    for target in ("describe?app=web", "journal"):
        harness.ask("GET", target)
    harness.probe("/metrics")
    harness.signal(signal.SIGHUP)
    _calm(harness)
    oracle.quiet()
    level = oracle.level(LOOKS[smoke])
    _excite(harness)
    return level


def _calm(harness: Harness) -> None:
    """The restless apps are stopped, so that what PID 1 holds can be compared."""
    for app in RESTLESS:
        harness.ask("POST", f"stop?app={app}", 60)


def _excite(harness: Harness) -> None:
    for app in RESTLESS:
        harness.begin("POST", f"start?app={app}")


def _act(actions: Actions, oracle: Oracle, seconds: float) -> None:
    began = time.monotonic()
    end = began + seconds
    quiet_at = began + min(QUIET_EVERY, seconds / 2)
    due = began
    while time.monotonic() < end:
        if time.monotonic() > due:
            line = f"{time.monotonic() - began:.0f} s, {actions.done.total()} actions"
            print(f"  {line}, {len(oracle.failures)} failures", file=sys.stderr, flush=True)
            due += PROGRESS_EVERY
        actions.one()
        actions.rest()
        if actions.rng.random() < 0.3:
            oracle.compare()
        if time.monotonic() > quiet_at:
            oracle.quiet()
            quiet_at = time.monotonic() + QUIET_EVERY


def _bring_back(harness: Harness, scene: Scene, oracle: Oracle) -> None:
    scene.reset()
    # Twice: the first may be answered by a read that had begun before. A command would wait
    # for the restless apps, which never come to rest.
    for _ in range(2):
        before = harness.shown()["revision"]
        harness.signal(signal.SIGHUP)
        _wait_for(lambda: harness.shown()["revision"] > before, "the file is not read again")  # noqa: B023
    _calm(harness)
    for app in scene.first["apps"]:
        if app["name"] in RESTLESS:
            continue  # their start has no end
        harness.ask("POST", f"scale?app={app['name']}&to={app.get('instances', 1)}", 60)
        harness.ask("POST", f"start?app={app['name']}", 60)
    oracle.quiet()


def _stop(harness: Harness, oracle: Oracle, book: LogBook) -> int:
    killed = book.events["worker killed"]
    harness.signal(signal.SIGTERM)
    code = harness.finish(ENDS_WITHIN)
    # A worker that ignores its stop is killed by its deadline, which the code tells.
    if code != (137 if book.events["worker killed"] > killed else 0):
        oracle.fail(f"exit code {code} after a stop: {harness.said()[-500:]}")
    return code


if __name__ == "__main__":
    sys.exit(main())
