"""Apps that fail when a stop comes: the container ends with the code of what failed.

Kubernetes shows a container that ends with 0 as `Completed`, also one whose worker crashes
again and again until the startup probe gives up and the kubelet sends SIGTERM.
"""

from __future__ import annotations

from . import worker as w
from .jobs import is_job
from .restarts import LOOP_LIFE, unstable_window

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .transaction import Transaction
    from .worker import AppState, Instance

# Of a failure that has no exit code other than 0.
ELSE = 1


def first_failing(tx: Transaction) -> tuple[str, int]:
    """The first app that does not serve after an unstable exit, and that exit's code.

    ("", 0) when none fails. A slow first start, without any exit, is no failure.
    """
    for app_state in tx.apps():
        if app_state.mode != "running" or is_job(app_state.spec) or _serves(app_state):
            continue
        for instance in tx.instances(app_state.name):
            if _fails(tx, instance):
                return app_state.name, instance.last_code or ELSE
    return "", 0


def _serves(app_state: AppState) -> bool:
    """As `/readyz` says it by default: all were ready once, and one is."""
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
    # Crashes that follow one another, each after a short life (restarts.py).
    return bool(instance.loop) and (worker is None or tx.now - worker.launched_at < LOOP_LIFE)
