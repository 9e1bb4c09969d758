"""Events: what happened. Frozen values in the past tense, the core's only input.

An event about one process names its *incarnation*, a number that is never reused.
Pids are reused and timers may fire late; an event of an incarnation that is gone is
dropped in one place (`Supervisor.handle`).
"""

from __future__ import annotations

from .record import Record
from .spec import Plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .types import PortOrder, Said, TimerKind


class Timer(Record):
    """The name of a timer. `incarnation` 0: it belongs to the app or to the run."""

    kind: TimerKind
    app: str = ""
    incarnation: int = 0


class Event(Record):
    """Base of all events."""


class Booted(Event):
    """The file was read, and every declared address is bound."""

    plan: Plan


class PlanAccepted(Event):
    """The file was read again and its new addresses are bound."""

    plan: Plan


class CpusChanged(Event):
    """The number of CPUs that the container may use has changed."""

    cpus: int


class PlanRejected(Event):
    """The file was read again and is invalid; none of it is applied."""

    reason: str


class SignalArrived(Event):
    """pyinit received `signum` (`signal(7)`), whose name is `name`.

    `terminal_gone`: the terminal that it was started on is closed (tty_ioctl(4)).
    `resized`: a SIGWINCH that may come from a terminal: pyinit has one or is not PID 1.
    """

    signum: int
    terminal_gone: bool = False
    resized: bool = False
    name: str = ""


class WorkerSpawned(Event):
    """fork(2) succeeded. `observed`: listen(2) of the worker will be reported."""

    incarnation: int
    pid: int
    listen_visible: bool = False


class SpawnFailed(Event):
    """fork(2) failed, so there is no process. `reason` is for people."""

    incarnation: int
    reason: str


class WorkerExeced(Event):
    """execve(2) succeeded. `observed`: listen(2) of the worker will be reported."""

    incarnation: int
    listen_visible: bool = False


class WorkerReady(Event):
    """The worker reported that it is ready. `source`: `notify` (sd_notify(3)), `node`."""

    incarnation: int
    source: Said


class ListenSeen(Event):
    """The worker was seen to listen on `address`. May be repeated.

    `declared`: the matching address of the file (`ListenSpec.text`), "" for none.
    `passing`: the kernel may have chosen the port, so the next release may have another one.
    `chosen`: it did, or it may have and only this host can connect: no client knows the port.
    `lasting`: the worker may have listened there for a long time.
    """

    incarnation: int
    address: str
    declared: str = ""
    passing: bool = False
    lasting: bool = False
    chosen: bool = False


class AcceptSeen(Event):
    """The worker accepted a connection to this address, from `ProbeAccept` or from a client.

    `unknown`: another process may have accepted it, and pyinit may not inspect the worker.
    """

    incarnation: int
    address: str
    declared: str = ""
    unknown: bool = False


class AcceptStalled(Event):
    """Connections wait on a slot of the app, and none was accepted there since `since`.

    `waiting`: how many, on `address`; `declared` as in `ListenSeen`. May be repeated.
    """

    app: str
    slot: int
    address: str
    declared: str
    since: float
    waiting: int


class ProbeFailed(Event):
    """pyinit could not connect to test whether the worker accepts (`ProbeAccept`)."""

    incarnation: int
    address: str
    declared: str = ""


class ListenEnded(Event):
    """No process of the worker holds the listening socket of this address any more."""

    incarnation: int
    address: str
    declared: str = ""


class RestSeen(Event):
    """Whether the worker's processes have used almost no CPU for `REST` s (`LookAt`)."""

    incarnation: int
    rests: bool


class WorkerExited(Event):
    """The worker was reaped. `code` or `signum` by wait(2); `failure`: why it never ran.

    With both `failure` and `signum` it was killed before its exec.

    `group_left`: other processes of its process group, or others that its stop ends, are alive.
    `strays`: nothing had stopped it, and descendants outside of its group are alive.
    `cleaning`: its `after_stop` commands have started; `GroupEmptied` follows their end.
    """

    incarnation: int
    code: int | None = None
    signum: int | None = None
    failure: str = ""
    group_left: bool = False
    strays: bool = False
    core_dumped: bool = False
    cleaning: bool = False


class WorkerUnfit(Event):
    """The worker cannot serve as it was started; the next start uses another method."""

    incarnation: int
    reason: str


class GroupEmptied(Event):
    """The last process that had to end with an ended worker is gone."""

    incarnation: int


class QueueUnwatched(Event):
    """`WatchQueue` has failed: whether that queue is empty cannot be known."""

    incarnation: int
    reason: str


class MessageNotSent(Event):
    """`SendShutdownMessage` has failed."""

    incarnation: int
    reason: str


class PortFailed(Event):
    """An operation on the app's port has failed.

    `order`: `grow`, `steer`, `trim`, `refuse`, `pause`, `resume`, `relay`,
    `free slot`, `close`.
    """

    app: str
    order: PortOrder
    reason: str


class SignalRefused(Event):
    """A stop signal did not reach the worker, or some of the processes that end with it.

    `reason` is for people: the worker runs as another user, or is not a process of pyinit.
    """

    incarnation: int
    signum: int
    reason: str


class RemainingEnded(Event):
    """No process remains below pyinit except those that nothing can end (`StopRemaining`)."""


class QueueEmptied(Event):
    """The accept queue of this worker's slot is empty (answers `WatchQueue`)."""

    incarnation: int


class NotifyReceived(Event):
    """A message of the worker by sd_notify(3), other than READY=1. Times are seconds.

    `watchdog`: `1`, `trigger` or ""; `extend`: EXTEND_TIMEOUT_USEC; `notes`: details for the
    report of its end (`errno`, `bus_error`, `exit_status`).
    """

    incarnation: int
    status: str | None = None
    stopping: bool = False
    reloading: bool = False
    watchdog: str = ""
    watchdog_interval: float | None = None
    extend: float = 0.0
    notes: tuple[tuple[str, object], ...] = ()


class HealthChecked(Event):
    """The result of `StartCheck`. `reason`: why it failed, for people; "": it succeeded.

    `said`: the last output of a command, only for the log.
    """

    incarnation: int
    check: int
    reason: str = ""
    said: str = ""


class TimerFired(Event):
    """A timer set by `StartTimer` has fired."""

    timer: Timer


class ScheduleDue(Event):
    """A time of the app's `cron_restart` was reached."""

    app: str


class RunRequested(Event):
    """A request to run the app once now; `overlap` decides what happens to a present run."""

    app: str


class RenewRequested(Event):
    """The app's files changed, so its workers have to be replaced.

    By a rolling reload if two workers can run side by side, else by a restart.
    """

    app: str
    reason: str


class MemoryExceeded(Event):
    """The worker and its descendants use more than `max_memory_restart` (bytes).

    `limit`: its value at this moment. `urgent`: the container is nearly full, and the kernel
    would soon kill a process.
    """

    incarnation: int
    rss: int
    limit: int = 0
    urgent: bool = False


class ReloadRequested(Event):
    """Reload `app` (empty: all) or only these instances, rolling."""

    app: str = ""
    reason: str = "asked"
    instances: tuple[int, ...] = ()


class RestartRequested(Event):
    """Stop and start all workers of `app` (empty: all), all at once.

    Or only of these instances: then stopped ones stay stopped.
    """

    app: str = ""
    reason: str = "asked"
    instances: tuple[int, ...] = ()


class StopRequested(Event):
    """Stop the workers of `app` (empty: all) and leave them stopped."""

    app: str = ""


class StartRequested(Event):
    """Start what is stopped or errored of `app` (empty: all)."""

    app: str = ""


class ScaleRequested(Event):
    """Run `instances` workers of `app` from now on."""

    app: str
    instances: int


class SignalRequested(Event):
    """Send `signum` to every worker of `app` (empty: all), or of these instances of it."""

    signum: int
    app: str = ""
    instances: tuple[int, ...] = ()
