"""The commands of users to a running pyinit over its private socket (api/socket_path.py).

HTTP/1.1, because the private socket already uses it: `POST /control/VERB?app=NAME` for
commands that change something, GET for others. Long answers are lines of JSON that end
with the connection (`operations.Operation`); errors are one JSON object with an `error`
for people. The probes' port gives no access to any of this.

This module is loaded with the first command. It makes no decisions about workers: a command
becomes one event of the core for each app.
"""

from __future__ import annotations

from entrypoint import __version__
from entrypoint.core import diff
from entrypoint.core import events as e
from entrypoint.kernel import signals
from entrypoint.logs.schema import encode

from . import completion, status_payload
from .arguments import (
    Arguments,
    Target,
    WrongError,
    event_of,
    preview_of,
    refuse_parts,
    wanted_of,
)
from .line_stream import Follower, Stream
from .operations import Operation
from .probes import JSON, Answer, Handover
from .recent_logs import Choice

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable, Sequence
    from typing import Protocol

    from entrypoint.api.recent_logs import Recent
    from entrypoint.core.effects import Effect
    from entrypoint.core.events import Event
    from entrypoint.core.spec import Plan
    from entrypoint.core.supervisor import Supervisor
    from entrypoint.core.view import View
    from entrypoint.http.http1 import Request
    from entrypoint.http.listening import ConnectionLimiter
    from entrypoint.logs.pump import LogPump
    from entrypoint.loop import Loop
    from entrypoint.shell.children import Children
    from entrypoint.shell.config_reload import Rereading
    from entrypoint.shell.dispatch import Dispatch
    from entrypoint.shell.journaling import Journaling
    from entrypoint.shell.loader import Outcome
    from entrypoint.shell.schedules import Schedules
    from entrypoint.sockets.effects import PortEffects

    from .socket_path import Peer

    class Runtime(Protocol):
        """What is used of the run."""

        children: Children
        core: Supervisor
        dispatch: Dispatch
        journal: Journaling
        loop: Loop
        plan: Plan
        ports: PortEffects
        pump: LogPump
        recent: Recent | None
        rereading: Rereading
        schedules: Schedules

        def emit(self, event: Event) -> None:
            """Hand an event to the core."""

        def log(self, level: str, event: str, fields: dict[str, object]) -> None:
            """Log one event of pyinit's own."""


LINES = "application/x-ndjson"
TEXT = "text/plain; charset=utf-8"
BYTES = "application/octet-stream"
# The most queued bytes for a client that reads a long answer.
PIECE = 32 * 1024

LOG_LINES = 20
LOG_LINES_LIMIT = 100_000

QUESTIONS = ("apps", "describe", "logs", "journal")
COMMANDS = ("reload", "restart", "stop", "start", "run", "scale", "signal")


class Service:
    """The commands of one run."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._operations: dict[Operation, None] = {}

    def answer(self, request: Request, peer: Peer) -> Answer | Handover:
        """The answer to `/control/…`. The client is root or pyinit's own user."""
        verb = request.path[1] if len(request.path) == 2 else ""
        if verb not in (*QUESTIONS, *COMMANDS):
            return _problem(404, f"no such command: {verb!r}")
        method = "POST" if verb in COMMANDS else "GET"
        if request.method != method:
            return _problem(405, f"{verb} is asked with {method}", allow=method)
        arguments = Arguments(request.query)
        try:
            chosen = self._chosen(arguments)
            if verb == "apps":
                return _json(status_payload.everything(self._runtime, self._view()))
            if verb == "describe":
                return self._describe(chosen)
            if verb == "journal":
                return self._journal()
            if verb == "logs":
                return self._logs(chosen if arguments.every("app") else [], arguments)
            return self._command(verb, chosen, arguments, peer)
        except WrongError as wrong:
            return _problem(wrong.status, str(wrong), wrong.fields)

    def _view(self) -> View:
        return self._runtime.core.view()

    def _chosen(self, arguments: Arguments) -> list[Target]:
        """The named targets, each app once; without a name, or for `all`: every app.

        A name is an app's, else a worker's id as `pyinit ls` shows it.
        """
        apps = self._view().apps
        by_name = {app.name: app for app in apps}
        by_id = {str(row.id): (app, row.instance) for app in apps for row in app.workers}
        by_id.pop("-1", None)
        names = arguments.every("app")
        unknown = [name for name in names if name not in (*by_name, *by_id, "all")]
        if unknown:
            raise WrongError(
                404, "unknown app", unknown=unknown, apps=list(by_name), ids=list(by_id)
            )
        whole = names or ["all"]
        if "all" in whole and "all" not in by_name:
            return [Target(app) for app in apps]
        found: dict[str, set[int] | None] = {}
        for name in whole:
            if name in by_name:
                found[name] = None  # all of it
            else:
                app, instance = by_id[name]
                instances = found.setdefault(app.name, set())
                if instances is not None:
                    instances.add(instance)
        return [Target(by_name[name], tuple(sorted(ns or ()))) for name, ns in found.items()]

    # -- questions ----------------------------------------------------------------------

    def _describe(self, chosen: Sequence[Target]) -> Answer:
        view = self._view()
        told_of = [
            status_payload.in_detail(self._runtime, view, t.app, t.instances) for t in chosen
        ]
        return _json({"apps": told_of})

    def _logs(self, chosen: Sequence[Target], arguments: Arguments) -> Handover:
        layout = self._runtime.pump.form.layout
        whole = len(chosen) == len(self._view().apps) and not any(t.instances for t in chosen)
        named = () if whole else tuple((t.app.name, t.instances) for t in chosen)
        choice = Choice(named, layout.keys.app, layout.keys.instance)
        lines = arguments.number("lines", LOG_LINES, LOG_LINES_LIMIT)
        pump = self._runtime.pump
        recent = self._runtime.recent
        if recent is None:
            raise WrongError(409, "no lines are kept yet")
        kind = LINES if pump.form.name in ("json", "raw") else TEXT
        follower = Follower(recent, choice, layout)
        if not arguments.flag("follow"):
            return self._hand_over(kind, lambda stream: stream.end(recent.last(choice, lines)))

        def begin(stream: Stream) -> None:
            stream.send(recent.last(choice, lines), must=True)
            follower.begin(stream)

        return self._hand_over(kind, begin, follower.end, idle=True)

    def _journal(self) -> Handover:
        recorder = self._runtime.journal.recorder
        if recorder is None:
            raise WrongError(409, "no journal is kept yet")
        dump = recorder.dump(__version__)
        return self._hand_over(BYTES, lambda stream: _send_all(stream, dump))

    def _hand_over(
        self,
        kind: str,
        begin: Callable[[Stream], None],
        closed: Callable[[], None] = lambda: None,
        *,
        idle: bool = False,
    ) -> Handover:
        """A streamed answer: `begin(stream)` is called once its head is on the way."""
        import json  # structlog has loaded it

        spec = self._runtime.pump.form.spec
        # ASCII: `\\u` for everything else.
        log_keys = json.dumps([spec.keys, dict(spec.names)])
        head = (
            f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nCache-Control: no-store\r\n"
            f"X-Pyinit-Log-Format: {self._runtime.pump.form.name}\r\n"
            f"X-Pyinit-Log-Keys: {log_keys}\r\nConnection: close\r\n\r\n"
        )

        def take(sock: _socket.socket, limiter: ConnectionLimiter) -> None:
            begin(Stream(self._runtime.loop, sock, limiter, head.encode(), closed, idle=idle))

        return Handover(take)

    # -- commands -----------------------------------------------------------------------

    def _command(
        self, verb: str, chosen: list[Target], arguments: Arguments, peer: Peer
    ) -> Answer | Handover:
        phase = self._view().phase
        if phase != "running":
            raise WrongError(409, f"pyinit is {phase}: it ends")
        dry = arguments.flag("dry_run")
        config = arguments.flag("config")
        if not config and not arguments.every("app"):
            raise WrongError(400, "which app? name one, or `all`")
        if verb == "signal":
            return self._signal(chosen, arguments, peer)
        if verb == "reload" and config:
            return self._reload_config(peer, dry=dry)
        refuse_parts(verb, chosen)
        if verb == "run":
            self._check_runnable(chosen)
        wanted = dict.fromkeys((target.app.name for target in chosen), 0)
        if verb == "scale":
            wanted = {t.app.name: wanted_of(t.app, arguments.one("to")) for t in chosen}
        if verb == "reload":
            chosen = self._reloadable(chosen, arguments)
        if verb == "start":
            # `all` does not start an app that waits for another one: only its name does.
            named = arguments.every("app")
            chosen = [t for t in chosen if t.app.name in named or not completion.waits(t.app)]
        if dry:
            return _json({"changes": [preview_of(verb, target) for target in chosen]})
        self._log(verb, chosen, peer, to=arguments.one("to"))

        def begin(stream: Stream) -> None:
            operation = self._operation(stream)
            view = self._view()
            operation.aim(
                [completion.goal_for(t.app, verb, wanted[t.app.name], t.instances) for t in chosen],
                view,
            )
            for target in chosen:
                self._runtime.emit(event_of(verb, target, wanted[target.app.name]))
            # A busy core decides later: the view must not be the one from before the command.
            self._runtime.dispatch.after(lambda: self._asked(operation))

        return self._hand_over(LINES, begin)

    def _asked(self, operation: Operation) -> None:
        operation.asked(self._view())
        self._watch()

    def _check_runnable(self, chosen: list[Target]) -> None:
        """Only an app that ends by itself can be run once."""
        for target in chosen:
            name = target.app.name
            spec = self._runtime.plan.app(name)
            if spec is None or spec.autorestart:
                text = f"{name} is kept running: only an app with `autorestart: false` is run once"
                raise WrongError(400, f"{text}; `pyinit restart {name}` starts it again")

    def _reloadable(self, chosen: list[Target], arguments: Arguments) -> list[Target]:
        stopped = [target.app.name for target in chosen if target.app.stopped]
        if stopped and len(stopped) == len(chosen):
            names = ", ".join(stopped)
            raise WrongError(409, f"{names}: stopped; `pyinit start {' '.join(stopped)}` starts it")
        named = arguments.every("app")
        return [t for t in chosen if not t.app.stopped or t.app.name in named]

    def _signal(self, chosen: list[Target], arguments: Arguments, peer: Peer) -> Answer:
        text = arguments.one("signal")
        try:
            signum = signals.parse_signal(text)
        except ValueError as error:
            raise WrongError(400, str(error), signal=text, signals=sorted(signals.names)) from None
        name = signals.name_of(signum)
        self._log("signal", chosen, peer, signal=name)
        reached = [
            {"app": target.app.name, "instance": row.instance, "id": row.id, "pid": row.pid}
            for target in chosen
            for row in target.app.workers
            if row.pid and (not target.instances or row.instance in target.instances)
        ]
        for target in chosen:
            self._runtime.emit(e.SignalRequested(signum, target.app.name, target.instances))
        return _json({"signal": name, "workers": reached})

    def _log(self, command: str, chosen: Sequence[Target], peer: Peer, **fields: object) -> None:
        more = {key: value for key, value in fields.items() if value}
        instances = {t.app.name: list(t.instances) for t in chosen if t.instances}
        if instances:
            more["instances"] = instances
        apps = [target.app.name for target in chosen]
        asked = {"command": command, "apps": apps, **more, "by_uid": peer.uid, "by_pid": peer.pid}
        self._runtime.log("info", "command received", asked)

    # -- the file read again --------------------------------------------------------------

    def _reload_config(self, peer: Peer, *, dry: bool) -> Handover:
        if not dry:
            self._log("reload --config", [], peer)

        def begin(stream: Stream) -> None:
            operation = self._operation(stream)
            # A change of the plan by another client's SIGHUP is not the one to wait for.
            self._runtime.rereading.begin(lambda outcome: self._preview(operation, outcome, dry))

        return self._hand_over(LINES, begin)

    def _preview(self, operation: Operation, outcome: Outcome, dry: bool) -> bool:
        """Report what will change, before it does; returns whether to apply it."""
        if outcome.plan is None:
            for error in outcome.errors:
                operation.say(error=error)
            operation.finish(1, "the file is wrong: nothing was changed")
            return not dry  # the core records it: `pyinit ls` shows it
        for warning in outcome.warnings:
            operation.say(warning=warning)
        plan, new = self._runtime.plan, outcome.plan
        for key in diff.fixed_keys(plan, new):
            operation.say(warning=f"{key}: a change of it needs a new container")
        for key in diff.live_keys(plan, new):
            operation.say(change=f"{key}: changed, at once", keys=[key])
        changes = diff.differences(plan, new)
        stopped = {app.name for app in self._view().apps if app.stopped}
        for change in changes:
            described = change.describe(stopped=change.app in stopped)
            operation.say(change=described, **change.as_dict())
        everything = diff.says_the_same(plan, new)
        if everything:
            operation.say(note="the file says nothing new: every app is reloaded, as by SIGHUP")
        if dry:
            operation.finish(0, "nothing was changed (--dry-run)")
            return False
        view = self._view()
        if everything:
            aims = [
                completion.goal_for(app, completion.RELOAD) for app in view.apps if not app.stopped
            ]
        else:
            aims = _goals_of(changes, view)
        operation.aim(aims, view)
        operation.awaits_plan = True
        self._watch()
        return True

    # -- operations under way -------------------------------------------------------------

    def _operation(self, stream: Stream) -> Operation:
        operation = Operation(self._runtime.loop.now)
        operation.attach(stream)
        self._operations[operation] = None
        self._watch()
        return operation

    def _watch(self) -> None:
        """Follow the core's turns while a client waits for an operation."""
        for operation in tuple(self._operations):
            if not operation.waited_for:
                del self._operations[operation]
        observers = self._runtime.dispatch.observers
        if self._operations:
            observers["control"] = self._turned
        else:
            observers.pop("control", None)

    def _turned(self, event: e.Event, effects: Sequence[Effect]) -> None:
        view = self._view()
        for operation in tuple(self._operations):
            operation.turned(event, effects, view)
        self._watch()


def _send_all(stream: Stream, answer: bytes) -> None:
    """Queue a long answer piece by piece, as the client reads it."""
    at = 0

    def more() -> None:
        nonlocal at
        while at < len(answer) and stream.is_open and stream.pending <= PIECE:
            piece = answer[at : at + PIECE]
            at += len(piece)
            stream.send(piece, must=True)
        if at >= len(answer):
            stream.room_again = None
            stream.end()

    stream.room_again = more
    more()


def _goals_of(changes: Sequence[diff.Change], view: View) -> list[completion.Goal]:
    """The goals of the changes in a plan that is accepted."""
    verbs = {
        diff.REMOVED: completion.REMOVE,
        diff.SCALED: completion.SCALE,
        diff.CHANGED: completion.CHANGE,
    }
    found = []
    for change in changes:
        app = completion.app_of(view, change.app)
        if change.kind == diff.LIVE:
            continue
        if app is None or change.kind == diff.ADDED:
            found.append(completion.Goal(change.app, completion.START))
        elif not (app.stopped and change.kind == diff.CHANGED):
            # A stopped app reaches the new spec when it is started.
            found.append(completion.goal_for(app, verbs[change.kind], change.now))
    return found


def _json(value: object) -> Answer:
    return Answer(200, encode(value) + b"\n", JSON)


def _problem(
    status: int, error: str, fields: dict[str, object] | None = None, allow: str = ""
) -> Answer:
    told_too = {"error": error, "version": __version__, **(fields or {})}
    return Answer(status, encode(told_too) + b"\n", JSON, allow)
