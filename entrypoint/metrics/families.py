"""Every metric that `/metrics` can show. The page docs/reference/metrics.md is made of this.

Names follow Prometheus' and OpenMetrics' rules: base units, `_total` for counters (added
where samples are written), the app and the number of the worker as labels, never a pid: the
number of series is that of the file, whatever happens in the container. That label is not
`instance`, as PM2 would call it, for Prometheus means the scraped address by it. `process_*`
is PID 1 itself, under the names that client libraries use.
"""

from __future__ import annotations

from entrypoint.core.record import Record

COUNTER = "counter"
GAUGE = "gauge"
HISTOGRAM = "histogram"
INFO = "info"

APP = ("app",)
WORKER = ("app", "worker")
STREAM = ("app", "stream")
LISTENER = ("app", "address")


class Family(Record):
    """One metric. `name` is without what its kind adds: `_total`, `_info`, `_bucket`."""

    name: str
    kind: str
    labels: tuple[str, ...]
    help: str

    @property
    def unit(self) -> str:
        """`seconds`, `bytes`, or empty."""
        last = self.name.rpartition("_")[2]
        return last if last in ("seconds", "bytes") else ""

    @property
    def sample(self) -> str:
        """The name as one asks for it; of a histogram the common part."""
        ending = {COUNTER: "_total", INFO: "_info"}.get(self.kind, "")
        return self.name + ending


def _family(name: str, kind: str, labels: tuple[str, ...], text: str) -> Family:
    return Family(name, kind, labels, text)


PYINIT = (
    _family(
        "pyinit_build",
        INFO,
        ("version", "python"),
        "The version of pyinit and of the Python that runs it.",
    ),
    _family(
        "pyinit_phase",
        GAUGE,
        ("phase",),
        "1 for the phase of the run: running, draining (readiness is off) or stopping.",
    ),
    _family(
        "pyinit_probe_passed",
        GAUGE,
        ("probe",),
        "Whether livez, readyz or startupz would answer 200 now.",
    ),
    _family(
        "pyinit_config_revision",
        GAUGE,
        (),
        "Revision of the file that runs: 1 at the start, one more with each that is accepted.",
    ),
    _family(
        "pyinit_config_last_reload_successful",
        GAUGE,
        (),
        "Whether the file was accepted when it was last read.",
    ),
    _family(
        "pyinit_config_last_reload_success_timestamp_seconds",
        GAUGE,
        (),
        "When a file was last accepted.",
    ),
    _family(
        "pyinit_config_reloads",
        COUNTER,
        ("result",),
        "Times that the file was read again, by result: accepted or rejected.",
    ),
    _family(
        "pyinit_orphans_reaped",
        COUNTER,
        (),
        "Processes reaped that were no workers: what workers had left behind.",
    ),
    _family(
        "pyinit_children_cpu_seconds",
        COUNTER,
        (),
        "CPU time of all processes that were reaped, workers and orphans.",
    ),
    _family(
        "pyinit_internal_errors",
        COUNTER,
        (),
        "Errors of pyinit's own that it survived; the log has each kind.",
    ),
    _family(
        "pyinit_memory_shortages",
        COUNTER,
        (),
        "Times that PID 1 ran out of memory and let the output of workers wait.",
    ),
    _family(
        "pyinit_loop_turn_longest_seconds",
        GAUGE,
        (),
        "The longest turn of PID 1's loop so far; /status names what it did.",
    ),
    _family(
        "pyinit_loop_turn_seconds",
        HISTOGRAM,
        (),
        "How long the turns of PID 1's loop worked: the longest that a signal or probe waited.",
    ),
)

APPS = (
    _family(
        "pyinit_app",
        INFO,
        ("app", "exec_mode", "namespace"),
        "An app of the file.",
    ),
    _family("pyinit_app_ready", GAUGE, APP, "Whether /readyz/APP would answer 200 now."),
    _family("pyinit_app_errored", GAUGE, APP, "Whether the app was given up: too many restarts."),
    _family("pyinit_app_stopped", GAUGE, APP, "Whether a person stopped the app."),
    _family("pyinit_app_finished", GAUGE, APP, "Whether all workers ended by their own will."),
    _family("pyinit_app_reloading", GAUGE, APP, "Whether a rolling reload is under way."),
    _family("pyinit_app_workers_wanted", GAUGE, APP, "Workers that the app is to have."),
    _family("pyinit_app_workers_ready", GAUGE, APP, "Workers that new connections may go to."),
    _family(
        "pyinit_app_workers",
        GAUGE,
        ("app", "state"),
        "Workers by state, those that leave in a reload too.",
    ),
    _family(
        "pyinit_app_workers_stuck",
        GAUGE,
        APP,
        "Workers that cannot be ended: a signal was refused, or they live after SIGKILL.",
    ),
    _family(
        "pyinit_app_max_memory_restart_bytes",
        GAUGE,
        APP,
        "The limit of max_memory_restart, where the file sets one.",
    ),
    _family(
        "pyinit_worker_restarts",
        COUNTER,
        ("app", "reason"),
        "Workers started in the place of one that ended or was replaced, by reason.",
    ),
    _family(
        "pyinit_worker_stalls",
        COUNTER,
        APP,
        "Workers for which connections waited and that accepted none for 5 seconds.",
    ),
    _family(
        "pyinit_worker_ready_duration_seconds",
        HISTOGRAM,
        APP,
        "From the start of a worker until it was ready.",
    ),
    _family(
        "pyinit_app_reloads",
        COUNTER,
        ("app", "result"),
        "Rolling reloads that are over, by result: finished or aborted (the old workers stay).",
    ),
    _family(
        "pyinit_app_reload_duration_seconds",
        HISTOGRAM,
        APP,
        "How long the rolling reloads took that finished.",
    ),
)

JOBS = (
    _family(
        "pyinit_job_runs",
        COUNTER,
        ("app", "result"),
        "Runs of an app with cron_restart and autorestart: false that are over, by result: "
        "succeeded, failed, stopped, skipped (the run before was still going on).",
    ),
    _family("pyinit_job_running", GAUGE, APP, "Whether a run is going on."),
    _family("pyinit_job_last_start_timestamp_seconds", GAUGE, APP, "When its last run began."),
    _family("pyinit_job_last_duration_seconds", GAUGE, APP, "How long the last run took."),
    _family("pyinit_job_last_exit_code", GAUGE, APP, "How the last run ended; 128+n: signal n."),
    _family(
        "pyinit_job_next_start_timestamp_seconds",
        GAUGE,
        APP,
        "When cron_restart is due next, of services too.",
    ),
)

WORKERS = (
    _family("pyinit_worker_up", GAUGE, WORKER, "Whether there is a process."),
    _family("pyinit_worker_ready", GAUGE, WORKER, "Whether new connections may go to it."),
    _family(
        "pyinit_worker_healthy",
        GAUGE,
        WORKER,
        "Whether its newest active check passed, where the file has one and it was performed.",
    ),
    _family("pyinit_worker_start_time_seconds", GAUGE, WORKER, "When the worker was started."),
    _family(
        "pyinit_worker_cpu_seconds",
        COUNTER,
        WORKER,
        "CPU time of the worker, its descendants and the workers before it; what one used after "
        "the last scrape of its life is missing.",
    ),
    _family(
        "pyinit_worker_resident_memory_bytes",
        GAUGE,
        WORKER,
        "Resident memory of the worker and its descendants; shared pages count for each.",
    ),
    _family(
        "pyinit_worker_proportional_memory_bytes",
        GAUGE,
        WORKER,
        "The same with shared pages divided among those that share them (PSS). Not given for "
        "processes of more than 1 GiB. Some seconds old, with many workers some minutes.",
    ),
    _family(
        "pyinit_worker_open_fds",
        GAUGE,
        WORKER,
        "Open descriptors of the worker and its descendants.",
    ),
    _family("pyinit_worker_processes", GAUGE, WORKER, "The worker and its descendants."),
    _family("pyinit_worker_threads", GAUGE, WORKER, "Threads of all of them."),
)

LISTENERS = (
    _family(
        "pyinit_listener_queued_connections",
        GAUGE,
        LISTENER,
        "Connections that wait to be accepted, on all sockets of the address.",
    ),
    _family(
        "pyinit_listener_longest_queue_connections",
        GAUGE,
        LISTENER,
        "The same on the socket where most wait: each worker has its own.",
    ),
    _family(
        "pyinit_listener_queue_age_seconds",
        GAUGE,
        LISTENER,
        "Since when connections wait: since the queue that waits longest was last seen empty or "
        "shorter. Not of unix sockets.",
    ),
    _family(
        "pyinit_listener_queue_limit_connections",
        GAUGE,
        LISTENER,
        "The most that may wait on one socket: backlog, bounded by net.core.somaxconn.",
    ),
    _family(
        "pyinit_listener_drops",
        COUNTER,
        LISTENER,
        "Connection attempts that the kernel dropped, mostly because the queue was full.",
    ),
    _family(
        "pyinit_network_listen_overflows",
        COUNTER,
        (),
        "Accept queues that overflowed in the whole network namespace (TcpExt ListenOverflows).",
    ),
    _family(
        "pyinit_network_listen_drops",
        COUNTER,
        (),
        "Connections dropped by listeners of the whole network namespace (TcpExt ListenDrops).",
    ),
)

LOGS = (
    _family(
        "pyinit_log_lines",
        COUNTER,
        STREAM,
        "Lines that workers wrote. With log.format raw they do not pass through pyinit.",
    ),
    _family("pyinit_log_bytes", COUNTER, STREAM, "Bytes that workers wrote."),
    _family(
        "pyinit_log_lost_lines",
        COUNTER,
        (),
        "Lines dropped because nobody reads stdout any more (its reader is gone).",
    ),
    _family(
        "pyinit_log_pending_bytes",
        GAUGE,
        (),
        "Bytes that wait for a slow reader of stdout.",
    ),
)

PROBES = (
    _family(
        "pyinit_probe_requests",
        COUNTER,
        ("path", "code"),
        "Requests answered, by endpoint (`other` for what there is not) and status code.",
    ),
    _family("pyinit_probe_clients", GAUGE, (), "Connections of clients of the probe port."),
    _family(
        "pyinit_probe_evicted_clients",
        COUNTER,
        (),
        "Clients closed to make room for others.",
    ),
)

PROCESS = (
    _family("process_cpu_seconds", COUNTER, (), "CPU time of PID 1."),
    _family("process_resident_memory_bytes", GAUGE, (), "Resident memory of PID 1."),
    _family("process_virtual_memory_bytes", GAUGE, (), "Virtual memory of PID 1."),
    _family("process_open_fds", GAUGE, (), "Open descriptors of PID 1."),
    _family("process_max_fds", GAUGE, (), "The most descriptors that PID 1 may have."),
    _family("process_start_time_seconds", GAUGE, (), "When PID 1 started."),
)

GROUPS = (
    ("pyinit", PYINIT),
    ("Apps", APPS),
    ("Jobs", JOBS),
    ("Workers", WORKERS),
    ("Listeners", LISTENERS),
    ("Logs", LOGS),
    ("Probes", PROBES),
    ("PID 1 as a process", PROCESS),
)
FAMILIES = tuple(family for _, families in GROUPS for family in families)
