"""Why one worker replaces another, as a label for metrics.

Events give the reason in words for people, of which there may be many; a label has few
values, all known in advance.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .worker import Instance, Worker

# As an exit code: fork(2) or execve(2) failed.
NEVER_RAN = 127

CRASH = "crash"  # it ended by itself, with an exit code other than 0 or by a signal
EXIT = "exit"  # it ended by itself, with exit code 0
FAILED_START = "failed_start"  # it could not be started, or was not ready in time
HEALTH = "health"  # its active checks failed
WATCHDOG = "watchdog"  # it missed its sign of life
STALLED = "stalled"  # connections waited for it, and it accepted none
ASKED = "asked"  # by a command or SIGHUP

_SAID = {
    "config changed": "config",
    "cron_restart": "cron",
    "files changed": "watch",
    HEALTH: HEALTH,
    STALLED: STALLED,
    "max_memory_restart": "memory",
}

RESTARTS = (
    *(ASKED, "config", CRASH, "cron", EXIT, FAILED_START, HEALTH, "memory", STALLED, "watch"),
    WATCHDOG,
)


def label(said: str) -> str:
    """The label for the reason in an event."""
    return _SAID.get(said, ASKED)


def of_end(worker: Worker, instance: Instance) -> str:
    """The label for the end of a worker that was not stopped."""
    if worker.stop_reason == "failed start":
        return FAILED_START
    if worker.stop_reason in (HEALTH, WATCHDOG, STALLED):
        return worker.stop_reason
    if worker.exit_code is None:
        return FAILED_START if instance.last_code == NEVER_RAN else CRASH
    return CRASH if worker.exit_code else EXIT


def of_repair(worker: Worker) -> str:
    """The label for a worker whose successor became ready while it was alive."""
    if worker.requested_by:
        return label(worker.requested_by)
    return HEALTH if worker.sick else EXIT
