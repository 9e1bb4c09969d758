"""Every key of the file: its type, meaning and default, in one table.

Validation, "did you mean", the JSON Schema and docs/reference/file.md all come from
here. PM2's keys, aliases and meanings are those of PM2 7's `lib/API/schema.json` and
`lib/Common.js`.
"""

from __future__ import annotations

from entrypoint.core.record import Record


class Key(Record):
    """One key. `kind` names a reader of read.py and a type of schema.py.

    `default` is what the documentation says; the value itself is that of core/spec.py.
    """

    name: str
    kind: str
    doc: str
    default: str = ""
    aliases: tuple[str, ...] = ()
    origin: str = "PM2"
    choices: tuple[str, ...] = ()


def _own(name: str, kind: str, doc: str, default: str = "", choices: tuple[str, ...] = ()) -> Key:
    return Key(name, kind, doc, default, origin="pyinit", choices=choices)


APP_KEYS: tuple[Key, ...] = (
    # -- what runs
    Key(
        "name",
        "name",
        "The app's name in logs, probes and commands. It is unique in the file.",
        "the script's name without its extension",
    ),
    Key(
        "script",
        "text",
        "What to run: a path, a command of `PATH` or of `node_modules/.bin`, or a whole command "
        "line. A command line that uses the shell's signs (`|`, `&&`, `$X`, `*`, …) is run by "
        "`bash -c`, or `sh -c` without bash.",
        "",
        ("exec", "cmd", "command"),
    ),
    Key("args", "words", "Arguments of the script: a list, or a text that is split as a shell's."),
    Key(
        "interpreter",
        "text",
        "The program that runs the script; `none` executes the script itself.",
        "by extension: .js .mjs .cjs node, .py python3, .sh bash, .rb ruby, .php php, .pl perl, "
        ".ts bun or node; else the script itself",
        ("exec_interpreter", "execInterpreter"),
    ),
    Key(
        "interpreter_args",
        "words",
        "Arguments of the interpreter, before the script.",
        "",
        ("node_args", "nodeArgs"),
    ),
    Key(
        "cwd",
        "text",
        "The folder to run in. A relative path begins at pyinit's own working directory.",
        "pyinit's working directory",
    ),
    Key(
        "env",
        "env",
        "Environment variables, on top of pyinit's own and those of `env_file`. Numbers keep their "
        "writing, objects become JSON.",
    ),
    _own(
        "env_file",
        "env_file",
        "Files of variables in Compose's `.env` syntax: a path, a list of paths, or of mappings. "
        "A relative path begins at the folder of this file. Later files win over earlier ones, "
        "and `env` wins over all of them.",
    ),
    _own(
        "env_from_file",
        "env_from_file",
        "Variables and the files that hold their values, such as `DB_PASSWORD: "
        "/run/secrets/db_password`. Line ends at the end of a file are left out.",
    ),
    _own(
        "expand_file_env",
        "names",
        "For each of these names: when `NAME_FILE` is set, `NAME` gets that file's content, as in "
        "the official images of databases. `true`: for every `NAME_FILE` that is an absolute path.",
        "false",
    ),
    Key(
        "filter_env",
        "filter_env",
        "Inherited variables to leave out: `true` for all, a name, or a list of parts of names.",
        "false",
    ),
    Key("port", "port", "Shortcut for `PORT` in `env`."),
    Key("append_env_to_name", "bool", "Append `-NAME` of `--env NAME` to the app's name.", "false"),
    Key(
        "uid",
        "user",
        "User to run as, by name or number; pyinit must be root. Sets `HOME`, `USER`, `LOGNAME`.",
        "pyinit's user",
        ("user",),
    ),
    Key("gid", "group", "Group to run as, by name or number.", "the user's group", ("group",)),
    _own(
        "rlimits",
        "rlimits",
        "Limits of setrlimit(2) by name: `nofile: 65536`, `core: unlimited`, `nofile: 1024:65536` "
        "or `{soft: 1024, hard: 65536}`; sizes may have a unit (`memlock: 64M`). Raising a hard "
        "limit needs CAP_SYS_RESOURCE.",
        "those of pyinit",
    ),
    _own("umask", "umask", "Permissions that new files do not get, octal: `0027`.", "pyinit's"),
    _own(
        "nice",
        "nice",
        "Added to the priority: from -20 (first) to 19 (last); below 0 needs CAP_SYS_NICE.",
        "0",
    ),
    _own(
        "oom_score_adj",
        "oom_score_adj",
        "What the kernel adds to the score of a process when it chooses one to kill for memory: "
        "-1000 to 1000; below pyinit's own needs CAP_SYS_RESOURCE.",
        "above pyinit's, at most by 100, so that a worker is killed before PID 1",
    ),
    _own(
        "stdin",
        "choice",
        "`null`: /dev/null, reading ends at once. `open`: nothing ever comes and reading does not "
        "end, for programs that stop at the end of their input.",
        "null",
        ("null", "open"),
    ),
    _own(
        "tty",
        "bool",
        "A pseudo terminal for each worker, for colours, prompts and line-wise output. stdout and "
        "stderr are one then. At a terminal its size is passed on, and its keys go to the first "
        "such worker of the file.",
        "false",
    ),
    _own(
        "before_start",
        "commands",
        "Commands that run before each start of a worker, one after the other, with its user, "
        "folder, environment and output: a text, or a list of texts. When one fails, the start "
        "has failed. The sockets of the app are not passed to them.",
    ),
    _own(
        "before_start_timeout",
        "time",
        "The longest that `before_start` may take in all; `listen_timeout` begins after it. "
        "0: no bound.",
        "60s",
    ),
    _own(
        "after_stop",
        "commands",
        "Commands that run after each worker has ended, however it did, for at most "
        "`kill_timeout`. These variables tell how: `SERVICE_RESULT`, `EXIT_CODE` and "
        "`EXIT_STATUS`, as systemd's ExecStopPost.",
    ),
    Key("namespace", "text", "A label for a group of apps.", "default"),
    # -- how many
    Key(
        "exec_mode",
        "choice",
        "`cluster`: the workers share the app's ports. `fork`: each is on its own.",
        "cluster when `instances` is given and node runs the script, else fork",
        choices=("fork", "cluster", "fork_mode", "cluster_mode"),
    ),
    Key(
        "instances",
        "instances",
        "Number of workers; `max` or 0: as many as the container has CPUs (the cgroup's limit "
        "and the affinity mask), also when the limit changes; -1: one less.",
        "1",
    ),
    Key(
        "instance_var",
        "variable",
        "Variable that holds the instance number, from 0. In a reload the old and the new worker "
        "have the same one; `{slot}` and `PYINIT_SLOT` differ.",
        "NODE_APP_INSTANCE",
    ),
    Key(
        "increment_var",
        "variable",
        "Variable that grows by one with each worker, from its value in `env`.",
    ),
    # -- restarts
    Key("autostart", "bool", "Start the app at boot; else `pyinit start` starts it.", "true"),
    Key("autorestart", "bool", "Restart a worker that ends.", "true; false with `main`"),
    _own(
        "main",
        "bool",
        "The container ends when this app has finished, with its exit code; the other apps are "
        "stopped first. Implies `autorestart: false` unless that is written.",
        "false",
    ),
    Key(
        "max_restarts",
        "count",
        "More unstable exits than this, within a window that slides with time, make the app "
        "`errored`. Unstable: sooner than `min_uptime`, or before the worker was ready. Stable "
        "exits in between do not end the count. Those without one in between count however far "
        "apart.",
        "16",
    ),
    Key(
        "min_uptime",
        "time",
        "A worker that lives this long was stable.",
        "1000, and learned: crashes that follow one another count too, each within 30 s of its "
        "start and after about the same time",
    ),
    Key("restart_delay", "time", "Wait before a restart.", "0"),
    Key(
        "exp_backoff_restart_delay",
        "time",
        "Back-off of restarts: the first is at once, the second waits this long, each next one "
        "half as long again, up to 15 s. After 30 s of uptime it begins anew.",
        "0: off",
    ),
    Key("stop_exit_codes", "codes", "Exit codes after which a worker is not restarted."),
    Key(
        "max_memory_restart",
        "memory_limit",
        "Replace a worker that holds more than this with all its children; cluster apps: rolling. "
        "`auto`: its share of the container's limit, also when that changes.",
        "0: no limit",
    ),
    _own(
        "memory",
        "choice",
        "`auto`: at its start each worker is given its share of the container in the words of its "
        "runtime (NODE_OPTIONS, GOMEMLIMIT, JAVA_TOOL_OPTIONS, OMP_NUM_THREADS, GOMAXPROCS), where "
        "nothing else is said there.",
        "off",
        ("off", "auto"),
    ),
    Key(
        "cron_restart",
        "cron",
        "Times in the zone of `TZ`: a cron pattern of 5 fields, or 6 with seconds first; 0 is off. "
        "With `autorestart: false` each time is a run of a job, which does not end the container; "
        "else the app is restarted at them (cluster apps: reloaded). With `autostart: false` it "
        "does not start at boot, but at its first time (docs/how-to/jobs.md).",
        "",
        ("cron",),
    ),
    _own(
        "overlap",
        "choice",
        "What a time of `cron_restart` means while the run before is still going on: `skip` leaves "
        "it out, `wait` begins another run at its end, `kill` replaces it.",
        "kill for an app that is kept running, has listened or said that it is ready; else skip",
        ("skip", "wait", "kill"),
    ),
    # -- files watched
    Key(
        "watch",
        "watch",
        "Restart (cluster apps: reload) when files change: `true` for `cwd`, or paths.",
        "false",
    ),
    Key(
        "ignore_watch",
        "strings",
        "Paths, globs and `/expressions/` not watched (docs/how-to/develop-with-watch.md).",
        "names that begin with a dot, and node_modules",
    ),
    Key("watch_delay", "time", "Wait until nothing has changed for so long.", "0"),
    # -- readiness and stops
    Key(
        "wait_ready",
        "bool",
        "A worker is ready when it says so: `process.send('ready')`, or `READY=1` by sd_notify(3).",
        "false",
    ),
    Key(
        "listen_timeout",
        "time",
        "The longest wait for readiness; 0 is the default. Starts after the first one get at "
        "least three times what the slowest start of the app has taken.",
        "3000",
    ),
    Key(
        "kill_timeout",
        "time",
        "From the stop signal to SIGKILL; 0 is the default. (PM2's default is 1600, which "
        "`pyinit convert` writes out.)",
        "8000",
    ),
    Key(
        "shutdown_with_message",
        "bool",
        "Stop by `process.send('shutdown')` instead of a signal.",
        "false",
    ),
    Key(
        "treekill",
        "treekill",
        "What a stop ends beside the worker. `true`: its process group and all descendants, "
        "whatever their group or session. `all`: also those reparented before, such as daemons. "
        "`group`: the process group alone. `false`: nothing.",
        "true",
    ),
    Key("time", "bool", "Time stamps before the lines in `log.format: console`.", "false"),
    _own("multiline", "multiline", "`log.multiline` for this app.", "that of `log`"),
    # -- pyinit's own
    _own(
        "listen",
        "listen",
        "Addresses bound before any worker starts, one or a list: `5000` (all addresses, IPv6 "
        "and IPv4), `127.0.0.1:5000`, `[::]:5000`, `unix:/run/app.sock`, `unix:@abstract`, or "
        "a mapping with `address` and `name`, `backlog`, `mode`, `v6only`.",
        "in cluster mode: what the workers bind",
    ),
    _own(
        "share",
        "choice",
        "`slots`: a socket for each worker, steered. `generations`: one socket for the workers of "
        "a release, another for the next; for workers that answer one request at a time. `one`: "
        "one socket for all. `none`: nothing is shared.",
        "slots in cluster mode and with `listen`, else none",
        ("slots", "generations", "one", "none"),
    ),
    _own(
        "retire_delay",
        "time",
        "The least time that a worker which gets no more connections has to answer those it "
        "took, before its stop signal. Where requests in hand are not seen, it is all it has.",
        "until all is answered; 500 where that is not seen",
    ),
    _own(
        "drain",
        "time",
        "With `share: slots`: a worker that a reload has replaced lives on without new connections "
        "until its clients have closed theirs (WebSocket), or for so long. The reload does not "
        "wait for it. Of more than `instances` such workers the oldest is stopped.",
        "0",
    ),
    _own(
        "stall_timeout",
        "time",
        "A worker for which connections wait and that accepts none is stopped after so long. It "
        "gets no new connections after 5 s, and a replacement beside it after 10 s; `0`: it is "
        "never stopped for that.",
        "learned: a minute, or three times the longest such pause that a worker of the app came "
        "back from",
    ),
    _own(
        "handoff",
        "choice",
        "How workers get the sockets: `fds` (LISTEN_FDS), `intercept` (their own bind(2)), "
        "`node` (Node's cluster protocol), `auto`: all that apply, `none`.",
        "auto",
        ("auto", "fds", "intercept", "node", "none"),
    ),
    _own(
        "ipc",
        "bool",
        "Give a Node program the channel of a Node child process in fork mode too: `process.send`, "
        "`process.on('message')`, `process.connected`.",
        "false; true in PM2's formats",
    ),
    _own(
        "pm2_env",
        "bool",
        "Set the variables that programs under PM2 read: `pm_id`, `name`, `exec_mode`, "
        "`PM2_HOME` and others (docs/reference/pm2.md).",
        "false; true in PM2's formats",
    ),
    _own(
        "placeholders",
        "bool",
        "Replace `{port}`, `{fd}`, `{instance}` and `{slot}` in `script`, `args` and `env`.",
        "true; false in PM2's formats",
    ),
    _own(
        "source_maps",
        "bool",
        "Add `--enable-source-maps` to `NODE_OPTIONS` of a Node script.",
        "false; true in PM2's formats",
    ),
    _own(
        "kill_signal",
        "signal",
        "Signal of a stop, by name or number.",
        "the signal that pyinit received; SIGTERM for stops that pyinit begins",
    ),
    _own(
        "on_listen_timeout",
        "choice",
        "What happens to a worker that is not ready in time. `abort`: its start has failed. "
        "`force`: it is waited for; of an app that never says READY=1 a worker is then ready "
        "when it accepts connections. `auto`: `force` for the first start of an instance, "
        "`abort` later. The new worker of a reload that is not ready in time ends the reload in "
        "any case.",
        "auto",
        ("auto", "force", "abort"),
    ),
    _own(
        "health",
        "health",
        "An active check of each worker: it is ready with the first success, and replaced when "
        "checks fail.",
    ),
    _own(
        "watchdog",
        "time",
        "A worker must say `WATCHDOG=1` by sd_notify(3) at least so often once it is ready, else "
        "it is ended (SIGABRT, then SIGKILL) and started again. Its environment has "
        "`WATCHDOG_USEC`.",
        "0: none",
    ),
    _own(
        "depends_on",
        "depends",
        "Apps to wait for: a list of names, or a mapping of names to a condition.",
    ),
    _own(
        "on_errored",
        "choice",
        "When the app is `errored`: `exit` ends the container, `keep` goes on without it, `wait` "
        "does so after a change of its files (`watch`): the next change starts it again.",
        "exit; with `watch` it is wait, at a terminal keep",
        ("exit", "keep", "wait"),
    ),
    _own("reload_parallel", "positive", "Workers replaced at a time in a reload.", "1"),
    _own(
        "min_ready",
        "time",
        "How long the first new worker of a reload has to live, after it has accepted a "
        "connection, before an old worker is stopped.",
        "twice the time that the old worker took from listen(2) to its first accept, at most 30 s; "
        "0 for `watch`",
    ),
    _own(
        "relay",
        "bool",
        "Relay connections that wait for a crashed worker to its siblings, also those of other "
        "hosts: workers then see an address of this host instead of the client's.",
        "false",
    ),
)

RLIMIT_KEYS: tuple[Key, ...] = (
    _own("soft", "rlimit", "What counts; the program may raise it to `hard`.", "hard"),
    _own("hard", "rlimit", "The most.", "soft"),
)

LISTEN_KEYS: tuple[Key, ...] = (
    _own("address", "address", "The address, as above. Required."),
    _own("name", "text", "Its name in `LISTEN_FDNAMES`."),
    _own("backlog", "positive", "Connections that may wait, listen(2).", "4096"),
    _own("mode", "mode", "Permissions of a unix socket, octal: `0660`."),
    _own("v6only", "bool", "`[::]` without IPv4.", "false"),
    _own("optional", "bool", "Workers are ready without it.", "false"),
)

ENV_FILE_KEYS: tuple[Key, ...] = (
    _own("path", "text", "The file. Required."),
    _own("required", "bool", "Whether it must be there.", "true"),
    _own(
        "format",
        "choice",
        "`env`: Compose's syntax. `raw`: what follows `=` is the value, as for "
        "`docker run --env-file`.",
        "env",
        ("env", "raw"),
    ),
)

HEALTH_KEYS: tuple[Key, ...] = (
    _own("http", "text", "A path on the app's first address, or a URL: good from 200 to 399."),
    _own("tcp", "text", "An address that must take a connection."),
    _own("exec", "words", "A command that must exit with 0."),
    _own("interval", "time", "Between two checks.", "10s"),
    _own("timeout", "time", "The longest a check may take.", "3s"),
    _own("failures", "positive", "Failures in a row that make a worker sick.", "3"),
    _own("start_period", "time", "Failures do not count so long after the start.", "0"),
)

DEPENDS_CONDITIONS = (
    "service_started",
    "service_healthy",
    "service_completed_successfully",
)

DEPENDS_KEYS: tuple[Key, ...] = (
    _own("condition", "choice", "What to wait for.", "service_started", DEPENDS_CONDITIONS),
)

PROBES_KEYS: tuple[Key, ...] = (
    _own("listen", "listen", "Addresses of /livez, /readyz, /startupz, /status, /metrics and /."),
    _own(
        "ready_when",
        "ready_when",
        "Workers of an app that make it ready: `auto` (all once, then any), `all`, `any`, a "
        "number, or a percentage.",
        "auto",
    ),
    _own("metrics", "bool", "Answer /metrics there.", "true"),
    _own("page", "bool", "Answer / there: a page for people, which can change nothing.", "true"),
)

LOG_KEYS: tuple[Key, ...] = (
    _own(
        "format",
        "choice",
        "`json`, `console` (for people), `raw` (workers have the real stdout), `auto`: console on "
        "a terminal, else json.",
        "json",
        ("json", "console", "raw", "auto"),
    ),
    _own(
        "level",
        "choice",
        "The least level of pyinit's own events.",
        "info",
        ("debug", "info", "warning", "error"),
    ),
    _own(
        "keys",
        "log_keys",
        "What the keys of records are called: a preset for a log service, or a mapping.",
        "default",
        ("default", "gcp", "ecs", "datadog", "otel"),
    ),
    _own(
        "multiline",
        "multiline",
        "Keep lines together that are one record: `true` (tracebacks, indented lines), or "
        "`start`, a regular expression for what a record begins with.",
        "false",
    ),
)

MULTILINE_KEYS: tuple[Key, ...] = (
    _own("start", "text", "What a record begins with: a regular expression of Python's `re`."),
)

LOG_NAME_KEYS: tuple[Key, ...] = (
    _own(
        "preset",
        "choice",
        "What the keys that are not named here are called.",
        "default",
        ("default", "gcp", "ecs", "datadog", "otel"),
    ),
    *(
        _own(name, "text", f"The key of {doc}.", name)
        for name, doc in (
            ("timestamp", "the time"),
            ("level", "the level"),
            ("event", "the text"),
            ("app", "the app's name"),
            ("instance", "the worker's number in its app"),
            ("pid", "the worker's pid"),
            ("stream", "the stream"),
        )
    ),
)

CONTROL_KEYS: tuple[Key, ...] = (
    _own("enabled", "bool", "Open the socket for `pyinit ls`, `reload` and so on.", "true"),
    _own("path", "text", "Where it is.", "the first place that can be written"),
)

SHUTDOWN_KEYS: tuple[Key, ...] = (
    _own(
        "drain_delay",
        "time",
        "How long pyinit is unready and still serves before it stops the workers, so that load "
        "balancers notice.",
        "0",
    ),
    _own(
        "timeout",
        "time",
        "Bound of the whole shutdown, the last log lines included: SIGKILL comes a tenth of it "
        "before its end, 500 ms at most.",
        "0: each app's kill_timeout",
    ),
    _own(
        "grace",
        "time",
        "The grace that the orchestrator gives (docker stop: 10s, Kubernetes: 30s). Other times "
        "are cut to fit, with a warning: 1 s is kept for the last log lines, the drain gets at "
        "most half of the rest, and the `kill_timeout` of all apps what is left.",
        "`PYINIT_GRACE`, else 0: not known",
    ),
    _own(
        "signals",
        "signals",
        "Signals that stop the container, beside SIGTERM, SIGINT and SIGQUIT, one or a list: the "
        "`STOPSIGNAL` of the image (`docker inspect`), such as SIGUSR1 of haproxy. Better: "
        "`STOPSIGNAL SIGTERM` in the Dockerfile. SIGWINCH (httpd, php:apache) is a stop anyway "
        "where PID 1 has no terminal.",
    ),
    _own(
        "notify",
        "notify",
        "Tells workers that the drain begins, so that a server answers with `Connection: close`: a "
        "signal such as SIGUSR2, sent to those of their processes that have a handler for it, or "
        "`message`: `process.on('message')` of Node gets `drain`.",
    ),
)

TOP_KEYS: tuple[Key, ...] = (
    Key("apps", "apps", "The apps: a list of mappings, or one.", "", ("pm2",)),
    _own(
        "include",
        "strings",
        "Other files whose apps are run as well, a path or a list; `apps.d/*.yaml` means all that "
        "are like it. A relative path begins at the folder of this file. They may have other keys "
        "of the top level, each one given once in all files.",
    ),
    _own("probes", "probes", "The HTTP server for an orchestrator's probes."),
    _own("log", "log", "How lines are written to stdout."),
    _own("control", "control", "The socket of `pyinit ls`, `reload` and so on."),
    _own("shutdown", "shutdown", "How the container ends."),
    _own("watch_config", "bool", "Read this file again when it changes.", "false"),
    _own(
        "pyinit",
        "version",
        "`1`: a JSON or `.config.js` file is read by the rules of this page, not by PM2's.",
    ),
)

# PM2's keys that mean nothing in a container, and why.
_FILES = "worker lines go to stdout, one record a line (see `log`)"
_MONITOR = "PM2's own monitoring is not part of pyinit"
_CLI = "it concerns PM2's own command line"
IGNORED_APP_KEYS: dict[str, str] = {
    **dict.fromkeys(("out_file", "out", "output", "out_log"), _FILES),
    **dict.fromkeys(("error_file", "error", "err", "err_file", "err_log"), _FILES),
    **dict.fromkeys(("log_file", "log", "disable_logs", "merge_logs", "combine_logs"), _FILES),
    **dict.fromkeys(("log_type", "log_date_format"), "use the top level's `log`"),
    **dict.fromkeys(("pid_file", "pid"), "`pyinit ls` shows the pids"),
    **dict.fromkeys(("name_prefix", "install_url", "force", "write", "username"), _CLI),
    **dict.fromkeys(("post_update", "vizion"), "a container image is not updated in place"),
    **dict.fromkeys(
        ("trace", "disable_trace", "v8", "event_loop_inspector", "deep_monitoring"), _MONITOR
    ),
    **dict.fromkeys(("pmx", "automation", "io"), _MONITOR),
    **dict.fromkeys(
        ("source_map_support", "disable_source_map_support"),
        "pyinit loads no code into the app; use `node_args: --enable-source-maps`",
    ),
    "execute_command": "a command line is recognised by itself",
    "windowsHide": "there is no Windows here",
    "kill_retry_time": "the kernel notifies pyinit when a process ends",
    "watch_options": "use `ignore_watch` and `watch_delay`",
}
IGNORED_TOP_KEYS: dict[str, str] = {
    "deploy": "a container is deployed by its orchestrator",
}


def camel(name: str) -> str:
    """`max_memory_restart` as PM2 takes it too: `maxMemoryRestart`."""
    first, *others = name.split("_")
    return first + "".join(part[:1].upper() + part[1:] for part in others)


def by_spelling(keys: tuple[Key, ...]) -> dict[str, Key]:
    """Each accepted spelling and its key."""
    found = {}
    for key in keys:
        found[key.name] = key
        for alias in key.aliases:
            found[alias] = key
        if key.origin == "PM2":
            found.setdefault(camel(key.name), key)
    return found
