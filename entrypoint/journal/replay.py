"""`pyinit replay FILE`: repeats the decisions in a journal and compares the results.

Needs neither the machine nor the programs of the journal: the core is pure. For each
event it shows what changed in the core's state, which explains the effects.
"""

from __future__ import annotations

import argparse
import sys

from entrypoint.core import effects as _effects  # noqa: F401  their types are read by name
from entrypoint.core import events as _events  # noqa: F401
from entrypoint.core.record import Record
from entrypoint.core.supervisor import Supervisor
from entrypoint.core.transaction import State

from .document import JournalError, read
from .packing import kinds
from .recorder import rebuilt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

    from .document import Journal, Segment

AGREED, DIFFERED, UNREADABLE = 0, 1, 2


class Difference(Record):
    """The core decides differently than the journal. `at`: line of its segment."""

    segment: int
    number: int
    what: str


def main(argv: Sequence[str]) -> int:
    """`pyinit replay [--app NAME] [--last N] [--quiet] FILE`."""
    parser = argparse.ArgumentParser(
        prog="pyinit replay",
        description="Replay a journal (`pyinit journal > FILE`): each event, what changed "
        "and what was ordered. Exit 0: all was decided again as it was; 1: something was "
        "decided otherwise; 2: the file cannot be read.",
        allow_abbrev=False,
    )
    parser.add_argument("file", metavar="FILE", help="- for stdin")
    parser.add_argument("--app", default="", metavar="NAME", help="show only this app's events")
    parser.add_argument("--last", type=int, default=0, metavar="N", help="show the last N only")
    parser.add_argument("--quiet", action="store_true", help="show only what differs")
    options = parser.parse_args(list(argv))
    try:
        if options.file == "-":
            journal = read(sys.stdin, kinds())
        else:
            with open(options.file, encoding="utf-8") as file:
                journal = read(file, kinds())
    except (OSError, UnicodeDecodeError, JournalError) as error:
        print(f"pyinit replay: {options.file}: {error}", file=sys.stderr)
        return UNREADABLE
    total = sum(len(segment.turns) for segment in journal.segments)
    shown = 0

    def show(text: str) -> None:
        nonlocal shown
        shown += 1
        if not options.quiet and (not options.last or shown > total - options.last):
            print(text)

    differences = replay(journal, None if options.quiet else show, options.app)
    for difference in differences:
        where = f"segment {difference.segment}, event {difference.number}"
        print(f"differs: {where}: {difference.what}")
    print(_summary(journal, total, differences))
    return DIFFERED if differences else AGREED


def _summary(journal: Journal, total: int, differences: list[Difference]) -> str:
    unknown = sum(len(each.turns) for each in journal.segments if each.items is None)
    text = f"{total} events of pyinit {journal.version}, {len(differences)} decided otherwise"
    if unknown:
        text += f", {unknown} not replayed (their snapshot was too large to keep)"
    if journal.dropped:
        text += f", {journal.dropped} had been dropped"
    return text


def replay(
    journal: Journal, show: Callable[[str], None] | None = None, app: str = ""
) -> list[Difference]:
    """Repeat all decisions; returns the differences. `show` gets a text for each event."""
    found: list[Difference] = []
    before: State | None = None
    for number, segment in enumerate(journal.segments, 1):
        if segment.items is None:
            before = None
            _tell_only(segment, show)
            continue
        state = rebuilt(State(), segment.items)
        if before is not None and not segment.gap:
            found += (
                Difference(number, 0, f"the snapshot: {what}") for what in _unlike(before, state)
            )
        found += _replay_segment(number, segment, state, show, app)
        before = state
    return found


def _tell_only(segment: Segment, show: Callable[[str], None] | None) -> None:
    if show is not None:
        for at, event, effects, error in segment.turns:
            show("\n".join((f"{at:.6f}  {event}", *(f"    → {x}" for x in effects), error)))


def _replay_segment(
    number: int,
    segment: Segment,
    state: State,
    show: Callable[[str], None] | None,
    app: str,
) -> Iterator[Difference]:
    core = Supervisor(state)
    for at, (now, event, effects, error) in enumerate(segment.turns, 1):
        before = _flat(state) if show is not None else {}
        owner = app_of(event, state)
        raised = ""
        try:
            ordered: Sequence[Any] = core.handle(event, now)
        except Exception as failure:  # noqa: BLE001  it may have raised then, too
            ordered, raised = (), repr(failure)
        if show is not None and app in {"", owner, *map(_app_of_effect, ordered)}:
            show(_described(now, event, _changes(before, _flat(state)), ordered, raised))
        if bool(raised) != bool(error):
            yield Difference(number, at, f"{event}: raised {raised or 'nothing'}, then: {error}")
        elif [_plain(each) for each in ordered] != [_plain(each) for each in effects]:
            yield Difference(number, at, _difference(event, ordered, effects))


def _difference(event: Any, ordered: Sequence[Any], effects: Sequence[Any]) -> str:
    now, then = [repr(each) for each in ordered], [repr(each) for each in effects]
    extra = [each for each in now if each not in then]
    missing = [each for each in then if each not in now]
    if not extra and not missing:
        return f"{event}: another order: {', '.join(now)}; then: {', '.join(then)}"
    return f"{event}: now also {extra or 'nothing'}; no longer {missing or 'nothing'}"


def _plain(value: Any) -> Any:
    """For comparing: what the journal could only keep as text is its repr."""
    if isinstance(value, Record):
        return (type(value).__name__, *(_plain(getattr(value, f)) for f in value._fields))
    if isinstance(value, (tuple, list)):
        return tuple(_plain(item) for item in value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return repr(value)[:256]


def app_of(event: Any, state: State) -> str:
    """The app that an event is about; "" when it is about all."""
    timer = getattr(event, "timer", event)
    app = getattr(timer, "app", "")
    worker = state.workers.get(getattr(timer, "incarnation", 0))
    return str(app or (worker.app if worker is not None else ""))


def _app_of_effect(effect: Any) -> str:
    if hasattr(effect, "fields"):
        return str(dict(effect.fields).get("app", ""))
    spec = getattr(effect, "spec", None)
    return str(spec.name if spec is not None else getattr(effect, "app", ""))


# -- why --------------------------------------------------------------------------------


def _flat(state: State) -> dict[tuple[Any, ...], Any]:
    found: dict[tuple[Any, ...], Any] = {}
    for name, value in vars(state).items():
        if name == "workers_by_app":  # the workers once more
            continue
        if isinstance(value, dict):
            for key, item in value.items():
                if isinstance(item, dict):
                    found.update(((name, key, k), v) for k, v in item.items())
                else:
                    found[name, key] = item
        else:
            found[name,] = value
    return found


def _changes(
    before: dict[tuple[Any, ...], Any], after: dict[tuple[Any, ...], Any]
) -> Iterator[str]:
    for where, new in after.items():
        old = before.get(where)
        if old is new or where == ("followed_up",):
            continue
        name = " ".join(map(str, where))
        if old is None:
            yield f"{name}: new"
        elif isinstance(new, Record) and type(old) is type(new):
            changed = [
                f"{field} {getattr(old, field)!r} → {getattr(new, field)!r}"
                for field in new._fields
                if getattr(old, field) != getattr(new, field)
            ]
            if changed:
                yield f"{name}: {', '.join(changed)}"
        elif old != new:
            yield f"{name}: {old!r} → {new!r}"
    for where in before:
        if where not in after:
            yield f"{' '.join(map(str, where))}: gone"


def _unlike(replayed: State, kept: State) -> Iterator[str]:
    """In what the state after one segment differs from the snapshot of the next."""
    before, after = _flat(replayed), _flat(kept)
    if list(before) != list(after):
        yield f"it holds other values: {sorted(map(str, {*before} ^ {*after}))[:10]}"
    for where, value in before.items():
        if where in after and _plain(value) != _plain(after[where]):
            yield f"{where}: {value!r} replayed, {after[where]!r} kept"


def _described(
    now: float, event: Any, changes: Iterator[str], ordered: Sequence[Any], raised: str
) -> str:
    lines = [f"{now:.6f}  {event!r}"]
    lines += (f"    {change}" for change in changes)
    lines += (f"    → {effect!r}" for effect in ordered)
    if raised:
        lines.append(f"    raised {raised}: nothing was changed")
    return "\n".join(lines)
