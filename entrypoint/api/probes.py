"""The answers of the probe endpoints, as a pure function of the view.

The form is that of the Kubernetes API server (`/livez`, `/readyz`, `?verbose`,
`?exclude=`), with two differences: 503 instead of 500, and the answer gives the reason of a
failure, since `kubectl describe` and `docker inspect` show it. Answers hold names, reasons and
numbers. Environments and command lines are never exposed.
"""

from __future__ import annotations

from entrypoint.core import view as states
from entrypoint.core.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable
    from typing import Any

    from entrypoint.core.view import AppView, View, WorkerView
    from entrypoint.http.http1 import Request
    from entrypoint.http.listening import ConnectionLimiter

TEXT = "text/plain; charset=utf-8"
JSON = "application/json"
ALLOWED = "GET, HEAD"
# Workers that a reason names; the rest of a big app is a number.
NAMED_WORKERS = 3

OTHER = "other"
ENDPOINTS = {"livez": "livez", "healthz": "livez", "readyz": "readyz", "startupz": "startupz"}


COUNTED = frozenset((*ENDPOINTS, "status", "metrics", "events"))
# How `/` is counted.
PAGE = "page"


class Answer(Record):
    """A response without the parts that belong to the connection.

    `allow`: of a 405. `fields`: more header fields, each `Name: value`.
    """

    status: int
    body: bytes
    content_type: str = TEXT
    allow: str = ""
    fields: tuple[bytes, ...] = ()


NO_METRICS = Answer(404, b"not found: probes.metrics is false\n")
NO_PAGE = Answer(404, b"not found: probes.page is false\n")


class Handover(Record):
    """Instead of an answer: the client is handed to `begin(sock, limiter)`, which closes it."""

    begin: Callable[[_socket.socket, ConnectionLimiter], None]


class Later(Record):
    """Instead of an answer that takes longer than a turn of the loop should.

    `begin(done)` has it made, and `done` called with it once; what it returns forgets that.
    """

    begin: Callable[[Callable[[Answer], None]], Callable[[], None]]


class Check(Record):
    """One line of `?verbose`: it failed when `reason` says why. `note`: `stopped` …"""

    name: str
    reason: str = ""
    note: str = ""


def answer(
    request: Request,
    view: View,
    ready_when: str,
    status_body: Callable[[], bytes],
    metrics: Callable[[str], Answer | Later] | None = None,
    page: Callable[[Request], Answer | Handover] | None = None,
) -> Answer | Handover | Later:
    """The response to `request`; `status_body` makes the JSON of `/status`.

    `metrics` makes the page for an Accept field, `page` answers `/` and `/events`; None:
    there is none.
    """
    if request.method not in {"GET", "HEAD"}:
        return Answer(405, b"only GET and HEAD are answered here\n", allow=ALLOWED)
    if request.has_body:
        return Answer(413, b"no request body is taken here\n")
    endpoint, *names = request.path
    if endpoint == "status" and not names:
        return Answer(200, status_body(), JSON)
    if endpoint == "metrics" and not names:
        return NO_METRICS if metrics is None else metrics(request.accept)
    if endpoint in {"", "events"} and not names:
        return NO_PAGE if page is None else page(request)
    if endpoint not in ENDPOINTS or len(names) > 1:
        return Answer(
            404, b"not found: /, /livez, /readyz, /startupz, /healthz, /status, /metrics\n"
        )
    checks = checks_of(ENDPOINTS[endpoint], view, ready_when)
    if names:
        checks = tuple(check for check in checks if check.name == names[0])
        if not checks:
            return Answer(404, b"not found: no app or check has this name\n")
    excluded = [value for key, value in request.query if key == "exclude"]
    verbose = any(key == "verbose" for key, _ in request.query)
    return _report(endpoint, checks, excluded, verbose=verbose)


def _report(name: str, checks: tuple[Check, ...], excluded: list[str], *, verbose: bool) -> Answer:
    lines = []
    failed = False
    for check in checks:
        shown = _printable(check.name)
        if check.name in excluded:
            lines.append(f"[+]{shown} excluded: ok")
        elif check.reason:
            failed = True
            lines.append(f"[-]{shown} failed: {_printable(check.reason)}")
        else:
            lines.append(f"[+]{shown} {check.note}: ok" if check.note else f"[+]{shown} ok")
    known = {check.name for check in checks}
    unknown = [name for name in dict.fromkeys(excluded) if name not in known]
    if unknown:
        quoted = ", ".join(f'"{_printable(name)}"' for name in unknown)
        lines.append(f"warn: some health checks cannot be excluded: no matches for {quoted}")
    if failed:
        # A failure is always shown in full, as the API server does.
        lines.append(f"{name} check failed")
    elif not verbose:
        return Answer(200, b"ok")
    else:
        lines.append(f"{name} check passed")
    text = "\n".join(lines) + "\n"
    return Answer(503 if failed else 200, text.encode("utf-8", "replace"))


def route(request: Request) -> str:
    """The requested endpoint, out of a small set of words: for counting."""
    if request.path == ("",):
        return PAGE
    return request.path[0] if request.path[0] in COUNTED else OTHER


# -- checks -----------------------------------------------------------------------


def checks_of(endpoint: str, view: View, ready_when: str) -> tuple[Check, ...]:
    """All checks of `livez`, `readyz` or `startupz`, in the order of the file."""
    if endpoint == "livez":
        # The answer itself shows that the loop turns.
        return (Check("loop"), *(_live(app) for app in view.apps))
    if endpoint == "readyz":
        return (*(_ready(app, ready_when) for app in view.apps), _shutdown(view))
    return tuple(_started(app) for app in view.apps)


def passed(endpoint: str, view: View, ready_when: str) -> bool:
    """Whether that endpoint would answer 200."""
    return not any(check.reason for check in checks_of(endpoint, view, ready_when))


def app_passed(app: AppView, ready_when: str) -> bool:
    """Whether `/readyz/APP` would answer 200."""
    return not _ready(app, ready_when).reason


def _shutdown(view: View) -> Check:
    if view.phase == "running":
        return Check("shutdown")
    return Check("shutdown", "draining" if view.phase == "draining" else "stopping")


def _live(app: AppView) -> Check:
    return Check(app.name, _errored(app) if app.errored else "", note=_stuck(app))


def _ready(app: AppView, ready_when: str) -> Check:
    if app.job is not None and not app.job.counts:
        return Check(app.name, note="job")
    if app.stopped:
        # An app that was never started is not required.
        stopped = "stopped: `pyinit start` starts it"
        return Check(app.name, stopped) if app.started else Check(app.name, note="not started")
    if app.errored:
        return Check(app.name, _errored(app))
    if app.finished:
        return Check(app.name, note="finished")
    if not app.wanted:
        return Check(app.name, "scaled to 0")
    if app.ready_workers >= needed(ready_when, app.wanted, was_ready=app.was_ready):
        missing = app.ready_workers < app.wanted
        return Check(app.name, note=_waiting(app) if missing else _stuck(app))
    return Check(app.name, _waiting(app))


def _stuck(app: AppView) -> str:
    """A note, not a failure: a restart of the container may not end such a process either."""
    count = sum(bool(worker.stuck) for worker in app.workers)
    return f"with {count} worker{'s' * (count != 1)} that cannot be ended" if count else ""


def _started(app: AppView) -> Check:
    if app.was_ready:
        return Check(app.name)
    if app.job is not None and not app.job.counts:
        return Check(app.name, note="job")
    if app.stopped:
        return Check(app.name, note="stopped")
    if app.errored:
        return Check(app.name, _errored(app))
    if app.finished:
        return Check(app.name, note="finished")
    return Check(app.name, _waiting(app))


def needed(ready_when: str, wanted: int, *, was_ready: bool) -> int:
    """How many ready workers make an app of `wanted` workers ready.

    `auto`: all until all were ready once (`was_ready`), then one: a request that crashes a worker
    in each of several containers must not take all of them out of a Service. `all`; `any`;
    a number (at most all); `50%` rounded up, at least one.
    """
    if ready_when == "any" or (ready_when == "auto" and was_ready):
        return min(1, wanted)
    number = ready_when.removesuffix("%")
    if not (number.isascii() and number.isdigit()):
        return wanted  # `all`, `auto`; the file was checked when it was read
    if ready_when.endswith("%"):
        return min(wanted, max(1, -(-wanted * int(number) // 100)))
    return min(wanted, int(number))


def _errored(app: AppView) -> str:
    exits = _named(worker for worker in app.workers if worker.state == states.ERRORED)
    return f"errored ({exits})" if exits else "errored"


def _waiting(app: AppView) -> str:
    text = f"{app.ready_workers} of {app.wanted} workers ready"
    others = _named(worker for worker in app.workers if not worker.ready)
    return f"{text} ({others})" if others else text


def _named(workers: Any) -> str:
    shown: list[str] = []
    more = 0
    for worker in workers:
        if len(shown) == NAMED_WORKERS:
            more += 1
            continue
        why = worker.stuck or (worker.health_reason if not worker.ready else "")
        last = f", {why or worker.last_exit}" if why or worker.last_exit else ""
        shown.append(f"{worker.instance}: {worker.state}{last}")
    if more:
        shown.append(f"and {more} more")
    return "; ".join(shown)


def _printable(text: str) -> str:
    """One line, whatever a name or a reason holds; a client must not write our lines."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


# -- status -----------------------------------------------------------------------


def status(view: View, *, now: float, version: str, ready_when: str) -> dict[str, Any]:
    """The values of `/status`; `now` is the clock of `WorkerView.started_at`."""
    return {
        "version": version,
        "phase": view.phase,
        "live": passed("livez", view, ready_when),
        "ready": passed("readyz", view, ready_when),
        "started": passed("startupz", view, ready_when),
        "revision": view.revision,
        "config_error": view.config_error,
        "apps": [_app_status(app, now) for app in view.apps],
    }


def _app_status(app: AppView, now: float) -> dict[str, Any]:
    return {
        "name": app.name,
        "exec_mode": app.exec_mode,
        "wanted": app.wanted,
        "ready_workers": app.ready_workers,
        "was_ready": app.was_ready,
        "reloading": app.reloading,
        "errored": app.errored,
        "finished": app.finished,
        "stopped": app.stopped,
        "workers": [_worker_status(worker, now) for worker in app.workers],
    }


def _worker_status(worker: WorkerView, now: float) -> dict[str, Any]:
    return {
        "instance": worker.instance,
        "incarnation": worker.incarnation,
        "slot": worker.slot,
        "pid": worker.pid,
        "state": worker.state,
        "ready": worker.ready,
        "restarts": worker.restarts,
        "uptime": round(max(0.0, now - worker.started_at), 3) if worker.pid else None,
        "stuck": worker.stuck,
        "status": worker.status,
        "reloading": worker.reloading,
        "health": worker.health,
        "health_reason": worker.health_reason,
        "last_exit": worker.last_exit,
    }
