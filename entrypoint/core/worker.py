"""The state of a worker process, of its instance and of its app, as values.

A *worker* is one process (one incarnation). Its life is this table; what is not in it
is illegal and raises, and the turn that tried changes nothing::

                      ready                retire             signal
    launching ───────────────► online ───────────────► retiring ───────► terminating
        │ retire/signal/kill     │ signal/kill             │ kill             │ kill
        ▼                        ▼                         ▼                  ▼
      (as online)           terminating/killing         killing            killing

    any of them ── exit ──► gone        any of them ── leader exit ──► lingering ──► gone

A worker that closes its listener and lives on is *launching* again until it has another.
*sick*: it was online and its active checks fail, or it is stalled (stalls.py); it is replaced,
or becomes online again when they succeed, or when it accepts, before that.
*retiring*: steered away, its accept queue is emptying. *lingering*: the process that
we started has ended and others of its process group have not.

An *instance* is known by its number (`NODE_APP_INSTANCE`): it outlives its workers and
keeps what is remembered across them: restarts, unstable exits, back-off. In a rolling
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

# Told to stop, by whom we need not know.
# New connections may go to it; SICK: only while there is nobody better.
SERVING_STATES = (ONLINE, SICK)

STOPPING_STATES = (RETIRING, TERMINATING, KILLING, LINGERING)


class IllegalTransitionError(Exception):
    """The table has no answer: a bug of the core, never of the world."""


class Worker(Record):
    """One process. `purpose` says why it is being stopped; empty: it is not."""

    incarnation: int
    app: str
    instance: int
    slot: int
    spec: AppSpec
    launched_at: float
    # The accept queue that it shares with siblings of its release; -1: it has its slot's.
    shared_queue: int = -1
    state: WorkerState = LAUNCHING
    pid: int = 0
    listen_visible: bool = False
    execed: bool = False
    boots_since: float = 0.0  # from when on the time of its launch counts
    # What was seen of it (readiness.py): where it listens, and since when; where it has
    # accepted a connection; where a connection of ours waits for that.
    listening: tuple[tuple[str, float], ...] = ()
    passing: tuple[str, ...] = ()  # of those: ports that the kernel may have chosen
    chosen: tuple[str, ...] = ()  # of those: ports that no client knows
    accepting: tuple[str, ...] = ()
    probed: tuple[str, ...] = ()
    listened_at: float = 0.0  # on what its readiness needs; 0: not yet
    accepted_at: float = 0.0
    overdue: bool = False  # its launch has taken too long, and it is waited for nevertheless
    rests: bool = False
    up_at: float = 0.0  # when it was first ready; 0: never
    stop_reason: StopReason = ""
    requested_by: str = ""  # who or what asked for that, or for its replacement, as its event said
    stop_signal: int = 0
    # What signals of its end reach, once it has ended by itself (`SendSignal.scope`).
    scope: Scope = ""
    retired_at: float = 0.0  # 0: it got its signal at once, or none yet
    queue_empty: bool = False  # and all is answered
    delay_over: bool = False
    killed: bool = False  # SIGKILL was sent
    refused: bool = False  # SIGKILL was, and is to be sent again
    kill_pause: float = 0.0
    stuck: str = ""  # why it cannot be ended, for people
    # Of its end, for a decision that waits until its group is empty.
    ended_at: float = 0.0
    exit_code: int | None = None  # None: killed by a signal, or it never ran
    last_exit: str = ""  # for people
    # It ended, or was given up, before it was ready, or (its checks failed) so soon after
    # that it was of no use.
    failed_to_start: bool = False
    due: float = 0.0  # when its launch or its stop is overdue
    # What it said of itself (notify.py).
    status: str = ""
    notes: tuple[tuple[str, object], ...] = ()
    reloading: bool = False
    watchdog: float = 0.0  # the longest between two signs of life, s; 0: none are asked for
    # Of its active checks (health.py).
    up_by: str = ""  # what showed that it is up, so that checks began
    check: int = 0  # number of the newest check
    checking: bool = False  # it has not been answered yet
    failures: int = 0  # in a row
    check_reason: str = ""  # of the newest one, if it failed
    healthy: bool = False  # one has succeeded
    sick: bool = False  # so many failed that it is to be replaced
    # Since when connections wait for it and it accepts none (stalls.py); 0: it accepts.
    stalled_at: float = 0.0

    @property
    def queue(self) -> int:
        """The number of the sockets that it accepts on."""
        return self.slot if self.shared_queue < 0 else self.shared_queue

    @property
    def ready(self) -> bool:
        """New connections may go to it."""
        return self.state == ONLINE

    def after(self, what: Transition) -> Worker:
        """The worker after `what` of the table. Raises IllegalTransitionError."""
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
    # What its last worker that came up ran: a crash brings back what worked, also
    # after a reload to something newer was aborted.
    spec: AppSpec
    shared_queue: int = -1  # of its current worker, or of its last one
    before: AppSpec | None = None  # during a reload that has replaced it: what ran before
    state: InstanceState = RUNNING
    current: int = 0  # incarnation, 0 while there is none
    successor: int = 0  # incarnation, in a rolling reload
    restarts: int = 0
    unstable: tuple[float, ...] = ()  # times of unstable exits in the window
    delay: float = 0.0  # of the back-off
    last_exit: str = ""
    last_code: int = 0
    runs: int = 0  # workers of it that have ended
    last_start: float = 0.0  # of the newest of them
    last_took: float = 0.0
    restart_timer: int = 0  # incarnation named by the restart timer
    repair_at: float = 0.0  # its sick worker is not replaced before that
    memory_patience: float = 0.0  # a worker too big is not replaced before it lived so long
    proven: bool = False  # a worker of it was ready once
    portless: bool = False  # its last ready worker had no port
    served: tuple[str, ...] = ()  # where its last ready worker listened, beside what is declared
    to_accept: float = 0.0  # how long that took from listen(2) to its first accept (s)
    loop: tuple[float, ...] = ()  # lives of its last workers, that ended in a crash each (s)

    @property
    def queue(self) -> int:
        """The number of the sockets that its worker accepts on."""
        return self.slot if self.shared_queue < 0 else self.shared_queue


class Reload(Record):
    """A rolling reload under way: instances still to do, instances being done."""

    queue: tuple[int, ...]
    active: tuple[int, ...] = ()
    total: int = 0
    started_at: float = 0.0
    reason: str = ""
    repairs: tuple[int, ...] = ()  # of both: because their worker is sick
    fresh: tuple[int, ...] = ()  # incarnations that it has started
    # Incarnation of the first of them that is ready, until it has accepted a connection and
    # lived `min_ready`; `proven`: it has. `lives`: its `min_ready` runs.
    proving: int = 0
    lives: bool = False
    proven: bool = False


class Starting(Record):
    """Instances being launched, at most `width` at a time; `booting`: incarnations."""

    width: int
    booting: tuple[int, ...] = ()
    armed: bool = False  # the timer that widens it


class AppState(Record):
    """An app as it runs. Counts are kept by `Transaction`, in one place."""

    name: str
    spec: AppSpec
    wanted: int
    ids: tuple[int, ...]  # of each wanted instance
    mode: AppMode = "running"
    spare: tuple[int, ...] = ()
    slots: int = 0
    granted: int = 0  # slots that its shared addresses have been given
    routed: tuple[int, ...] = ()
    untrimmed: bool = False  # sockets may be held that the file no longer declares
    reload: Reload | None = None
    starting: Starting | None = None
    pending: bool = False  # a run is to follow the present one (jobs.py)
    skipped: int = 0  # runs left out, for the one before was still going on
    edited: bool = False  # its files changed, and no worker has been stable since
    said_ready: bool = False  # a worker of it was ready, by its word or as seen
    says_ready: bool = False  # a worker of it has said READY
    slowest: float = 0.0  # the longest that a worker took to be ready (s)
    longest_stall: float = 0.0  # the longest that one accepted nothing and then did again (s)
    advised: bool = False  # that it should declare its port
    was_ready: bool = False
    stop_sent: bool = False  # to stop, in the shutdown
    # Incarnation and slot of workers that crashed a moment ago (slots.py).
    orphans: tuple[tuple[int, int], ...] = ()
    port: PortMode = ""
    undone: tuple[str, ...] = ()  # orders about its port that failed and are to be given again
    port_pause: float = 0.0
    blocked: bool = False  # it waits for what can never come, and that was said
    live: int = 0  # workers that are not gone
    ready: int = 0  # workers that are online
    online: tuple[int, ...] = ()  # their queues, in order; one for each worker
    created: int = 0  # instances; they are numbered from 0 without a gap
    finished: int = 0  # instances that finished
    errored: int = 0  # instances that are errored
