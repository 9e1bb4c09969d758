"""What is to be done: frozen orders in the imperative, the only output of the core.

The shell performs them in order. None of them answers: what comes of an effect comes
back as an event.
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
    # PM2's `pm_id`, and how often this instance was restarted.
    id: int = -1
    restarts: int = 0
    # The accept queue that it shares with siblings of its release; -1: it has its slot's.
    shared_queue: int = -1

    @property
    def queue(self) -> int:
        """The number of the sockets that it accepts on."""
        return self.slot if self.shared_queue < 0 else self.shared_queue


class SendSignal(Effect):
    """kill(2) to the worker.

    `stop`: it is meant to end the worker, whichever signal it is. By `scope` it then goes to
    the `process`, to its `group`, to its `tree` (the group and all descendants), or to `all`:
    what was reparented before as well.

    `leaves`: a person sends a signal that ends most programs; nothing follows if it does not.
    """

    incarnation: int
    signum: int
    scope: Scope = "process"
    stop: bool = False
    leaves: bool = False


class SendShutdownMessage(Effect):
    """PM2's `shutdown_with_message`: `process.send('shutdown')` over Node's channel.

    What belongs to the worker by `scope` gets its signal when the worker has ended.
    """

    incarnation: int
    scope: Scope = "process"


class AnnounceDrain(Effect):
    """Tell a worker that the drain has begun (`shutdown.notify`).

    `signum` to those of its processes that have a handler for it, or `spec.MESSAGE`: the
    message `drain` over Node's channel. Nothing is answered.
    """

    incarnation: int
    signum: int


class StartTimer(Effect):
    """Answer with `TimerFired` after `delay` seconds; replaces one of the same name."""

    timer: Timer
    delay: float


class StopTimer(Effect):
    """Forget that deadline; it may be unknown."""

    timer: Timer


class GrowPort(Effect):
    """Have at least `slots` slots on each shared address of the app."""

    app: str
    slots: int


class TrimPort(Effect):
    """No worker of an earlier revision is left: close what the file no longer declares."""

    app: str


class RouteTo(Effect):
    """New connections of the app go to these slots only.

    A queue that several workers share is named once for each of them.
    """

    app: str
    slots: tuple[int, ...]


class WatchQueue(Effect):
    """Answer with `QueueEmptied` once the accept queue of `slot` is empty and all is answered.

    `answer_time`: seconds that the queue has to be empty, those not counted in which the worker
    had to wait for a CPU. `quiet_time`: with more than 0 it is looked whether the worker has a
    request in hand; what cannot be told of a connection then counts for so long, and a request
    that was in hand for `longest` no more. Where nothing can be told, `quiet_time` is the
    `answer_time`; `hurried`: there is none, and a queue from which nothing is taken counts for
    `quiet_time`. `closed`: all of the worker's connections have to be closed.
    """

    incarnation: int
    app: str
    slot: int
    answer_time: float = 0.0
    quiet_time: float = 0.0
    longest: float = 0.0
    hurried: bool = False
    closed: bool = False
    # Siblings take connections from that queue too: those to come are kept from it meanwhile,
    # and until the worker has ended or has closed its socket.
    shared: bool = False


class ProbeAccept(Effect):
    """Connect to `address` of this worker; answer with `AcceptSeen` once it has accepted.

    Until it has, or is gone. `declared` as in `ListenSeen`. Where siblings share the socket
    and accept it again and again, a worker that holds the socket for `patience` s counts.
    """

    incarnation: int
    app: str
    slot: int
    address: str
    declared: str
    patience: float


class LookAt(Effect):
    """Report what the worker's processes listen on, and whether they rest.

    Answered by `ListenSeen`, `ListenEnded` and `RestSeen` for each change, until `StopLook`
    or its end; with `once` by what is seen now.
    """

    incarnation: int
    app: str
    once: bool = False


class StopLook(Effect):
    """No further look; there may be none."""

    incarnation: int


class ReleaseSlot(Effect):
    """No worker will accept on this slot until one is spawned on it."""

    app: str
    slot: int


class StartCheck(Effect):
    """Perform the check that the file asks for (`AppSpec.health`) on this worker.

    Answered by `HealthChecked` with the same number, unless `StopCheck` comes before.
    """

    incarnation: int
    check: int


class StopCheck(Effect):
    """Give up the check of this worker that is under way."""

    incarnation: int


class RefuseConnections(Effect):
    """Take no new connections of the app; those already queued are still accepted."""

    app: str


class RelayQueue(Effect):
    """Connections that wait on this slot, whose worker is not there, go to the others.

    Only where a worker then still sees the client's address, or where the file allows more
    (`AppSpec.relay`). `stalled`: the worker is there and takes none.
    """

    app: str
    slot: int
    stalled: bool = False


class PausePort(Effect):
    """No worker is left and none will be started: refuse connections, keep the addresses."""

    app: str


class ResumePort(Effect):
    """Take connections again, after `RefuseConnections` or `PausePort`."""

    app: str


class ClosePort(Effect):
    """Close the app's listeners: whoever connects now is refused."""

    app: str


class ReadPlan(Effect):
    """Read the file again. Answered by `PlanAccepted` or `PlanRejected`."""


class ReleaseWorker(Effect):
    """The worker is gone for good: release what is kept for it."""

    incarnation: int


class Report(Effect):
    """One event of pyinit's own log."""

    level: str  # debug | info | warning | error
    event: str
    fields: tuple[tuple[str, object], ...] = ()


class ReportOutcome(Effect):
    """What became of something that people asked for, as data for those who wait for it.

    `what`: `reload` or `run`; `result`: `started`, `finished` or `aborted`, of a run
    `skipped`; `workers`: how many it is about; `reason` and `instance`: why it was aborted,
    and by which.
    """

    app: str
    what: str
    result: str
    workers: int = 0
    reason: str = ""
    instance: int = -1
    kept: str = ""  # what becomes of the old workers, for people


class Count(Effect):
    """One more of something, for the metrics: what happened is known here alone.

    - `restart`: a worker is started in the place of one that ended or is replaced;
      `label` is one of `reasons.RESTARTS`;
    - `stall`: connections wait for a worker, and it accepts none;
    - `ready`: a worker said that it is ready, `seconds` after its launch;
    - `reload`: a rolling reload is over after `seconds`; `label` is `finished` or
      `aborted`;
    - `run`: a run of a job is over after `seconds`; `label` is `succeeded`, `failed`,
      `stopped` or `skipped`;
    - `config`: the file was read again; `label` is `accepted` or `rejected`.
    """

    what: str
    app: str = ""
    label: str = ""
    seconds: float = 0.0


class StopRemaining(Effect):
    """All workers are gone: send a stop signal to every other process below pyinit.

    `signum`, or the one that `by_app` names for the app that it comes from. Answered by
    `RemainingEnded`.
    """

    signum: int
    by_app: tuple[tuple[str, int], ...] = ()


class Finish(Effect):
    """Everything of ours has ended: kill what is left, flush the logs, exit.

    `by`: when the container's time to stop is over (monotonic s); 0: nobody said.
    `failed`: the app that the code is due to, "" for none.
    """

    code: int
    by: float = 0.0
    failed: str = ""
