"""A history of the core as people read it: each event, what was ordered, what is shown.

`python -m tests.simulation.transcribe` writes the files of transcripts/ again. A change of
them is a change of what PID 1 does: read it as such.
"""

from __future__ import annotations

from pathlib import Path

import tests.simulation.histories_of_failures
import tests.simulation.histories_of_readiness
import tests.simulation.histories_of_reloads
import tests.simulation.histories_of_workers  # noqa: F401  they enter themselves
from entrypoint.core import effects as f
from entrypoint.core import events as e
from entrypoint.core import spec
from entrypoint.core.events import Timer
from entrypoint.core.record import Record
from entrypoint.core.spec import AppSpec, Plan
from tests.simulation.histories import HISTORIES
from tests.simulation.world import World

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from entrypoint.core.view import View

FOLDER = Path(__file__).parent / "transcripts"
DEFAULTS = FOLDER.with_name("defaults.txt")


def text_of(value: object, *, without: tuple[str, ...] = ()) -> str:
    """Records by the fields that say something: not their default, or nothing where there is none.

    Apps, plans and timers by name.
    """
    if isinstance(value, AppSpec):
        return " ".join([value.name, *(f"{name}={text}" for name, text in value.env)])
    if isinstance(value, Plan):
        return f"revision {value.revision} of {', '.join(each.name for each in value.apps)}"
    if isinstance(value, Timer):
        return " ".join(str(part) for part in (value.kind, value.app, value.incarnation) if part)
    if isinstance(value, f.Report):
        fields = " ".join(f"{name}={text_of(each)}" for name, each in value.fields)
        return f"Report {value.level} {value.event!r} {fields}"
    if isinstance(value, Record):
        defaults = type(value)._defaults
        named = [(name, getattr(value, name)) for name in type(value)._fields]
        reported = [
            (name, each)
            for name, each in named
            if name not in without and (each != defaults[name] if name in defaults else each)
        ]
        words = [f"{name}={text_of(each)}" for name, each in reported]
        return " ".join([type(value).__name__, *words])
    if isinstance(value, tuple):
        return f"({', '.join(map(text_of, value))})"
    return f"{value:.6g}" if isinstance(value, float) else repr(value)


class Transcript:
    """Writes down what happens in `world` from now on."""

    def __init__(self, world: World) -> None:
        self.lines: list[str] = []
        self._began = world.now
        self._shown: dict[str, str] = {}
        self._timers: set[Timer] = set()
        world.after_turn = self._turned

    def _turned(self, world: World, effects: list) -> None:
        when, event = world.history[-1]
        self.lines.append(f"{when - self._began:.3f} {text_of(event)}")
        if isinstance(event, e.TimerFired):
            self._timers.discard(event.timer)
        self.lines += [f"    {text_of(effect)}" for effect in effects if self._counts(effect)]
        shown = self._view(world.core.view())
        self.lines += [f"  {key}: {text}" for key, text in shown.items() if self._is_new(key, text)]
        self.lines += [f"  {key}: gone" for key in self._shown if key not in shown]
        self._shown = shown

    def _counts(self, effect: f.Effect) -> bool:
        """To stop a timer that is not set is nothing."""
        if isinstance(effect, f.StartTimer):
            self._timers.add(effect.timer)
        elif isinstance(effect, f.StopTimer):
            known = effect.timer in self._timers
            self._timers.discard(effect.timer)
            return known
        return True

    def _is_new(self, key: str, text: str) -> bool:
        return self._shown.get(key) != text

    @staticmethod
    def _view(view: View) -> dict[str, str]:
        """A text for everything, for each app, and for each worker."""
        found = {"pyinit": text_of(view, without=("apps",))}
        for app in view.apps:
            found[app.name] = text_of(app, without=("name", "exec_mode", "workers", "job"))
            if app.job is not None:
                found[f"{app.name} job"] = text_of(app.job)
            for row in app.workers:
                key = f"{app.name} {row.instance}, {row.incarnation or 'no process'}"
                found[key] = text_of(row, without=("app", "instance", "incarnation"))
        return found


def written(history: Callable[[World], None]) -> str:
    """The whole transcript of a history, in a new world."""
    world = World()
    transcript = Transcript(world)
    history(world)
    return "\n".join(transcript.lines) + "\n"


def defaults() -> str:
    """What a file that says nothing means, by the fields of the plan."""
    kinds = [each for each in vars(spec).values() if isinstance(each, type)]
    lines = []
    for kind in sorted(kinds, key=lambda each: each.__name__):
        if issubclass(kind, Record) and kind._defaults:
            lines.append(kind.__name__)
            lines += [f"    {name} = {text_of(each)}" for name, each in kind._defaults.items()]
    return "\n".join(lines) + "\n"


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for path in FOLDER.glob("*.txt"):
        if path.stem not in HISTORIES:
            path.unlink()
    DEFAULTS.write_text(defaults(), encoding="utf-8")
    for name, history in HISTORIES.items():
        (FOLDER / f"{name}.txt").write_text(written(history), encoding="utf-8")


if __name__ == "__main__":
    main()
