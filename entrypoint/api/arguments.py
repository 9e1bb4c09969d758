"""Parses the query of a command's request. Errors become answers."""

from __future__ import annotations

from entrypoint.core import events as e
from entrypoint.core.record import Record

from . import completion

TYPE_CHECKING = False
if TYPE_CHECKING:
    from entrypoint.core.view import AppView


# More workers of one app than any machine is meant to run: probably a typing error.
INSTANCES_LIMIT = 1000


class Target(Record):
    """The target of a command: an app, or only these instances of it (by their ids)."""

    app: AppView
    instances: tuple[int, ...] = ()


class WrongError(Exception):
    """The command is impossible; `status` and fields of the answer."""

    def __init__(self, status: int, error: str, **fields: object) -> None:
        super().__init__(error)
        self.status = status
        self.fields = fields


class Arguments:
    """The query of a request. Its errors become answers."""

    def __init__(self, query: tuple[tuple[str, str], ...]) -> None:
        self._query = query

    def every(self, name: str) -> list[str]:
        """All values of that name."""
        return [value for key, value in self._query if key == name]

    def one(self, name: str) -> str:
        """The last value of that name, or nothing."""
        return (self.every(name) or [""])[-1]

    def flag(self, name: str) -> bool:
        """Whether it is on."""
        return self.one(name) not in ("", "0")

    def number(self, name: str, default: int, limit: int) -> int:
        """A number from 0 to `limit`."""
        text = self.one(name) or str(default)
        if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) <= limit):
            raise WrongError(400, f"{name}: {text!r} is not a number from 0 to {limit}")
        return int(text)


def wanted_of(app: AppView, text: str) -> int:
    """The number of workers that `4`, `+2` or `-1` means for this app."""
    number = text[1:] if text[:1] in ("+", "-") else text
    if not (number.isascii() and number.isdigit() and len(number) < 10):
        raise WrongError(400, f"{text!r} is not a number of workers: write 4, +2 or -1")
    count = int(number)
    if text[:1] == "+":
        count += app.wanted
    elif text[:1] == "-":
        count = app.wanted - count
        if count < 0:
            raise WrongError(400, f"{app.name} has {app.wanted} workers: {number} fewer is below 0")
    if count > INSTANCES_LIMIT:
        raise WrongError(400, f"{count} workers: at most {INSTANCES_LIMIT} for an app")
    return count


def refuse_parts(verb: str, chosen: list[Target]) -> None:
    """Refuse single instances for commands that apply to a whole app, or to a stopped one."""
    part = next((target for target in chosen if target.instances), None)
    if part is None:
        return
    name = part.app.name
    if verb in ("stop", "start", "run", "scale"):
        text = f"{verb} takes an app, not the worker of one"
        if verb == "stop":
            text += f": `pyinit scale {name} -1` runs one fewer, `pyinit stop {name}` none"
        raise WrongError(400, text)
    if part.app.stopped:
        raise WrongError(409, f"{name}: stopped; `pyinit start {name}` starts it")


def event_of(verb: str, target: Target, wanted: int) -> e.Event:
    """The core's event for this command and target."""
    app = target.app.name
    if verb == "scale":
        return e.ScaleRequested(app, wanted)
    if verb == "stop":
        return e.StopRequested(app)
    if verb == "start":
        return e.StartRequested(app)
    if verb == "run":
        return e.RunRequested(app)
    if verb == "restart":
        return e.RestartRequested(app, "pyinit restart", target.instances)
    return e.ReloadRequested(app, "pyinit reload", target.instances)


def preview_of(verb: str, target: Target) -> str:
    """What the command would do, for people."""
    count = len(target.instances or completion.running(target.app))
    return f"{target.app.name}: would {verb} {count} worker{'' if count == 1 else 's'}"
