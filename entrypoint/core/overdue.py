"""What follows when `listen_timeout` is over: wait, require less, or give up on the worker.

A worker that pyinit waits for stays *launching* and becomes ready when it is seen to be.
"""

from __future__ import annotations

from . import health
from . import worker as w
from .addresses import accepts, counts, has_port, required, sibling_serves
from .effects import LookAt
from .lifecycle import arm, stop_worker
from .readiness import (
    PATH_REST,
    REST_AT_MOST,
    is_silent,
    launch_bound,
    look_again,
    only_paths_left,
    ready,
    succeeds,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .transaction import Transaction
    from .types import OverdueRule
    from .worker import Worker


def overdue(tx: Transaction, worker: Worker) -> None:
    """Handle a launch that has taken its full time."""
    portless = not has_port(tx, worker) and not worker.up_by
    silent = is_silent(tx, worker)
    if portless and (silent or not worker.spec.wait_ready):
        instance = tx.instance(worker.app, worker.instance)
        if worker.overdue or (instance is not None and instance.portless):
            # pyinit waited until it was idle, or it did so for the previous worker.
            ready(tx, worker, "rest")
            checked = tx.worker(worker.incarnation)
            if checked is not None and checked.state == w.LAUNCHING:
                # It is up and its checks begin, which get the same time.
                arm(tx, checked, "launch", health.launch_bound(worker.spec))
        else:
            _await_rest(tx, worker)
    elif silent and not worker.overdue:
        _go_without_ready_signal(tx, worker)
    else:
        _decide(tx, worker)


def _await_rest(tx: Transaction, worker: Worker) -> None:
    """Wait until it is idle: it has no port so far, and none is expected."""
    if worker.spec.wait_ready or sibling_serves(tx, worker):
        _report_late(tx, worker, "wait until its processes rest")
    if worker.spec.wait_ready:
        tx.emit(LookAt(worker.incarnation, worker.app))
    worker = tx.put_worker(worker.replace(overdue=True, failures=0))
    worker = arm(tx, worker, "launch", REST_AT_MOST)
    look_again(tx, worker)


def _go_without_ready_signal(tx: Transaction, worker: Worker) -> None:
    """Stop requiring READY, which no worker ever sent: from now on other signs count."""
    late = tx.put_worker(worker.replace(overdue=True, failures=0))
    if accepts(tx, late):
        _report_late(tx, worker, "count what it accepts")
        look_again(tx, late)
        return
    if not worker.spec.listen:
        tx.emit(LookAt(worker.incarnation, worker.app))
    left = worker.boots_since + launch_bound(tx, worker) - tx.now
    if left > 0:
        arm(tx, late, "launch", left)
    else:
        _decide(tx, late)


def _decide(tx: Transaction, worker: Worker) -> None:
    """Wait for it without a limit, or give up on it."""
    instance = tx.instance(worker.app, worker.instance)
    less = instance is not None and instance.served and worker.accepting and not worker.spec.listen
    if less and instance is not None and not succeeds(tx, worker):
        # Its release may serve fewer addresses than the previous one, and no other worker runs.
        tx.put_instance(instance.replace(served=()))
        look_again(tx, tx.put_worker(worker.replace(overdue=True, failures=0)))
        if not _is_launching(tx, worker):
            return
    if not worker.overdue and only_paths_left(tx, worker):
        _report_late(tx, worker, "wait until it accepts, or its processes rest")
        tx.emit(LookAt(worker.incarnation, worker.app))
        late = tx.put_worker(worker.replace(overdue=True, failures=0))
        arm(tx, late, "launch", PATH_REST)
        return
    if _rule(tx, worker) == "wait":
        _report_late(tx, worker, "wait for it")
        tx.put_worker(worker.replace(overdue=True, failures=0, due=0.0))
    else:
        reason = shortfall(tx, worker)
        _report_late(tx, worker, "give up on this worker")
        stop_worker(tx, worker, "failed start", requested_by=reason)


def _is_launching(tx: Transaction, worker: Worker) -> bool:
    now = tx.worker(worker.incarnation)
    return now is not None and now.state == w.LAUNCHING


def _report_late(tx: Transaction, worker: Worker, then: str) -> None:
    tx.report_of(
        worker,
        "warning",
        "worker not ready in time",
        listen_timeout=health.launch_bound(worker.spec),
        reason=shortfall(tx, worker),
        then=then,
    )


def _rule(tx: Transaction, worker: Worker) -> OverdueRule:
    """Whether pyinit keeps waiting for a worker that is late."""
    rule = worker.spec.on_listen_timeout
    if rule == "abort" or succeeds(tx, worker):
        # A timeout alone ends no old worker, so a successor that is not ready is useless.
        return "abort"
    instance = tx.instance(worker.app, worker.instance)
    first = instance is None or not instance.proven
    if rule == "force" or first:
        # How long a first start takes is unknown.
        return "wait"
    return "abort"


def shortfall(tx: Transaction, worker: Worker) -> str:
    """What is missing for readiness, and after how long: for people."""
    timeout, took = health.launch_bound(worker.spec), tx.now - worker.boots_since
    after = f"after listen_timeout {timeout:g} s"
    if launch_bound(tx, worker) > timeout and took > 1.01 * timeout + 0.1:
        slow = "three times the slowest start of the app"
        after = f"after {took:.1f} s: {slow}, more than listen_timeout {timeout:g} s"
    return f"{_lack(tx, worker)} {after}"


def _lack(tx: Transaction, worker: Worker) -> str:
    if worker.up_by:
        why = f": {worker.check_reason}" if worker.check_reason else ""
        return f"health check not passed{why}"
    listening = dict(worker.listening)
    missing = [key for key in required(tx, worker) if key not in worker.accepting]
    deaf = [key for key in missing if key in listening]
    if deaf:
        return f"accepts no connection on {', '.join(deaf)}"
    if missing:
        return f"not listening on {', '.join(missing)}"
    if worker.spec.wait_ready:
        return "no READY"
    silent = [key for key in listening if counts(tx, worker, key)]
    if silent:
        return f"accepts no connection on {', '.join(silent)}"
    return "not listening"
