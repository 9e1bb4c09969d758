"""Fit the times of a shutdown into the grace period of the orchestrator.

The kubelet and Docker send SIGKILL to everything when the grace period ends, even if pyinit
still has log lines to write. So one second of it is reserved for them, the drain gets at most half
of the rest, and stopping the workers gets the remainder.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .spec import ShutdownSpec
    from .transaction import Transaction
    from .worker import Worker

# Reserved at the end of `shutdown.timeout`: after SIGKILL the processes are reaped and the
# last log lines are written, all within the time (s, share of the time).
SPARE = 0.5
SPARE_SHARE = 0.1

# Reserved of the grace for the same, and for an orchestrator whose clock started earlier.
KEPT = 1.0
KEPT_SHARE = 0.25


def killing_after(timeout: float) -> float:
    """Seconds of `shutdown.timeout` after which the remaining processes are killed."""
    return timeout - min(SPARE, timeout * SPARE_SHARE)


def usable(grace: float) -> float:
    """Seconds of the grace period in which the apps have to end."""
    return grace - min(KEPT, grace * KEPT_SHARE)


def fitted(shutdown: ShutdownSpec, longest: float) -> ShutdownSpec:
    """The spec with times that fit into `grace`, if that is known.

    `longest`: seconds that stopping all workers may take by the file (`kill_timeout`,
    added up along a chain of dependencies).
    """
    if shutdown.grace <= 0:
        return shutdown
    within = usable(shutdown.grace)
    # The timeout whose SIGKILL comes at that moment.
    timeout = min(within + SPARE, within / (1 - SPARE_SHARE))
    if 0 < shutdown.timeout < timeout:
        timeout = shutdown.timeout
        within = killing_after(timeout)
    drain, share = shutdown.drain_delay, 1.0
    if drain + longest > within:
        drain = min(drain, within / 2)
        share = min(1.0, (within - drain) / longest) if longest > 0 else 1.0
    return shutdown.replace(timeout=timeout, drain_delay=drain, stop_share=share)


def stop_share(tx: Transaction) -> float:
    """The factor applied to the workers' stop times."""
    return tx.run.shutdown.stop_share if tx.run.phase == "stopping" else 1.0


def kill_timeout(tx: Transaction, worker: Worker) -> float:
    """Seconds from the stop signal to SIGKILL; fewer if a shutdown has less time."""
    return worker.spec.kill_timeout * stop_share(tx)
