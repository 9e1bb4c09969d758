"""When a worker counts as ready: by what was observed, or by its own signal; never by time alone.

::

    READY=1, process.send('ready')   always counts
    wait_ready                       nothing else does, until `listen_timeout` is over and no
                                     worker of the app has ever sent READY (`force`)
    listen                           each declared address that is not optional has accepted
    no listen, a later start         each port of the previous worker has accepted
    no listen, the first start       the first port that accepts and that clients may use: not
                                     one that the kernel chose, nor a debugger's
    no port at all                   its processes are idle (`REST`) when `listen_timeout` is over
    listen, unix paths alone are     it listens there, and its processes are idle then; not for the
    left to accept on                successor in a reload
    health                           in addition, the first check that succeeds

*Accepted* is a connection that a process took from the queue: one of pyinit's (`ProbeAccept`)
or a client's. Programs that listen first and load later (gunicorn, uvicorn with workers)
accept when they have loaded.

`listen_timeout` gives up on a worker (`abort`), or only reports that it is late. Then it stays
*launching* and becomes ready when it is seen to be; nothing waits for it. A later start
gets at least three times as long as the slowest start of the app took.
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
from .lifecycle import arm, awaits_readiness, route, shares_port, watch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .events import AcceptSeen, ListenEnded, ListenSeen, ProbeFailed, RestSeen
    from .spec import AppSpec
    from .transaction import Transaction
    from .types import ReadySource, WorkerTimer
    from .worker import Instance, Worker

# An app without a port is ready once its processes have used almost no CPU for this long, and
# this long after `listen_timeout` at the latest (s).
REST = 2.0
REST_AT_MOST = 60.0
# A later start gets this multiple of the time of the app's slowest start.
PATIENCE = 3.0
# Probes of one worker at undeclared addresses. A worker with more does not serve clients there.
PROBES = 8
# How long to wait until a worker that listens on a unix path is idle (s).
PATH_REST = 2 * REST
# The pause after a probe that could not be sent (s).
PROBE_AGAIN = 0.5
# The shortest `patience` of a probe if siblings share the socket (s).
SHARED_PATIENCE = 2.0

WORDS = ("notify", "node")


# -- its word --------------------------------------------------------------------------


def _ready_signal_awaited(tx: Transaction, worker: Worker) -> bool:
    """Whether a READY is missing that `wait_ready` asks for and the app is assumed to send."""
    if not worker.spec.wait_ready or worker.up_at:
        return False
    return not worker.overdue or tx.the_app(worker.app).says_ready


def is_silent(tx: Transaction, worker: Worker) -> bool:
    """Whether the file asks for READY, but no worker of the app has ever sent it."""
    spec = worker.spec
    asked = spec.wait_ready and spec.on_listen_timeout != "abort"
    return asked and not tx.the_app(worker.app).says_ready


# -- from launch to ready ---------------------------------------------------------------


def launch_bound(tx: Transaction, worker: Worker) -> float:
    """Seconds that it may take to be ready."""
    bound = health.launch_bound(worker.spec)
    return max(bound, PATIENCE * tx.the_app(worker.app).slowest)


def spawned(tx: Transaction, worker: Worker, pid: int, *, listen_visible: bool) -> None:
    """Start the launch timer: fork(2) succeeded."""
    worker = tx.put_worker(worker.replace(pid=pid, listen_visible=listen_visible))
    tx.report_of(worker, "info", "worker started")
    if worker.state == w.LAUNCHING and not worker.spec.before_start:
        _arm(tx, worker)


def _arm(tx: Transaction, worker: Worker) -> Worker:
    """Set the launch timer."""
    worker = worker.replace(boots_since=tx.now)
    silent = is_silent(tx, worker)
    bound = health.launch_bound(worker.spec) if silent else launch_bound(tx, worker)
    return arm(tx, worker, "launch", bound)


def execed(tx: Transaction, worker: Worker, *, listen_visible: bool) -> None:
    """Handle a successful execve(2): the worker may listen from now on."""
    worker = tx.put_worker(worker.replace(listen_visible=listen_visible, execed=True))
    spec = worker.spec
    if worker.state != w.LAUNCHING:
        return
    if spec.before_start:
        # Those commands have their own timeout.
        worker = _arm(tx, worker)
    if not awaits_readiness(spec) and worker.watchdog > 0:
        watch(tx, worker)
    if spec.listen and shares_port(spec):
        # Its sockets already listen: a program that detects this may never call listen(2).
        for each in spec.listen:
            if not each.optional:
                worker = _probe(tx, worker, each.text, each.text, each.text)
    elif spec.wait_ready:
        return
    elif spec.health is None or shares_port(spec):
        tx.emit(LookAt(worker.incarnation, worker.app))
    else:
        ready(tx, worker, "exec")


def listens(tx: Transaction, worker: Worker, event: ListenSeen) -> None:
    """Handle an address that it was seen to listen on."""
    key = key_of(event.address, event.declared)
    if key not in dict(worker.listening):
        since = (worker.up_at or worker.launched_at) if event.lasting else tx.now
        worker = worker.replace(listening=(*worker.listening, (key, since)))
        if event.passing:
            worker = worker.replace(passing=(*worker.passing, key))
        if event.chosen and not event.declared:
            worker = worker.replace(chosen=(*worker.chosen, key))
        if not worker.listened_at and counts(tx, worker, key):
            worker = worker.replace(listened_at=tx.now)
        worker = tx.put_worker(worker)
    if worker.state == w.LAUNCHING and counts(tx, worker, key):
        _probe(tx, worker, key, event.address, event.declared)


def _probe(tx: Transaction, worker: Worker, key: str, address: str, declared: str) -> Worker:
    if key in worker.probed or (not declared and len(worker.probed) >= PROBES):
        return worker
    instance = tx.instance(worker.app, worker.instance)
    patience = max(SHARED_PATIENCE, 2 * instance.to_accept if instance is not None else 0.0)
    tx.emit(ProbeAccept(worker.incarnation, worker.app, worker.queue, address, declared, patience))
    return tx.put_worker(worker.replace(probed=(*worker.probed, key)))


def probe_failed(tx: Transaction, worker: Worker, event: ProbeFailed) -> None:
    """Retry shortly: the missing resource may be there then."""
    key = key_of(event.address, event.declared)
    if key in worker.probed and key not in worker.accepting:
        probed = tuple(each for each in worker.probed if each != key)
        tx.put_worker(worker.replace(probed=probed))
        tx.emit(StartTimer(_timer("probe", worker), PROBE_AGAIN))


def probe_again(tx: Transaction, worker: Worker) -> None:
    """Repeat the probes that could not be sent."""
    if worker.spec.listen and shares_port(worker.spec):
        for each in worker.spec.listen:
            if not each.optional and each.text not in worker.accepting:
                worker = _probe(tx, worker, each.text, each.text, each.text)
        return
    for key, _ in worker.listening:
        if key not in worker.accepting and counts(tx, worker, key) and key.startswith(":"):
            worker = _probe(tx, worker, key, f"[::]{key}", "")


def _to_accept(worker: Worker) -> float:
    """Seconds from its listen(2) to its first accept; 0: not observed."""
    if not worker.listened_at or not worker.accepted_at:
        return 0.0
    return max(0.0, worker.accepted_at - worker.listened_at)


def min_ready(to_accept: float, spec: AppSpec, *, watching: bool) -> float:
    """Seconds that the first successor has to live before an old worker is stopped.

    `to_accept`: the old worker's time from listen(2) to its first accept. `watching`: a
    developer waits for the file that they just saved.
    """
    if spec.min_ready is not None:
        return spec.min_ready
    return 0.0 if watching else min(30.0, 2 * to_accept)


def accepted(tx: Transaction, worker: Worker, event: AcceptSeen) -> None:
    """Handle an accept: it has taken a connection from the queue of this address."""
    key = key_of(event.address, event.declared)
    if key in worker.accepting:
        return
    worker = worker.replace(accepting=(*worker.accepting, key))
    if not worker.accepted_at and counts(tx, worker, key):
        worker = worker.replace(accepted_at=tx.now)
    worker = tx.put_worker(worker)
    if event.unknown:
        tx.report_of(
            worker,
            "warning",
            "accept not observed",
            address=key,
            reason="other processes accept there too, and this worker's may not be looked into",
            then="count it as accepting",
        )
    look_again(tx, worker)


def look_again(tx: Transaction, worker: Worker) -> None:
    """Check again whether its observed state makes it ready."""
    if worker.state != w.LAUNCHING or _ready_signal_awaited(tx, worker):
        return
    if accepts(tx, worker):
        ready(tx, worker, "accept")
    elif worker.rests and _may_rest(tx, worker) and not has_port(tx, worker):
        ready(tx, worker, "rest")
    elif worker.rests and worker.overdue and only_paths_left(tx, worker):
        ready(tx, worker, "listen")


def only_paths_left(tx: Transaction, worker: Worker) -> bool:
    """Whether only accepts are missing, on unix paths on which it listens.

    All workers share one queue there. A server that takes no connection at first looks like
    a late one; a server that is still loading is not idle.
    """
    left = [key for key in required(tx, worker) if key not in worker.accepting]
    listening = dict(worker.listening)
    paths = bool(left) and all(key.startswith("unix:") and key in listening for key in left)
    return paths and not worker.up_by and not succeeds(tx, worker)


def _may_rest(tx: Transaction, worker: Worker) -> bool:
    """Whether it had enough time to open a port, or the previous worker had none."""
    instance = tx.instance(worker.app, worker.instance)
    return worker.overdue or (instance is not None and instance.portless)


def rested(tx: Transaction, worker: Worker, event: RestSeen) -> None:
    """Handle a change of whether its processes use almost no CPU."""
    if worker.rests != event.rests:
        worker = tx.put_worker(worker.replace(rests=event.rests))
        look_again(tx, worker)


def ready(tx: Transaction, worker: Worker, source: ReadySource) -> None:
    """Mark the worker as ready. `source`: notify | node | accept | listen | health | rest | exec.

    If the file configures checks, any other source only makes it up; the first check that
    succeeds makes it ready.
    """
    app_state = tx.the_app(worker.app)
    if worker.reloading and source == "notify":
        worker = tx.put_worker(worker.replace(reloading=False))
    if source in WORDS and not app_state.says_ready:
        app_state = tx.put_app(app_state.replace(says_ready=True))
    if worker.spec.health is not None and source != "health" and not _is_well(worker):
        health.begin(tx, worker, source)
        return
    if worker.state != w.LAUNCHING or (source == "health" and _is_deaf(tx, worker)):
        return
    took = tx.now - worker.launched_at
    again = worker.up_at > 0
    worker = tx.put_worker(
        worker.after(w.READY).replace(failures=0, overdue=False, up_at=worker.up_at or tx.now)
    )
    tx.emit(StopTimer(_timer("launch", worker)), StopLook(worker.incarnation))
    watch(tx, worker)
    where = _where(tx, worker) if "accept" in (source, worker.up_by) else {}
    tx.report_of(worker, "info", "worker ready", by=source, **where, after=round(took, 3))
    if again:
        return
    seen = source not in ("rest", "listen")
    if seen:
        tx.count("ready", worker.app, seconds=took)
    if source == "accept":
        took = worker.accepted_at - worker.launched_at
    booted = took - (worker.boots_since - worker.launched_at)
    _remember(tx, worker, booted, seen=seen)
    instance = tx.instance(worker.app, worker.instance)
    if instance is not None and instance.portless != (source == "rest"):
        tx.put_instance(instance.replace(portless=source == "rest"))
    app_state = tx.the_app(worker.app)
    if where and not worker.spec.listen and not app_state.advised:
        app_state = tx.put_app(app_state.replace(advised=True))
        tx.report(
            "info",
            "readiness port assumed",
            app=app_state.name,
            **where,
            advice="declare the app's addresses with `listen`: then no other port counts",
        )
    if source == "listen":
        tx.report_of(worker, "warning", "worker accepts nothing", ready="its processes rest")
    if source == "rest":
        tx.report_of(
            worker,
            "info",
            "worker has no port",
            ready="its processes rest" if worker.rests else "it runs",
            **_passed_over(worker),
        )
    if app_state.ready >= app_state.wanted and not app_state.was_ready:
        tx.put_app(app_state.replace(was_ready=True))
        tx.report("info", "app ready", app=app_state.name, workers=app_state.ready)


def _passed_over(worker: Worker) -> dict[str, object]:
    """Ports on which it listens and that do not count."""
    ports = [key for key, _ in worker.listening if key.startswith(":")]
    return {"not_counted": ", ".join(ports)} if ports else {}


def _is_deaf(tx: Transaction, worker: Worker) -> bool:
    """Whether it has closed the sockets that it listened on."""
    return bool(worker.up_at) and has_port(tx, worker) and not _listens(tx, worker)


def _listens(tx: Transaction, worker: Worker) -> bool:
    """Whether it listens wherever it has to, as far as that was observed."""
    seen = {*worker.accepting, *dict(worker.listening)}
    needed = required(tx, worker)
    if needed:
        return has_all(tx, worker, needed, seen)
    return any(counts(tx, worker, key) for key in seen)


def _is_well(worker: Worker) -> bool:
    """Whether it was ready before and its checks succeed."""
    return worker.up_at > 0 and worker.healthy and not worker.check_reason


def _where(tx: Transaction, worker: Worker) -> dict[str, object]:
    seen = [key for key in worker.accepting if counts(tx, worker, key)]
    return {"address": ", ".join(seen)} if seen else {}


def _remember(tx: Transaction, worker: Worker, took: float, *, seen: bool) -> None:
    """Remember what later starts of the app are compared with."""
    app_state = tx.the_app(worker.app)
    if seen:
        tx.put_app(app_state.replace(said_ready=True, slowest=max(app_state.slowest, took)))
    instance = tx.instance(worker.app, worker.instance)
    if instance is not None and not instance.proven:
        tx.put_instance(instance.replace(proven=True))


def recall(tx: Transaction, instance: Instance, worker: Worker | None) -> Instance:
    """The instance, with this worker's addresses recorded: its successor has to serve them too."""
    if worker is None or not worker.up_at:
        return instance
    served = served_by(worker, tx.now) if worker.accepted_at else instance.served
    return instance.replace(served=served, to_accept=_to_accept(worker))


def succeeds(tx: Transaction, worker: Worker) -> bool:
    """Whether it is the successor in a reload, not yet the current worker of its instance."""
    instance = tx.instance(worker.app, worker.instance)
    return instance is not None and instance.successor == worker.incarnation


# -- the listener is gone ---------------------------------------------------------------


def closed(tx: Transaction, worker: Worker, event: ListenEnded) -> None:
    """Route clients away from a worker that no longer listens there, until it does again."""
    key = key_of(event.address, event.declared)
    known = key in dict(worker.listening) or key in worker.accepting
    counted = known and counts(tx, worker, key)
    worker = tx.put_worker(
        worker.replace(
            listening=tuple(each for each in worker.listening if each[0] != key),
            accepting=tuple(each for each in worker.accepting if each != key),
            probed=tuple(each for each in worker.probed if each != key),
        )
    )
    if worker.state != w.ONLINE or not counted or _listens(tx, worker):
        return
    tx.report_of(worker, "warning", "listener closed", address=key, then="wait for it to listen")
    tx.emit(StopTimer(_timer("watchdog", worker)))
    # Its timer is over: only its health checks limit how long it stays away.
    tx.put_worker(worker.after(w.CLOSE).replace(overdue=True, failures=0, due=0.0))
    route(tx, worker.app)


def _timer(kind: WorkerTimer, worker: Worker) -> Timer:
    return Timer(kind, worker.app, worker.incarnation)
