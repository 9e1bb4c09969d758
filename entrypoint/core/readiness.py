"""When a worker counts as ready: by what was seen, or by its own word; never by time alone.

::

    READY=1, process.send('ready')   always counts
    wait_ready                       nothing else does, until `listen_timeout` is over and no
                                     worker of the app has ever said READY (`force`)
    listen                           each declared address that is not optional has accepted
    no listen, a later start         each port that the worker before listened on has accepted
    no listen, the first start       the first port that accepts and that a client may know: not
                                     one that the kernel chose, nor a debugger's
    no port at all                   its processes rest (`REST`) when `listen_timeout` is over
    listen, unix paths alone are     it listens there, and its processes rest then; not for the
    left to accept on                successor in a reload
    health                           besides, the first check that succeeds

*Accepted* is a connection that somebody took from the queue: one of our own (`ProbeAccept`)
or a client's. Programs that listen first and load later (gunicorn, uvicorn with workers)
accept when they have loaded.

`listen_timeout` gives up on a worker (`abort`), or only says that it is late. Then it stays
*launching* and is ready when it is seen to be; nobody waits for it. A start after the
first one gets at least three times as long as the slowest one of the app has taken.
"""

from __future__ import annotations

from . import health
from . import worker as w
from .addresses import (
    accepts,
    counts,
    has_all,
    has_port,
    key_of,
    required,
    served_by,
)
from .effects import LookAt, ProbeAccept, StartTimer, StopLook, StopTimer
from .events import Timer
from .lifecycle import arm, awaits_readiness, shares_port, steer, stop_worker, watch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .events import AcceptSeen, ListenEnded, ListenSeen, ProbeFailed, RestSeen
    from .spec import AppSpec
    from .turn import Turn
    from .worker import Place, Worker

# An app without a port is ready once its processes have used almost no CPU for so long, and
# so long after `listen_timeout` at the latest (s).
REST = 2.0
REST_AT_MOST = 60.0
# A later start gets so many times what the slowest start of the app has taken.
PATIENCE = 3.0
# Probes of one worker at undeclared addresses. More are no servers of clients.
PROBES = 8
# How long the rest of one that listens on a unix path is waited for (s).
PATH_REST = 2 * REST
# After a probe that could not be made (s).
PROBE_AGAIN = 0.5
# The least patience of a probe where siblings share the socket (s).
SHARED_PATIENCE = 2.0

WORDS = ("notify", "node")


# -- its word --------------------------------------------------------------------------


def _speech_awaited(turn: Turn, worker: Worker) -> bool:
    """`wait_ready`, and its READY has not come, which the app is known or believed to say."""
    if not worker.spec.wait_ready or worker.up_at:
        return False
    return not worker.overdue or turn.the_pool(worker.app).speaks


def _is_mute(turn: Turn, worker: Worker) -> bool:
    """Its READY is asked for, but no worker of the app has ever said it."""
    spec = worker.spec
    asked = spec.wait_ready and spec.on_listen_timeout != "abort"
    return asked and not turn.the_pool(worker.app).speaks


# -- from launch to ready ---------------------------------------------------------------


def launch_bound(turn: Turn, worker: Worker) -> float:
    """How long it may take to be ready, seconds."""
    bound = health.launch_bound(worker.spec)
    return max(bound, PATIENCE * turn.the_pool(worker.app).slowest)


def spawned(turn: Turn, worker: Worker, pid: int, *, observed: bool) -> None:
    """fork(2) succeeded: from now on the time to be ready runs."""
    worker = turn.put_worker(worker.replace(pid=pid, observed=observed))
    turn.report_of(worker, "info", "worker started")
    if worker.state == w.LAUNCHING and not worker.spec.before_start:
        _arm(turn, worker)


def _arm(turn: Turn, worker: Worker) -> Worker:
    """The time to be ready runs from now on."""
    worker = worker.replace(boots_since=turn.now)
    mute = _is_mute(turn, worker)
    bound = health.launch_bound(worker.spec) if mute else launch_bound(turn, worker)
    return arm(turn, worker, "launch", bound)


def execed(turn: Turn, worker: Worker, *, observed: bool) -> None:
    """execve(2) succeeded: it may listen from now on."""
    worker = turn.put_worker(worker.replace(observed=observed, execed=True))
    spec = worker.spec
    if worker.state != w.LAUNCHING:
        return
    if spec.before_start:
        # Those commands have a time of their own.
        worker = _arm(turn, worker)
    if not awaits_readiness(spec) and worker.watchdog > 0:
        watch(turn, worker)
    if spec.listen and shares_port(spec):
        # Its sockets listen already: a program that sees that may never call listen(2).
        for each in spec.listen:
            if not each.optional:
                worker = _probe(turn, worker, each.text, each.text, each.text)
    elif spec.wait_ready:
        return
    elif spec.health is None or shares_port(spec):
        turn.emit(LookAt(worker.incarnation, worker.app))
    else:
        ready(turn, worker, "exec")


def listens(turn: Turn, worker: Worker, event: ListenSeen) -> None:
    """It was seen to listen."""
    key = key_of(event.address, event.declared)
    if key not in dict(worker.listening):
        since = (worker.up_at or worker.launched_at) if event.lasting else turn.now
        worker = worker.replace(listening=(*worker.listening, (key, since)))
        if event.passing:
            worker = worker.replace(passing=(*worker.passing, key))
        if event.chosen and not event.declared:
            worker = worker.replace(chosen=(*worker.chosen, key))
        if not worker.listened_at and counts(turn, worker, key):
            worker = worker.replace(listened_at=turn.now)
        worker = turn.put_worker(worker)
    if worker.state == w.LAUNCHING and counts(turn, worker, key):
        _probe(turn, worker, key, event.address, event.declared)


def _probe(turn: Turn, worker: Worker, key: str, address: str, declared: str) -> Worker:
    if key in worker.probed or (not declared and len(worker.probed) >= PROBES):
        return worker
    place = turn.place(worker.app, worker.instance)
    patience = max(SHARED_PATIENCE, 2 * place.to_accept if place is not None else 0.0)
    turn.emit(ProbeAccept(worker.incarnation, worker.app, worker.slot, address, declared, patience))
    return turn.put_worker(worker.replace(probed=(*worker.probed, key)))


def probe_failed(turn: Turn, worker: Worker, event: ProbeFailed) -> None:
    """Try again in a moment: what there is too little of may be there then."""
    key = key_of(event.address, event.declared)
    if key in worker.probed and key not in worker.accepting:
        probed = tuple(each for each in worker.probed if each != key)
        turn.put_worker(worker.replace(probed=probed))
        turn.emit(StartTimer(_timer("probe", worker), PROBE_AGAIN))


def probe_again(turn: Turn, worker: Worker) -> None:
    """Probe what could not be probed before."""
    if worker.state not in (w.LAUNCHING, w.ONLINE):
        return
    if worker.spec.listen and shares_port(worker.spec):
        for each in worker.spec.listen:
            if not each.optional and each.text not in worker.accepting:
                worker = _probe(turn, worker, each.text, each.text, each.text)
        return
    for key, _ in worker.listening:
        if key not in worker.accepting and counts(turn, worker, key) and key.startswith(":"):
            worker = _probe(turn, worker, key, f"[::]{key}", "")


def _to_accept(worker: Worker) -> float:
    """Seconds from its listen(2) to its first accept; 0: not seen."""
    if not worker.listened_at or not worker.accepted_at:
        return 0.0
    return max(0.0, worker.accepted_at - worker.listened_at)


def min_ready(to_accept: float, spec: AppSpec, *, watching: bool) -> float:
    """How long the first successor has to live before an old worker is stopped, seconds.

    `to_accept`: what the old one took from listen(2) to its first accept. `watching`: a
    person waits for what they have just saved.
    """
    if spec.min_ready is not None:
        return spec.min_ready
    return 0.0 if watching else min(30.0, 2 * to_accept)


def accepted(turn: Turn, worker: Worker, event: AcceptSeen) -> None:
    """It has taken a connection from the queue of this address."""
    key = key_of(event.address, event.declared)
    if key in worker.accepting:
        return
    worker = worker.replace(accepting=(*worker.accepting, key))
    if not worker.accepted_at and counts(turn, worker, key):
        worker = worker.replace(accepted_at=turn.now)
    worker = turn.put_worker(worker)
    if event.unknown:
        turn.report_of(
            worker,
            "warning",
            "accept not observed",
            address=key,
            reason="other processes accept there too, and this worker's may not be looked into",
            then="count it as accepting",
        )
    _look_again(turn, worker)


def _look_again(turn: Turn, worker: Worker) -> None:
    """Is it ready by what was seen of it?"""
    if worker.state != w.LAUNCHING or _speech_awaited(turn, worker):
        return
    if accepts(turn, worker):
        ready(turn, worker, "accept")
    elif worker.rests and _may_rest(turn, worker) and not has_port(turn, worker):
        ready(turn, worker, "rest")
    elif worker.rests and worker.overdue and _only_paths_left(turn, worker):
        ready(turn, worker, "listen")


def _only_paths_left(turn: Turn, worker: Worker) -> bool:
    """It lacks nothing but to accept on unix paths on which it listens.

    One queue is for all workers there. A server that takes no connection at first is not told
    from one that is late; one that loads is not at rest.
    """
    left = [key for key in required(turn, worker) if key not in worker.accepting]
    listening = dict(worker.listening)
    paths = bool(left) and all(key.startswith("unix:") and key in listening for key in left)
    return paths and not worker.up_by and not _succeeds(turn, worker)


def _may_rest(turn: Turn, worker: Worker) -> bool:
    """Time enough for a port; or the worker before had none."""
    place = turn.place(worker.app, worker.instance)
    return worker.overdue or (place is not None and place.portless)


def rested(turn: Turn, worker: Worker, event: RestSeen) -> None:
    """Its processes use almost no CPU, or again more."""
    if worker.rests != event.rests:
        worker = turn.put_worker(worker.replace(rests=event.rests))
        _look_again(turn, worker)


def ready(turn: Turn, worker: Worker, source: str) -> None:
    """The worker serves. `source`: notify | node | accept | listen | health | rest | exec.

    Where the file asks for checks it is only up by any other source, and ready with the first
    check that succeeds.
    """
    pool = turn.the_pool(worker.app)
    if worker.reloading and source == "notify":
        worker = turn.put_worker(worker.replace(reloading=False))
    if source in WORDS and not pool.speaks:
        pool = turn.put_pool(pool.replace(speaks=True))
    if worker.spec.health is not None and source != "health" and not _is_well(worker):
        health.begin(turn, worker, source)
        return
    if worker.state != w.LAUNCHING or (source == "health" and _is_deaf(turn, worker)):
        return
    took = turn.now - worker.launched_at
    again = worker.up_at > 0
    worker = turn.put_worker(
        worker.after(w.READY).replace(failures=0, overdue=False, up_at=worker.up_at or turn.now)
    )
    turn.emit(StopTimer(_timer("launch", worker)), StopLook(worker.incarnation))
    watch(turn, worker)
    where = _where(turn, worker) if "accept" in (source, worker.up_by) else {}
    turn.report_of(worker, "info", "worker ready", by=source, **where, after=round(took, 3))
    if again:
        return
    seen = source not in ("rest", "listen")
    if seen:
        turn.count("ready", worker.app, seconds=took)
    if source == "accept":
        took = worker.accepted_at - worker.launched_at
    booted = took - (worker.boots_since - worker.launched_at)
    _remember(turn, worker, booted, seen=seen)
    place = turn.place(worker.app, worker.instance)
    if place is not None and place.portless != (source == "rest"):
        turn.put_place(place.replace(portless=source == "rest"))
    pool = turn.the_pool(worker.app)
    if where and not worker.spec.listen and not pool.advised:
        pool = turn.put_pool(pool.replace(advised=True))
        turn.report(
            "info",
            "readiness port assumed",
            app=pool.name,
            **where,
            advice="declare the app's addresses with `listen`: then no other port counts",
        )
    if source == "listen":
        turn.report_of(worker, "warning", "worker accepts nothing", ready="its processes rest")
    if source == "rest":
        turn.report_of(
            worker,
            "info",
            "worker has no port",
            ready="its processes rest" if worker.rests else "it runs",
            **_passed_over(worker),
        )
    if pool.ready >= pool.wanted and not pool.was_ready:
        turn.put_pool(pool.replace(was_ready=True))
        turn.report("info", "app ready", app=pool.name, workers=pool.ready)


def _passed_over(worker: Worker) -> dict[str, object]:
    """Ports on which it listens and that do not count."""
    ports = [key for key, _ in worker.listening if key.startswith(":")]
    return {"not_counted": ", ".join(ports)} if ports else {}


def _is_deaf(turn: Turn, worker: Worker) -> bool:
    """It has closed what it listened on."""
    return bool(worker.up_at) and has_port(turn, worker) and not _listens(turn, worker)


def _listens(turn: Turn, worker: Worker) -> bool:
    """Wherever it has to, as far as it was seen."""
    seen = {*worker.accepting, *dict(worker.listening)}
    needed = required(turn, worker)
    if needed:
        return has_all(turn, worker, needed, seen)
    return any(counts(turn, worker, key) for key in seen)


def _is_well(worker: Worker) -> bool:
    """It was ready before, and its checks succeed."""
    return worker.up_at > 0 and worker.healthy and not worker.check_reason


def _where(turn: Turn, worker: Worker) -> dict[str, object]:
    seen = [key for key in worker.accepting if counts(turn, worker, key)]
    return {"address": ", ".join(seen)} if seen else {}


def _remember(turn: Turn, worker: Worker, took: float, *, seen: bool) -> None:
    """What the next starts of the app are measured by."""
    pool = turn.the_pool(worker.app)
    if seen:
        turn.put_pool(pool.replace(said_ready=True, slowest=max(pool.slowest, took)))
    place = turn.place(worker.app, worker.instance)
    if place is not None:
        turn.put_place(place.replace(proven=True))


def recall(turn: Turn, place: Place, worker: Worker | None) -> Place:
    """The place, knowing what this worker of it serves: its successor has to serve it too."""
    if worker is None or not worker.up_at:
        return place
    served = served_by(worker, turn.now) if worker.accepted_at else place.served
    return place.replace(served=served, to_accept=_to_accept(worker))


# -- too late ---------------------------------------------------------------------------


def overdue(turn: Turn, worker: Worker) -> None:
    """The launch has taken as long as it may."""
    if worker.state != w.LAUNCHING:
        return
    portless = not has_port(turn, worker) and not worker.up_by
    mute = _is_mute(turn, worker)
    if portless and (mute or not worker.spec.wait_ready):
        place = turn.place(worker.app, worker.instance)
        if worker.overdue or (place is not None and place.portless):
            # Its rest has been waited for, or that of the worker before.
            ready(turn, worker, "rest")
            checked = turn.worker(worker.incarnation)
            if checked is not None and checked.state == w.LAUNCHING:
                # It is up, and its checks begin: they have the same time.
                arm(turn, checked, "launch", health.launch_bound(worker.spec))
        else:
            _await_rest(turn, worker)
    elif mute and not worker.overdue:
        _go_without_speech(turn, worker)
    else:
        _decide(turn, worker)


def _await_rest(turn: Turn, worker: Worker) -> None:
    """No port so far, and none is expected."""
    if worker.spec.wait_ready:
        _report_late(turn, worker, "wait until its processes rest")
        turn.emit(LookAt(worker.incarnation, worker.app))
    worker = turn.put_worker(worker.replace(overdue=True, failures=0))
    worker = arm(turn, worker, "launch", REST_AT_MOST)
    _look_again(turn, worker)


def _go_without_speech(turn: Turn, worker: Worker) -> None:
    """No READY came, and none ever has: what is seen of it counts from now on."""
    late = turn.put_worker(worker.replace(overdue=True, failures=0))
    if accepts(turn, late):
        _report_late(turn, worker, "count what it accepts")
        _look_again(turn, late)
        return
    if not worker.spec.listen:
        turn.emit(LookAt(worker.incarnation, worker.app))
    left = worker.boots_since + launch_bound(turn, worker) - turn.now
    if left > 0:
        arm(turn, late, "launch", left)
    else:
        _decide(turn, late)


def _decide(turn: Turn, worker: Worker) -> None:
    """Wait for it without a bound, or give up on it."""
    place = turn.place(worker.app, worker.instance)
    less = place is not None and place.served and worker.accepting and not worker.spec.listen
    if less and place is not None and not _succeeds(turn, worker):
        # Its release may serve less than the one before, and no other worker is there.
        turn.put_place(place.replace(served=()))
        _look_again(turn, turn.put_worker(worker.replace(overdue=True, failures=0)))
        if not _is_launching(turn, worker):
            return
    if not worker.overdue and _only_paths_left(turn, worker):
        _report_late(turn, worker, "wait until it accepts, or its processes rest")
        turn.emit(LookAt(worker.incarnation, worker.app))
        late = turn.put_worker(worker.replace(overdue=True, failures=0))
        arm(turn, late, "launch", PATH_REST)
        return
    rule = _rule(turn, worker)
    if rule == "wait":
        _report_late(turn, worker, "wait for it")
        turn.put_worker(worker.replace(overdue=True, failures=0, due=0.0))
    else:
        reason = shortfall(turn, worker)
        _report_late(turn, worker, "give up on this worker")
        stop_worker(turn, worker, "failed start", because=reason)


def _is_launching(turn: Turn, worker: Worker) -> bool:
    now = turn.worker(worker.incarnation)
    return now is not None and now.state == w.LAUNCHING


def _report_late(turn: Turn, worker: Worker, then: str) -> None:
    turn.report_of(
        worker,
        "warning",
        "worker not ready in time",
        listen_timeout=health.launch_bound(worker.spec),
        reason=shortfall(turn, worker),
        then=then,
    )


def _rule(turn: Turn, worker: Worker) -> str:
    """`wait` or `abort`."""
    rule = worker.spec.on_listen_timeout
    if rule == "abort" or _succeeds(turn, worker):
        # Time alone ends no old worker, so a successor that is not ready is of no use.
        return "abort"
    place = turn.place(worker.app, worker.instance)
    first = place is None or not place.proven
    if rule == "force" or first:
        # Of a first start nothing is known of how long it takes.
        return "wait"
    return "abort"


def _succeeds(turn: Turn, worker: Worker) -> bool:
    place = turn.place(worker.app, worker.instance)
    return place is not None and place.successor == worker.incarnation


def shortfall(turn: Turn, worker: Worker) -> str:
    """What it lacks to be ready, and after how long: for people."""
    timeout, took = health.launch_bound(worker.spec), turn.now - worker.boots_since
    after = f"after listen_timeout {timeout:g} s"
    if launch_bound(turn, worker) > timeout and took > 1.01 * timeout + 0.1:
        slow = "three times the slowest start of the app"
        after = f"after {took:.1f} s: {slow}, more than listen_timeout {timeout:g} s"
    return f"{_lack(turn, worker)} {after}"


def _lack(turn: Turn, worker: Worker) -> str:
    if worker.up_by:
        why = f": {worker.check_reason}" if worker.check_reason else ""
        return f"health check not passed{why}"
    listening = dict(worker.listening)
    missing = [key for key in required(turn, worker) if key not in worker.accepting]
    deaf = [key for key in missing if key in listening]
    if deaf:
        return f"accepts no connection on {', '.join(deaf)}"
    if missing:
        return f"not listening on {', '.join(missing)}"
    if worker.spec.wait_ready:
        return "no READY"
    silent = [key for key in listening if counts(turn, worker, key)]
    if silent:
        return f"accepts no connection on {', '.join(silent)}"
    return "not listening"


# -- the listener is gone ---------------------------------------------------------------


def closed(turn: Turn, worker: Worker, event: ListenEnded) -> None:
    """It listens there no more: steer clients away until it does again."""
    key = key_of(event.address, event.declared)
    known = key in dict(worker.listening) or key in worker.accepting
    counted = known and counts(turn, worker, key)
    worker = turn.put_worker(
        worker.replace(
            listening=tuple(each for each in worker.listening if each[0] != key),
            accepting=tuple(each for each in worker.accepting if each != key),
            probed=tuple(each for each in worker.probed if each != key),
        )
    )
    if worker.state != w.ONLINE or not counted or _listens(turn, worker):
        return
    turn.report_of(worker, "warning", "listener closed", address=key, then="wait for it to listen")
    turn.emit(StopTimer(_timer("watchdog", worker)))
    # What was due is over: nothing bounds how long it stays away but its health checks.
    turn.put_worker(worker.after(w.CLOSE).replace(overdue=True, failures=0, due=0.0))
    steer(turn, worker.app)


def _timer(kind: str, worker: Worker) -> Timer:
    return Timer(kind, worker.app, worker.incarnation)
