"""Effects: what the shell has to do. Frozen values in the imperative, the core's only output.

The shell performs them in order. None of them returns a value: the result of an effect
comes back as an event.
"""

from __future__ import annotations

from .events import Timer
from .record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .spec import AppSpec
    from .types import Scope


class Effect(Record):
    """Base of all effects."""


class Spawn(Effect):
    """Fork and exec one worker of `spec` on `slot`.

    Answered by `WorkerSpawned` or `SpawnFailed`, then `WorkerExeced` or `WorkerExited`.
    """

    incarnation: int
    spec: AppSpec
    instance: int
    slot: int
    # PM2's `pm_id`, and the number of restarts of this instance.
    id: int = -1
    restarts: int = 0
    # The accept queue that it shares with siblings of its release; -1: the queue of its slot.
    shared_queue: int = -1

    @property
    def queue(self) -> int:
        """The number of the sockets that it accepts on."""
        return self.slot if self.shared_queue < 0 else self.shared_queue


class SendSignal(Effect):
    """kill(2) to the worker.

    `stop`: the signal is meant to end the worker, whatever its number. By `scope` it then goes to
    the `process`, to its `group`, to its `tree` (the group and all descendants), or to `all`,
    which includes processes that were reparented earlier.

    `leaves`: a user sends a signal that ends most programs; nothing follows if it does not.
    """

    incarnation: int
    signum: int
    scope: Scope = "process"
    stop: bool = False
    leaves: bool = False


class SendShutdownMessage(Effect):
    """PM2's `shutdown_with_message`: `process.send('shutdown')` over Node's channel.

    Other processes within `scope` get their signal after the worker has ended.
    """

    incarnation: int
    scope: Scope = "process"


class AnnounceDrain(Effect):
    """Tell a worker that the drain has begun (`shutdown.notify`).

    Send `signum` to those of its processes that handle it; for `spec.MESSAGE` send the
    message `drain` over Node's channel. There is no answer.
    """

    incarnation: int
    signum: int


class StartTimer(Effect):
    """Answer with `TimerFired` after `delay` seconds; replaces a timer of the same name."""

    timer: Timer
    delay: float


class StopTimer(Effect):
    """Cancel that timer; a no-op if it is unknown."""

    timer: Timer


class GrowPort(Effect):
    """Make sure that each shared address of the app has at least `slots` slots."""

    app: str
    slots: int


class TrimPort(Effect):
    """No worker of an earlier revision remains: close what the file no longer declares."""

    app: str


class RouteTo(Effect):
    """Route new connections of the app to these slots only.

    A queue shared by several workers is listed once for each of them.
    """

    app: str
    slots: tuple[int, ...]


class WatchQueue(Effect):
    """Answer with `QueueEmptied` once the queue of `slot` is empty and all requests are answered.

    `answer_time`: seconds for which the queue has to be empty, not counting the time in which the
    worker waited for a CPU. With `quiet_time` above 0 the shell checks whether the worker has a
    request in hand; a connection of unknown state then counts for that long, and a request
    older than `longest` no longer counts. If nothing can be known, `quiet_time` replaces
    `answer_time`; `hurried`: there is no answer time, and a queue that nothing leaves counts
    for `quiet_time`. `closed`: all of the worker's connections have to be closed.
    """

    incarnation: int
    app: str
    slot: int
    answer_time: float = 0.0
    quiet_time: float = 0.0
    longest: float = 0.0
    hurried: bool = False
    closed: bool = False
    # Siblings take connections from that queue too: new ones are kept away from it meanwhile,
    # until the worker has ended or has closed its socket.
    shared: bool = False


class ProbeAccept(Effect):
    """Connect to `address` of this worker; answer with `AcceptSeen` once the worker has accepted.

    Repeats until the worker accepts or is gone. `declared` as in `ListenSeen`. If siblings share
    the socket and keep accepting, a worker that holds the socket for `patience` s counts.
    """

    incarnation: int
    app: str
    slot: int
    address: str
    declared: str
    patience: float


class LookAt(Effect):
    """Report which addresses the worker's processes listen on, and whether they are idle.

    Answered by `ListenSeen`, `ListenEnded` and `RestSeen` for each change, until `StopLook`
    or the worker's end; with `once`, by the present state only.
    """

    incarnation: int
    app: str
    once: bool = False


class StopLook(Effect):
    """Stop looking at the worker; a no-op if no look is under way."""

    incarnation: int


class ReleaseSlot(Effect):
    """No worker will accept on this slot until a worker is spawned on it."""

    app: str
    slot: int


class StartCheck(Effect):
    """Run the check that the file configures (`AppSpec.health`) on this worker.

    Answered by `HealthChecked` with the same number, unless `StopCheck` comes before.
    """

    incarnation: int
    check: int


class StopCheck(Effect):
    """Cancel the check of this worker that is under way."""

    incarnation: int


class RefuseConnections(Effect):
    """Stop taking new connections of the app; connections already queued are still accepted."""

    app: str


class RelayQueue(Effect):
    """Relay the connections that wait on this slot, whose worker is not there, to other workers.

    Only if a worker then still sees the client's address, or if the file allows more
    (`AppSpec.relay`). `stalled`: the worker is there and accepts nothing.
    """

    app: str
    slot: int
    stalled: bool = False


class PausePort(Effect):
    """No worker remains or will be started: refuse connections, keep the addresses."""

    app: str


class ResumePort(Effect):
    """Take connections again, after `RefuseConnections` or `PausePort`."""

    app: str


class ClosePort(Effect):
    """Close the app's listeners: new connections are refused."""

    app: str


class ReadPlan(Effect):
    """Read the file again. Answered by `PlanAccepted` or `PlanRejected`."""


class ReleaseWorker(Effect):
    """The worker is gone for good: release its resources."""

    incarnation: int


class Report(Effect):
    """One event of pyinit's own log."""

    level: str  # debug | info | warning | error
    event: str
    fields: tuple[tuple[str, object], ...] = ()


class ReportOutcome(Effect):
    """The result of a user's request, as data for the clients that wait for it.

    `what`: `reload` or `run`; `result`: `started`, `finished` or `aborted`, for a run also
    `skipped`; `workers`: the number of workers involved; `reason` and `instance`: why and by
    which instance it was aborted.
    """

    app: str
    what: str
    result: str
    workers: int = 0
    reason: str = ""
    instance: int = -1
    kept: str = ""  # what happens to the old workers, for people


class Count(Effect):
    """Increment a metric that only the core can count.

    - `restart`: a worker starts and replaces one that ended or is being replaced;
      `label` is one of `reasons.RESTARTS`;
    - `stall`: connections wait for a worker that accepts none;
    - `ready`: a worker became ready, `seconds` after its launch;
    - `reload`: a rolling reload ended after `seconds`; `label` is `finished` or
      `aborted`;
    - `run`: a run of a job ended after `seconds`; `label` is `succeeded`, `failed`,
      `stopped` or `skipped`;
    - `config`: the file was read again; `label` is `accepted` or `rejected`.
    """

    what: str
    app: str = ""
    label: str = ""
    seconds: float = 0.0


class StopRemaining(Effect):
    """All workers are gone: send a stop signal to every other process below pyinit.

    The signal is `signum`, or the one in `by_app` for the app that the process comes from.
    Answered by `RemainingEnded`.
    """

    signum: int
    by_app: tuple[tuple[str, int], ...] = ()


class Finish(Effect):
    """All workers have ended: kill the remaining processes, flush the logs, exit.

    `by`: when the container's time to stop ends (monotonic s); 0: unknown.
    `failed`: the app that determines the code, "" for none.
    """

    code: int
    by: float = 0.0
    failed: str = ""
