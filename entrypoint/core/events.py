"""What happened: frozen facts in the past tense, the only input of the core.

Whatever concerns one process names its *incarnation*, a number that is never used
twice. Pids come again and timers come late; what names an incarnation that is gone is
dropped in one place (`Supervisor.handle`).
"""

from __future__ import annotations

from .record import Record
from .spec import Plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .types import PortOrder, Said, TimerKind


class Timer(Record):
    """The name of a deadline. `incarnation` 0: it belongs to the app or to the run."""

    kind: TimerKind
    app: str = ""
    incarnation: int = 0


class Event(Record):
    """Base of all events."""


class Booted(Event):
    """The file was read and every declared address is bound."""

    plan: Plan


class PlanAccepted(Event):
    """The file was read again and its new addresses are bound."""

    plan: Plan


class CpusChanged(Event):
    """The container may use so many CPUs from now on."""

    cpus: int


class PlanRejected(Event):
    """The file was read again and is wrong; nothing of it counts."""

    reason: str


class SignalArrived(Event):
    """pyinit received `signum` (`signal(7)`), whose name is `name`.

    `terminal_gone`: the terminal that it was started on is closed (tty_ioctl(4)).
    `resized`: a SIGWINCH that may come from a terminal: pyinit has one, or is not PID 1.
    """

    signum: int
    terminal_gone: bool = False
    resized: bool = False
    name: str = ""


class WorkerSpawned(Event):
    """fork(2) succeeded. `observed`: its listen(2) will be reported."""

    incarnation: int
    pid: int
    listen_visible: bool = False


class SpawnFailed(Event):
    """There is no process: fork(2) failed. `reason` is for people."""

    incarnation: int
    reason: str


class WorkerExeced(Event):
    """execve(2) succeeded. `observed`: its listen(2) will be reported."""

    incarnation: int
    listen_visible: bool = False


class WorkerReady(Event):
    """The worker said so. `source`: `notify` (sd_notify(3)), `node`."""

    incarnation: int
    source: Said


class ListenSeen(Event):
    """The worker was seen to listen on `address`; it may come again.

    `declared`: the address of the file that this is (`ListenSpec.text`), "" for none.
    `passing`: the kernel may have chosen the port, and the next release another one.
    `chosen`: it has, or it may have and only this host comes there: no client knows the port.
    `lasting`: it may have listened there for long.
    """

    incarnation: int
    address: str
    declared: str = ""
    passing: bool = False
    lasting: bool = False
    chosen: bool = False


class AcceptSeen(Event):
    """A connection to this address was accepted by the worker (`ProbeAccept`, or a client's).

    `unknown`: others may have accepted it, and the worker may not be looked into.
    """

    incarnation: int
    address: str
    declared: str = ""
    unknown: bool = False


class AcceptStalled(Event):
    """Connections wait on a slot of the app, and none was accepted there since `since`.

    `waiting` of them, on `address`; `declared` as in `ListenSeen`. It may come again.
    """

    app: str
    slot: int
    address: str
    declared: str
    since: float
    waiting: int


class ProbeFailed(Event):
    """No connection could be made to see whether the worker accepts (`ProbeAccept`)."""

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

    With `failure` and `signum` it was killed before its exec.

    `group_left`: other processes of its process group, or that its stop has to end, live.
    `strays`: nothing had stopped it, and descendants outside of its group live.
    `cleaning`: the commands of its `after_stop` have begun; `GroupEmptied` follows their end.
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
    """It cannot serve as it was started; started again, it is started in another way."""

    incarnation: int
    reason: str


class GroupEmptied(Event):
    """The last process of those that end with a worker which had ended is gone."""

    incarnation: int


class QueueUnwatched(Event):
    """Whether that queue is empty cannot be known: `WatchQueue` has failed."""

    incarnation: int
    reason: str


class MessageNotSent(Event):
    """`SendShutdownMessage` has failed."""

    incarnation: int
    reason: str


class PortFailed(Event):
    """An order about the app's port has failed.

    `order`: `grow`, `steer`, `trim`, `refuse`, `pause`, `resume`, `relay`,
    `free slot`, `close`.
    """

    app: str
    order: PortOrder
    reason: str


class SignalRefused(Event):
    """A stop signal did not reach the worker, or some of what ends with it.

    `reason` is for people: the worker runs as another user, or is no process of ours.
    """

    incarnation: int
    signum: int
    reason: str


class RemainingEnded(Event):
    """No process is left below pyinit but those that nothing ends (`StopRemaining`)."""


class QueueEmptied(Event):
    """The accept queue of this worker's slot is empty (answers `WatchQueue`)."""

    incarnation: int


class NotifyReceived(Event):
    """What it said of itself by sd_notify(3), beside READY=1. Times are seconds.

    `watchdog`: `1`, `trigger` or ""; `extend`: EXTEND_TIMEOUT_USEC; `notes`: what the report
    of its end is to tell (`errno`, `bus_error`, `exit_status`).
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
    """The answer to `StartCheck`. `reason`: why it failed, for people; "": it succeeded.

    `said`: the last words of a command, for the log alone.
    """

    incarnation: int
    check: int
    reason: str = ""
    said: str = ""


class TimerFired(Event):
    """A deadline set by `StartTimer` has come."""

    timer: Timer


class ScheduleDue(Event):
    """A time of the app's `cron_restart` has come."""

    app: str


class RunRequested(Event):
    """Run the app once now; what goes on already follows its `overlap`."""

    app: str


class RenewRequested(Event):
    """The app's workers are to be replaced: its files changed.

    A rolling reload where two workers can live side by side, else a restart.
    """

    app: str
    reason: str


class MemoryExceeded(Event):
    """The worker and its descendants hold more than `max_memory_restart` (bytes).

    `limit`: what that was at this moment. `urgent`: the container is nearly full, and the kernel
    would kill somebody soon.
    """

    incarnation: int
    rss: int
    limit: int = 0
    urgent: bool = False


class ReloadRequested(Event):
    """A rolling reload of `app` (empty: all), or of these instances of it."""

    app: str = ""
    reason: str = "asked"
    instances: tuple[int, ...] = ()


class RestartRequested(Event):
    """Stop and start again, all workers at once, of `app` (empty: all).

    Or only these instances of it: then what was stopped stays so.
    """

    app: str = ""
    reason: str = "asked"
    instances: tuple[int, ...] = ()


class StopRequested(Event):
    """Stop the workers of `app` (empty: all) and leave them stopped."""

    app: str = ""


class StartRequested(Event):
    """Start what was stopped or errored of `app` (empty: all)."""

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
