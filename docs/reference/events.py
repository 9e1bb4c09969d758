"""All events of pyinit's own log, with their fields: docs/reference/events.md is made of them.

tests/unit/logs/test_events_page.py holds the table against the code, and the tests with real
processes hold every event that they see against it.
"""

from __future__ import annotations

HEAD = """\
# Log events

The events of pyinit's own log: records without `stream` ([the schema](logs.md)). Names of events
and fields are an interface: the [changelog](../../CHANGELOG.md) names each change. Texts in fields
are for people.

Every event also has `timestamp`, `level` and `event`. In the tables below, *worker* stands for
`app`, `instance` and `pid`. A field in parentheses is left out when there is nothing to say.

<!-- Below: written by `make reference` from docs/reference/events.py. -->
"""

WORKER = "app instance pid"
END = "because? uptime expected errno? bus_error? exit_status? last_lines?"

# event, levels, fields (`?`: not always there), what has happened
EVENTS: tuple[tuple[str, tuple[tuple[str, str, str, str], ...]], ...] = (
    (
        "Workers",
        (
            ("worker started", "info", WORKER, "The program is executed."),
            (
                "worker ready",
                "info",
                f"{WORKER} by address? after",
                "The worker was seen to serve, or says so.",
            ),
            (
                "worker exited",
                "info error",
                f"{WORKER} exit_code? signal? reason? core_dumped? oom_killed? {END}",
                "The process of the worker has ended. `info` if expected, or with exit code 0.",
            ),
            (
                "worker failed to start",
                "info error",
                f"{WORKER} signal? reason {END}",
                "There is no process, or it never became the program.",
            ),
            (
                "worker finished",
                "info",
                "app instance because",
                "The worker is not started again (`autorestart: false`, `stop_exit_codes`).",
            ),
            (
                "worker not ready in time",
                "warning",
                f"{WORKER} listen_timeout reason then",
                "`listen_timeout` is over and the worker is not ready.",
            ),
            (
                "worker has no port",
                "info",
                f"{WORKER} ready not_counted?",
                "The worker counts as ready without a port. `not_counted`: ports that are its own.",
            ),
            (
                "accept not observed",
                "warning",
                f"{WORKER} address reason then",
                "Others accept from the worker's socket, and its processes may not be looked into.",
            ),
            (
                "worker accepts nothing",
                "warning",
                f"{WORKER} ready",
                "The worker listens, has come to rest, and has not accepted a connection.",
            ),
            (
                "readiness port assumed",
                "info",
                "app address? advice",
                "The app declares no address: the port that its first worker opened counts.",
            ),
            (
                "listener closed",
                "warning",
                f"{WORKER} address then",
                "A ready worker has closed its listener and lives on.",
            ),
            ("worker leaves", "info", WORKER, "The worker says `STOPPING=1`."),
            (
                "worker stop overdue",
                "warning",
                f"{WORKER} kill_timeout then",
                "The worker has not ended within `kill_timeout`.",
            ),
            (
                "processes of the worker overdue",
                "warning",
                f"{WORKER} kill_timeout then",
                "The worker has ended, other processes of it have not, within `kill_timeout`.",
            ),
            (
                "worker killed",
                "warning",
                f"{WORKER} kill_timeout",
                "The worker was ended by pyinit's SIGKILL.",
            ),
            (
                "worker does not die",
                "error",
                f"{WORKER} reason?",
                "The worker lives after SIGKILL, or SIGKILL was refused.",
            ),
            (
                "processes of the worker do not die",
                "error",
                f"{WORKER} reason?",
                "The same for other processes of a worker that has ended.",
            ),
            (
                "signal refused",
                "error",
                f"{WORKER} signal reason",
                "The kernel did not let pyinit send the signal.",
            ),
            (
                "stop signal replaced",
                "info",
                f"{WORKER} signal by",
                "The stop signal means nothing to the worker (SIGWINCH); it gets SIGTERM.",
            ),
            (
                "shutdown message not sent",
                "warning",
                f"{WORKER} reason",
                "`shutdown_with_message`: the worker's channel is closed.",
            ),
            (
                "worker drain over",
                "warning",
                f"{WORKER} reason",
                "It drained (`drain`) and is stopped, with the connections that it still has.",
            ),
            (
                "worker busy at its stop signal",
                "warning",
                WORKER,
                "It leaves, and still had a queue or a request after 3/4 of `kill_timeout`.",
            ),
            (
                "requests in hand not seen",
                "warning",
                "app reason then",
                "Which connections are a worker's cannot be seen. Said once for each app.",
            ),
            (
                "accept queue not watched",
                "warning",
                f"{WORKER} reason",
                "The accept queue of a worker that leaves cannot be looked at.",
            ),
            (
                "after_stop failed",
                "warning",
                "app instance reason",
                "A command of `after_stop` failed or was not done in time.",
            ),
        ),
    ),
    (
        "Checks, watchdog, memory",
        (
            (
                "health check failed",
                "warning",
                f"{WORKER} reason said? failures of",
                "A check of the worker failed.",
            ),
            (
                "worker unhealthy",
                "error",
                f"{WORKER} reason",
                "`failures` checks in a row failed; the worker is replaced.",
            ),
            (
                "worker healthy again",
                "info",
                WORKER,
                "A check succeeded before the worker was replaced.",
            ),
            (
                "worker stalled",
                "warning",
                f"{WORKER} address waiting after",
                "Connections wait for the worker, and it has accepted none for so long.",
            ),
            (
                "worker accepts again",
                "info",
                f"{WORKER} after",
                "A stalled worker has accepted a connection, and goes on.",
            ),
            (
                "worker stall overdue",
                "error",
                f"{WORKER} reason",
                "A worker has been stalled for `stall_timeout`; it is stopped.",
            ),
            (
                "worker started again",
                "info",
                f"{WORKER} reason",
                "The worker is stopped, and another one is started in its place.",
            ),
            (
                "watchdog missed",
                "error",
                f"{WORKER} reason",
                "The worker did not say `WATCHDOG=1` in time.",
            ),
            (
                "memory limit exceeded",
                "warning",
                f"{WORKER} rss max_memory_restart",
                "The worker holds more than `max_memory_restart`; it is replaced.",
            ),
        ),
    ),
    (
        "Apps",
        (
            ("app ready", "info", "app workers", "All instances of the app are ready."),
            (
                "app errored",
                "error",
                "app instance unstable_exits max_restarts last_exit then?",
                "The app has crashed too often; pyinit does not start it again by itself.",
            ),
            (
                "app never starts",
                "error",
                "app depends_on condition because on_errored",
                "What the app waits for can no longer happen.",
            ),
            (
                "restart waits",
                "info",
                "app instance delay",
                "The next start waits (`restart_delay`, `exp_backoff_restart_delay`).",
            ),
            (
                "restart started",
                "info",
                "app reason",
                "All workers of the app are stopped and started again.",
            ),
            ("reload started", "info", "app workers reason", "A reload has begun."),
            (
                "reload finished",
                "info",
                "app workers took",
                "All instances run the new release. No `reload aborted` comes besides.",
            ),
            (
                "reload aborted",
                "error",
                "app instance because then note",
                "A new worker failed; the reload goes no further.",
            ),
            ("app scaled", "info", "app was instances", "The number of instances has changed."),
            ("app removed", "info", "app", "The file no longer has the app."),
        ),
    ),
    (
        "Jobs and schedules",
        (
            ("run started", "info", "app by", "A run of a job has begun."),
            (
                "run finished",
                "info error",
                f"{WORKER} result exit_code took next_run?",
                "A run of a job has ended.",
            ),
            (
                "run skipped",
                "warning",
                "app by reason? running_for? next_run?",
                "A run was left out (`overlap`, a stop).",
            ),
            (
                "run waits",
                "info",
                "app by running_for",
                "A run begins when the one before has ended.",
            ),
            (
                "cron_restart in UTC",
                "warning",
                "reason",
                "The time zone of `TZ` is unknown here.",
            ),
            (
                "no further cron_restart",
                "error",
                "app reason",
                "The pattern has no further time.",
            ),
        ),
    ),
    (
        "The file, files and commands",
        (
            ("config accepted", "info", "revision source", "pyinit runs this version of the file."),
            (
                "config rejected",
                "error",
                "reason kept",
                "The file is broken; what runs goes on.",
            ),
            ("config warning", "warning", "reason", "A warning of the file."),
            (
                "config change needs a new container",
                "warning",
                "key",
                "This key is read at boot only.",
            ),
            ("config changed", "info", "path", "`watch_config`: the file has changed."),
            ("files changed", "info", "app path", "`watch`: files of the app have changed."),
            ("cannot watch", "error", "app? reason", "Files or the config are not watched."),
            (
                "command received",
                "info",
                "command apps instances? to? signal? by_uid by_pid",
                "A command such as `pyinit reload` has come in.",
            ),
        ),
    ),
    (
        "Signals and the stop",
        (
            (
                "memory budget",
                "debug",
                "app memory",
                "`memory: auto`: a worker starts with this share of the container.",
            ),
            ("signal received", "info", "signal", "PID 1 has received a signal."),
            (
                "cpus changed",
                "info",
                "was cpus",
                "The CPU limit of the container has changed; apps with `instances: max` follow.",
            ),
            (
                "shutdown started",
                "info",
                "because drain_delay failing? exit_code?",
                "The container begins to stop, and ends with `exit_code` if an app is failing.",
            ),
            (
                "drain announced",
                "info",
                f"{WORKER} by count?",
                "`shutdown.notify`: the worker, `count` of its processes by a signal, was told.",
            ),
            ("stop hurried", "info", "then", "SIGINT or SIGQUIT during the stop."),
            (
                "stop signal ignored",
                "info",
                "because",
                "A further stop signal changes nothing.",
            ),
            ("drain skipped", "warning", "because", "`shutdown.drain_delay` is cut short."),
            (
                "shutdown forced",
                "warning",
                "because workers",
                "What is left is killed.",
            ),
            (
                "processes left",
                "info",
                "count processes signal",
                "Orphans and daemons live after the workers; they get a stop signal.",
            ),
            (
                "processes killed",
                "warning",
                "count processes",
                "They did not end in time and get SIGKILL.",
            ),
            ("shutdown finished", "info", "exit_code", "PID 1 ends."),
        ),
    ),
    (
        "The port",
        (
            (
                "address bound",
                "debug",
                "app? instance? address",
                "A worker has bound an address.",
            ),
            (
                "address released",
                "debug",
                "app address",
                "An address that no file declares has no user any more; it is closed.",
            ),
            (
                "address not shared",
                "debug warning error",
                "app address pid? reason then?",
                "A worker's bind was left to the worker alone, or was refused.",
            ),
            (
                "no worker listens there",
                "warning",
                "app address but_on",
                "A declared address on which no worker listens: its clients wait.",
            ),
            (
                "listener revived",
                "info",
                "app address slots",
                "A worker had shut a listener down; pyinit has opened it again.",
            ),
            (
                "listener down",
                "error",
                "app address reason then",
                "A listener that was shut down cannot be opened again yet.",
            ),
            (
                "listener not changed",
                "warning",
                "app address reason",
                "A new `backlog` or `mode` cannot be set.",
            ),
            (
                "port not changed",
                "error",
                "app order reason",
                "An address of the app cannot be opened or changed.",
            ),
            (
                "socket file restored",
                "debug",
                "app address",
                "The path of a unix socket was removed; it is linked again.",
            ),
            (
                "socket file not watched",
                "info",
                "reason",
                "inotify(7) cannot watch the folder of a unix socket.",
            ),
            (
                "sockets made for workers",
                "info",
                "app reason then",
                "The runtime keeps pyinit from having the workers' own sockets.",
            ),
            (
                "options lost",
                "info",
                "app reason then",
                "Workers set options on their socket before `bind` that pyinit did not see.",
            ),
            (
                "filter used from now on",
                "info",
                "app reason then",
                "A Node program listens without Node's protocol.",
            ),
            (
                "open sockets of a worker unknown",
                "info",
                "app pid reason then",
                "pyinit cannot read which descriptors the worker has.",
            ),
            (
                "call not intercepted",
                "warning",
                "app call pid reason",
                "A system call of a worker went on in the kernel unchanged.",
            ),
            (
                "interception refused",
                "warning",
                "reason then",
                "The runtime refused the seccomp filter at a worker's start.",
            ),
            (
                "interception unsupported",
                "warning",
                "app reason then",
                "The kernel or the runtime has no seccomp user notification.",
            ),
            (
                "io_uring refused",
                "info",
                "app pid reason then",
                "A worker asked for io_uring, which could bind a port unseen.",
            ),
        ),
    ),
    (
        "pyinit itself",
        (
            (
                "environment warning",
                "warning",
                "reason",
                "Something about the container that will not work.",
            ),
            (
                "no private socket",
                "warning",
                "reason",
                "`pyinit ls`, `reload` and so on cannot reach this pyinit.",
            ),
            (
                "cannot notify",
                "warning",
                "reason",
                "The service manager's `NOTIFY_SOCKET` takes nothing.",
            ),
            (
                "no keys for workers",
                "warning",
                "reason",
                "`tty`: the keys of this terminal do not reach a worker.",
            ),
            (
                "internal error",
                "error",
                "where traceback suppressed?",
                "A bug of pyinit. The event that met it is dropped, everything else goes on.",
            ),
            (
                "journal excerpt",
                "error",
                "because app? part parts events",
                "The last events of an app before it was errored, or before an internal error.",
            ),
            (
                "memory exhausted",
                "error",
                "where then suppressed?",
                "PID 1 has no memory left; it uses its reserve.",
            ),
            (
                "memory available",
                "info",
                "suppressed?",
                "PID 1 has memory again.",
            ),
            (
                "events of pyinit were dropped",
                "warning",
                "events reason",
                "stdout was blocked for so long that events were dropped.",
            ),
            (
                "log lines were not delivered",
                "error",
                "lines",
                "At the end nobody read these lines.",
            ),
            (
                "structlog cannot be imported",
                "warning",
                "error",
                "pyinit writes its events without structlog.",
            ),
        ),
    ),
)

FIELDS = {
    "address": "address as in the file: `127.0.0.1:3000`, `unix:/run/app.sock`",
    "advice": "what to write in the file",
    "after": "seconds since the start of the worker",
    "app": "name of the app",
    "apps": "names of the apps that a command is for",
    "because": "reason, a sentence",
    "bus_error": "`BUSERROR=` of the worker",
    "but_on": "addresses on which workers do listen",
    "by": "what made it so: `accept`, `notify`, `node`, `rest`, …; what asked for a run; the"
    " signal that is sent instead",
    "by_pid": "process that sent the command, by `SO_PEERCRED`",
    "by_uid": "its user",
    "call": "name of the system call",
    "command": "the command",
    "condition": "condition of `depends_on`",
    "core_dumped": "`true` if the process left a core",
    "count": "number of processes",
    "cpus": "number of CPUs that may be used",
    "delay": "seconds",
    "depends_on": "name of the app that was waited for",
    "drain_delay": "`shutdown.drain_delay`, seconds",
    "errno": "`ERRNO=` of the worker",
    "error": "the exception",
    "events": "number of events that were dropped; in a journal excerpt the events",
    "exit_code": "exit code",
    "exit_status": "`EXIT_STATUS=` of the worker",
    "expected": "`true` if pyinit had asked for it",
    "failing": "app that does not serve after an unstable exit",
    "failures": "failed checks in a row so far",
    "instance": "number of the instance, from 0",
    "instances": "number of instances; for a command, numbers by app",
    "kept": "what goes on running",
    "key": "key of the file",
    "kill_timeout": "`kill_timeout`, seconds",
    "last_exit": "how the last worker ended",
    "last_lines": "last lines of the worker on stderr",
    "lines": "number of lines",
    "listen_timeout": "the time that it had, seconds",
    "max_memory_restart": "the limit, bytes",
    "max_restarts": "`max_restarts` of the file",
    "memory": "bytes",
    "next_run": "time of the next run, RFC 3339",
    "not_counted": "ports on which the worker listens and to which no client comes",
    "note": "what to know besides",
    "of": "failed checks that make a worker unhealthy",
    "on_errored": "`on_errored` of the file",
    "oom_killed": "`true` if the kernel's OOM killer ended it",
    "order": "what was to be done",
    "part": "number of this part",
    "parts": "number of parts",
    "path": "path that has changed",
    "pid": "process id",
    "processes": "names and pids of some of them",
    "ready": "why it counts as ready",
    "reason": "reason, for people",
    "result": "`succeeded`, `failed` or `stopped`",
    "revision": "number of this version of the file",
    "rss": "memory of the worker, bytes",
    "running_for": "seconds since the run before has begun",
    "said": "what the check printed or answered",
    "signal": "name of the signal",
    "slots": "numbers of the slots",
    "source": "path of the file",
    "suppressed": "events of this kind that were left out before",
    "then": "what pyinit does now",
    "to": "wanted number of instances",
    "took": "seconds",
    "traceback": "Python's traceback",
    "unstable_exits": "unstable exits within the window",
    "uptime": "seconds",
    "waiting": "connections that wait",
    "was": "number before",
    "where": "part of pyinit",
    "workers": "number of workers",
}


def known() -> dict[str, tuple[set[str], set[str]]]:
    """For each event its levels, and its fields."""
    return {
        event: (set(levels.split()), {field.rstrip("?") for field in fields.split()})
        for _, group in EVENTS
        for event, levels, fields, _ in group
    }


def page() -> str:
    """The text of events.md."""
    parts = [HEAD]
    for title, group in EVENTS:
        parts.append(f"\n## {title}\n\n| event | level | fields | when |\n|---|---|---|---|\n")
        for event, levels, fields, meaning in group:
            level = ", ".join(levels.split())
            parts.append(f"| `{event}` | {level} | {_cell(fields)} | {meaning} |\n")
    parts.append("\n## Fields\n\n| field | meaning |\n|---|---|\n")
    parts.extend(f"| `{field}` | {FIELDS[field]} |\n" for field in sorted(FIELDS))
    return "".join(parts)


def _cell(fields: str) -> str:
    words = ["*worker*"] if fields.startswith(WORKER) else []
    rest = fields.removeprefix(WORKER).split()
    words += [f"(`{word[:-1]}`)" if word.endswith("?") else f"`{word}`" for word in rest]
    return ", ".join(words)
