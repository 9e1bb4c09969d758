"""The states of a worker process, its instance and its app, as values.

A *worker* is one process (one incarnation). This table is its life; a transition that is not in
it is illegal and raises, and the transaction that tried it changes nothing::

                      ready                retire             signal
    launching ───────────────► online ───────────────► retiring ───────► terminating
        │ retire/signal/kill     │ signal/kill             │ kill             │ kill
        ▼                        ▼                         ▼                  ▼
      (as online)           terminating/killing         killing            killing

    any of them ── exit ──► gone        any of them ── leader exit ──► lingering ──► gone

A worker that closes its listener but keeps running is *launching* again until it has another.
*sick*: it was online and its active checks fail, or it is stalled (stalls.py); it is replaced,
or becomes online again when they succeed, or when it accepts, before that.
*retiring*: it gets no new connections, its accept queue is emptying. *lingering*: the process
that pyinit started has ended, others of its process group have not.

An *instance* is identified by its number (`NODE_APP_INSTANCE`): it outlives its workers and
stores what is remembered across them: restarts, unstable exits, back-off. In a rolling
reload it has two workers for a while, the current one and its successor.
"""

from __future__ import annotations

from .record import Record
from .spec import AppSpec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from .types import (
        AppMode,
        InstanceState,
        PortMode,
        Scope,
        StopReason,
        Transition,
        WorkerState,
    )

LAUNCHING: Final = "launching"
ONLINE: Final = "online"
SICK: Final = "sick"
RETIRING: Final = "retiring"
TERMINATING: Final = "terminating"
KILLING: Final = "killing"
LINGERING: Final = "lingering"
GONE: Final = "gone"

READY: Final = "ready"
CLOSE: Final = "close"
SICKEN: Final = "sicken"
RETIRE: Final = "retire"
SIGNAL: Final = "signal"
KILL: Final = "kill"
EXIT: Final = "exit"
LEADER_EXIT: Final = "leader exit"

LIFE: dict[WorkerState, dict[Transition, WorkerState]] = {
    LAUNCHING: {
        READY: ONLINE,
        RETIRE: RETIRING,
        SIGNAL: TERMINATING,
        KILL: KILLING,
        EXIT: GONE,
        LEADER_EXIT: LINGERING,
    },
    ONLINE: {
        READY: ONLINE,
        CLOSE: LAUNCHING,
        SICKEN: SICK,
        RETIRE: RETIRING,
        SIGNAL: TERMINATING,
        KILL: KILLING,
        EXIT: GONE,
        LEADER_EXIT: LINGERING,
    },
    SICK: {
        READY: ONLINE,
        SICKEN: SICK,
        RETIRE: RETIRING,
        SIGNAL: TERMINATING,
        KILL: KILLING,
        EXIT: GONE,
        LEADER_EXIT: LINGERING,
    },
    RETIRING: {
        READY: RETIRING,
        SIGNAL: TERMINATING,
        KILL: KILLING,
        EXIT: GONE,
        LEADER_EXIT: LINGERING,
    },
    TERMINATING: {
        READY: TERMINATING,
        KILL: KILLING,
        EXIT: GONE,
        LEADER_EXIT: LINGERING,
    },
    KILLING: {READY: KILLING, KILL: KILLING, EXIT: GONE, LEADER_EXIT: LINGERING},
    LINGERING: {READY: LINGERING, SIGNAL: LINGERING, KILL: LINGERING, EXIT: GONE},
}

# States of a worker that was asked to stop, for whatever reason.
# States that may get new connections; SICK only if no better worker is available.
SERVING_STATES = (ONLINE, SICK)

STOPPING_STATES = (RETIRING, TERMINATING, KILLING, LINGERING)


class IllegalTransitionError(Exception):
    """The table has no such transition: a bug of the core, never caused by input."""


class Worker(Record):
    """One process. `purpose`: why it is being stopped; empty: it is not."""

    incarnation: int
    app: str
    instance: int
    slot: int
    spec: AppSpec
    launched_at: float
    # The accept queue that it shares with siblings of its release; -1: the queue of its slot.
    shared_queue: int = -1
    state: WorkerState = LAUNCHING
    pid: int = 0
    listen_visible: bool = False
    execed: bool = False
    boots_since: float = 0.0  # when its launch time began
    # Observations for readiness.py: where it listens, and since when; where it has accepted
    # a connection; where a probe of pyinit waits for that.
    listening: tuple[tuple[str, float], ...] = ()
    passing: tuple[str, ...] = ()  # of those: ports that the kernel may have chosen
    chosen: tuple[str, ...] = ()  # of those: ports that no client knows
    accepting: tuple[str, ...] = ()
    probed: tuple[str, ...] = ()
    listened_at: float = 0.0  # on the addresses that its readiness needs; 0: not yet
    accepted_at: float = 0.0
    overdue: bool = False  # its launch has taken too long, but pyinit keeps waiting
    rests: bool = False
    up_at: float = 0.0  # when it was first ready; 0: never
    stop_reason: StopReason = ""
    requested_by: str = ""  # what requested its stop or its replacement, by the event's name
    stop_signal: int = 0
    # Which processes the signals of its end reach, after it ended by itself (`SendSignal.scope`).
    scope: Scope = ""
    retired_at: float = 0.0  # 0: it got its signal at once, or none yet
    queue_empty: bool = False  # and all requests are answered
    delay_over: bool = False
    killed: bool = False  # SIGKILL was sent
    refused: bool = False  # SIGKILL was refused and will be sent again
    kill_pause: float = 0.0
    stuck: str = ""  # why it cannot be ended, for people
    # How it ended, for a decision that waits until its group is empty.
    ended_at: float = 0.0
    exit_code: int | None = None  # None: killed by a signal, or it never ran
    last_exit: str = ""  # for people
    # It ended, or pyinit gave up on it, before it was ready, or (its checks failed) so soon after
    # that it was useless.
    failed_to_start: bool = False
    due: float = 0.0  # when the timer of its launch or its stop fires
    # What it reported (notify.py).
    status: str = ""
    notes: tuple[tuple[str, object], ...] = ()
    reloading: bool = False
    watchdog: float = 0.0  # the longest time between two signs of life, s; 0: none are required
    # Its active checks (health.py).
    up_by: str = ""  # what showed that it is up, so that checks began
    check: int = 0  # number of the newest check
    checking: bool = False  # its result is not there yet
    failures: int = 0  # in a row
    check_reason: str = ""  # why the newest one failed, if it did
    healthy: bool = False  # one has succeeded
    sick: bool = False  # enough checks failed that it has to be replaced
    # Since when connections wait for it and it accepts none (stalls.py); 0: it accepts.
    stalled_at: float = 0.0
    stall_over: bool = False  # and `stall_timeout` is over

    @property
    def queue(self) -> int:
        """The number of the sockets that it accepts on."""
        return self.slot if self.shared_queue < 0 else self.shared_queue

    @property
    def ready(self) -> bool:
        """Whether new connections may go to it."""
        return self.state == ONLINE

    def after(self, what: Transition) -> Worker:
        """The worker after the transition `what`. Raises IllegalTransitionError."""
        following = LIFE[self.state].get(what) if self.state in LIFE else None
        if following is None:
            raise IllegalTransitionError(f"{what} in state {self.state}: {self!r}")
        return self if following == self.state else self.replace(state=following)


RUNNING: Final = "running"
WAITING_RESTART: Final = "waiting restart"
STOPPED: Final = "stopped"
IDLE: Final = "idle"  # a job that has not run yet
FINISHED: Final = "finished"
ERRORED: Final = "errored"


class Instance(Record):
    """One instance number of an app."""

    app: str
    number: int
    slot: int
    # The spec of its last worker that became ready: a crash starts what worked again, also
    # after a reload to something newer was aborted.
    spec: AppSpec
    shared_queue: int = -1  # of its current worker, or its last one
    before: AppSpec | None = None  # during a reload that has replaced it: the previous spec
    state: InstanceState = RUNNING
    current: int = 0  # incarnation, 0 while there is none
    successor: int = 0  # incarnation, in a rolling reload
    restarts: int = 0
    unstable: tuple[float, ...] = ()  # times of unstable exits in the window
    delay: float = 0.0  # of the back-off
    last_exit: str = ""
    last_code: int = 0
    runs: int = 0  # workers of it that have ended
    last_start: float = 0.0  # start time of the newest of them
    last_took: float = 0.0
    restart_timer: int = 0  # incarnation named by the restart timer
    repair_at: float = 0.0  # its sick worker is not replaced before this time
    memory_patience: float = 0.0  # a worker above its limit is not replaced before it is this old
    proven: bool = False  # a worker of it was ready once
    portless: bool = False  # its last ready worker had no port
    served: tuple[str, ...] = ()  # undeclared addresses of its last ready worker
    to_accept: float = 0.0  # its time from listen(2) to its first accept (s)
    loop: tuple[float, ...] = ()  # lives of its last workers, each of which crashed (s)

    @property
    def queue(self) -> int:
        """The number of the sockets that its worker accepts on."""
        return self.slot if self.shared_queue < 0 else self.shared_queue


class Reload(Record):
    """A rolling reload under way: instances still to do, and instances in progress."""

    queue: tuple[int, ...]
    active: tuple[int, ...] = ()
    total: int = 0
    started_at: float = 0.0
    reason: str = ""
    repairs: tuple[int, ...] = ()  # of both: those whose worker is sick
    fresh: tuple[int, ...] = ()  # incarnations that it has started
    # The first ready one of these, until it has accepted a connection and lived `min_ready`;
    # `proven`: it has. `lives`: its `min_ready` timer runs.
    proving: int = 0
    lives: bool = False
    proven: bool = False


class Starting(Record):
    """Instances being launched, at most `width` at a time; `booting`: incarnations."""

    width: int
    booting: tuple[int, ...] = ()
    armed: bool = False  # the timer that increases `width` runs


class AppState(Record):
    """A running app. Only `Transaction` changes the counts."""

    name: str
    spec: AppSpec
    wanted: int
    ids: tuple[int, ...]  # of each wanted instance
    mode: AppMode = "running"
    spare: tuple[int, ...] = ()
    slots: int = 0
    granted: int = 0  # slots that its shared addresses have
    routed: tuple[int, ...] = ()
    untrimmed: bool = False  # sockets may be open that the file no longer declares
    reload: Reload | None = None
    starting: Starting | None = None
    pending: bool = False  # a run follows the present one (jobs.py)
    skipped: int = 0  # runs skipped because the previous one was still going on
    edited: bool = False  # its files changed, and no worker has been stable since
    said_ready: bool = False  # a worker of it was ready, by its own signal or by observation
    says_ready: bool = False  # a worker of it has sent READY
    slowest: float = 0.0  # the longest time that a worker took to be ready (s)
    longest_stall: float = 0.0  # the longest time without an accept from which one recovered (s)
    advised: bool = False  # it was advised to declare its port
    was_ready: bool = False
    stop_sent: bool = False  # the shutdown has told it to stop
    # Incarnation and slot of workers that crashed a moment ago (slots.py).
    orphans: tuple[tuple[int, int], ...] = ()
    port: PortMode = ""
    undone: tuple[str, ...] = ()  # port operations that failed and have to be repeated
    port_pause: float = 0.0
    blocked: bool = False  # it waits for a dependency that can never be met, and that was reported
    live: int = 0  # workers that are not gone
    ready: int = 0  # workers that are online
    online: tuple[int, ...] = ()  # queues of online workers, in order; one for each worker
    created: int = 0  # instances; they are numbered from 0 without gaps
    finished: int = 0  # instances that finished
    errored: int = 0  # instances that are errored
