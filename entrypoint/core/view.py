"""The read-only view of the core for probes, `/status` and `pyinit ls`."""

from __future__ import annotations

from .record import Record

LAUNCHING = "launching"
ONLINE = "online"
UNHEALTHY = "unhealthy"  # its active checks fail; it is being replaced
STALLED = "stalled"  # connections wait for it, and it accepts none
DRAINING = "draining"  # a reload has replaced it, and it keeps its connections
STOPPING = "stopping"
WAITING_RESTART = "waiting restart"
STOPPED = "stopped"
ERRORED = "errored"
PASSING, FAILING = "passing", "failing"
STATES = (
    LAUNCHING,
    ONLINE,
    UNHEALTHY,
    STALLED,
    DRAINING,
    STOPPING,
    WAITING_RESTART,
    STOPPED,
    ERRORED,
)


class JobView(Record):
    """An app with `cron_restart`. Times are monotonic seconds; 0: there was no run yet.

    `running`: a run is going on, since `started_at`; otherwise that is when the last one began.
    `counts`: it is a service rather than a job, restarted at its times; probes wait for it.
    """

    counts: bool
    runs: int
    running: bool
    started_at: float
    took: float  # of the last run that has ended
    exit_code: int  # of it
    skipped: int
    pending: bool


class WorkerView(Record):
    """One worker. Times are monotonic seconds.

    `pid` is 0 while there is no process: before fork(2), and once it is reaped, even while
    remaining processes of its group are being ended (`stopping`).
    """

    app: str
    instance: int
    incarnation: int
    slot: int
    pid: int
    state: str
    ready: bool
    restarts: int
    started_at: float
    last_exit: str = ""  # "exit code 1", "killed by SIGKILL", "chdir: No such file …"
    stuck: str = ""  # why it cannot be ended: a signal was refused or had no effect; "": neither
    status: str = ""  # the worker's own text, STATUS= of sd_notify(3)
    reloading: bool = False  # it reported RELOADING=1
    health: str = ""  # of its active checks: "" (none yet) | passing | failing
    health_reason: str = ""  # why the newest one failed
    # As PM2's: unique over all apps, kept by the next worker; -1: it is surplus.
    id: int = -1
    last_code: int = 0  # of `last_exit`, as an exit code


class AppView(Record):
    """One app. `ready_workers` of `wanted`; `was_ready`: all were ready once.

    `finished`: every worker ended by itself and none will be restarted.
    """

    name: str
    exec_mode: str
    wanted: int
    ready_workers: int
    was_ready: bool
    errored: bool
    finished: bool
    stopped: bool  # by `pyinit stop`, or not started yet (`autostart: false`)
    workers: tuple[WorkerView, ...]
    reloading: bool = False
    # The reload under way: finished instances, and their total.
    reloaded: int = 0
    to_reload: int = 0
    started: bool = True  # it had workers
    runs: int = 0  # workers of all instances that have ended
    job: JobView | None = None


class View(Record):
    """The view of all apps. `phase`: `running`, `draining` (readiness is off), `stopping`."""

    apps: tuple[AppView, ...]
    phase: str
    revision: int
    config_error: str = ""
