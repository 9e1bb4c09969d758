"""Apps that are failing when a stop is requested: the container ends with their exit code.

Kubernetes shows a container that ends with 0 as `Completed`, even if its worker crashed
repeatedly until the startup probe gave up and the kubelet sent SIGTERM.
"""

from __future__ import annotations

from . import worker as w
from .jobs import is_job
from .restarts import LOOP_LIFE, unstable_window

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .transaction import Transaction
    from .worker import AppState, Instance

# The exit code for a failure that has none except 0.
ELSE = 1


def first_failing(tx: Transaction) -> tuple[str, int]:
    """The first app that does not serve after an unstable exit, and the code of that exit.

    ("", 0) if none is failing. A slow first start without any exit is not a failure.
    """
    for app_state in tx.apps():
        if app_state.mode != "running" or is_job(app_state.spec) or _serves(app_state):
            continue
        for instance in tx.instances(app_state.name):
            if _fails(tx, instance):
                return app_state.name, instance.last_code or ELSE
    return "", 0


def _serves(app_state: AppState) -> bool:
    """As `/readyz` decides by default: all workers were ready once, and one is now."""
    return app_state.was_ready and app_state.ready > 0


def _fails(tx: Transaction, instance: Instance) -> bool:
    if instance.state == w.ERRORED:
        return True
    if instance.state not in (w.RUNNING, w.WAITING_RESTART):
        return False
    worker = tx.worker(instance.current)
    if worker is not None and worker.ready:
        return False
    window = unstable_window(instance.spec)
    if any(tx.now - ended < window for ended in instance.unstable):
        return True
    # Consecutive crashes, each after a short life (restarts.py).
    return bool(instance.loop) and (worker is None or tx.now - worker.launched_at < LOOP_LIFE)
