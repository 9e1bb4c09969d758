"""The numbered findings of `pyinit check`, and the page of each (`pyinit explain`).

A finding is a case in which a PM2 file behaves differently than under PM2, or contains something
that PM2 accepts and ignores. Errors of the syntax and of pyinit's own keys have no
number: their sentence says what to write.
"""

from __future__ import annotations

from entrypoint.core.record import Record


class Page(Record):
    """What `pyinit explain CODE` prints: what PM2 does, what pyinit does, what to do."""

    code: str
    title: str
    pm2: str
    pyinit: str
    advice: str


UNKNOWN_KEY = "PM2-001"
FILES_OF_LOGS = "PM2-002"
LOG_FORMAT = "PM2-003"
MONITORING = "PM2-004"
COMMAND_LINE_KEY = "PM2-005"
WATCH_OPTIONS = "PM2-006"
NO_CONTAINER_MEANING = "PM2-007"
ENV_FILE = "PM2-008"
REFUSED_VALUE = "PM2-009"
ARGS_DROPPED = "PM2-010"
OPTION_IN_ENV = "PM2-011"
NO_OPTION_IN_ENV = "PM2-012"
HARD_ON_SIGINT = "PM2-013"
SERVE = "PM2-014"
SAME_NAME = "PM2-015"
TWO_SPELLINGS = "PM2-016"
SHEBANG = "PM2-017"
NO_ENV_NAME = "PM2-018"
WATCH_GLOB = "PM2-019"
KILL_TIMEOUT = "PM2-020"
INSTANCES = "PM2-021"
CLUSTER_OF_OTHERS = "PM2-022"
TOP_LEVEL_KEY = "PM2-023"
DEPLOY = "PM2-024"
KILL_SIGNAL_VARIABLE = "PM2-025"
WAIT_READY_UNSEEN = "PM2-026"
NATIVE_SIGNAL = "YAML-001"
CONVERTED_VARIABLE = "CONVERT-001"
CONVERTED_VALUE = "CONVERT-002"
CONVERTED_LITERAL = "CONVERT-003"
CONVERTED_DIFFERENCE = "CONVERT-004"
IMPORTED = "CONVERT-005"

PAGES: tuple[Page, ...] = (
    Page(
        UNKNOWN_KEY,
        "a key that PM2 does not know",
        "PM2 drops keys of an app that are not in its schema, without a word. "
        "`health_check_grace_period`, `monitoring` and `description` are in many files and have "
        "never had an effect; others are misspelt (`max_memory_restarts`).",
        "The key is ignored as well, with this warning, and the name of the key that may be meant.",
        "Correct the spelling, or delete the line.",
    ),
    Page(
        FILES_OF_LOGS,
        "the app's output is not written to files",
        "PM2 writes the app's output to `out_file`, `error_file` and `log_file`, below "
        "`~/.pm2/logs` by default.",
        "Every line goes to stdout of the container, one record a line, where the container "
        "runtime collects it. `/dev/null` in these keys does not silence an app.",
        "Delete the key and read the log with `docker logs` or `pyinit logs APP`. A program that "
        "must write a file can open it by itself.",
    ),
    Page(
        LOG_FORMAT,
        "the form of log lines is set for all apps",
        "`log_type: json` and `log_date_format` change the lines of one app.",
        "The top level's `log` says how all lines are written; `time: true` of an app adds the "
        "time in `log.format: console`.",
        "Set `log: {format: json}` (the default), `console` or `raw`.",
    ),
    Page(
        MONITORING,
        "PM2's monitoring is not part of pyinit",
        "`trace`, `pmx`, `io`, `deep_monitoring` and others load PM2's modules into the program "
        "and report to pm2.io.",
        "Nothing is loaded into the program. `/metrics` gives restarts, memory, CPU and queues "
        "to Prometheus.",
        "Delete the key; write `probes: 9400` and scrape /metrics there.",
    ),
    Page(
        COMMAND_LINE_KEY,
        "the key concerns PM2's command line",
        "`force`, `write`, `name_prefix`, `install_url` and `username` are options of "
        "`pm2 start` that may stand in a file.",
        "They have no effect.",
        "Delete the key.",
    ),
    Page(
        WATCH_OPTIONS,
        "options of PM2's file watcher",
        "`watch_options` is passed to chokidar: `followSymlinks`, `usePolling` and others.",
        "pyinit watches by inotify(7): links are followed to files, editors' ways to save are "
        "seen, and nothing is polled.",
        "Use `ignore_watch` and `watch_delay`. On a file system without inotify events (some "
        "network mounts) `watch` cannot work.",
    ),
    Page(
        NO_CONTAINER_MEANING,
        "a key without a meaning in a container",
        "`pid_file`, `vizion`, `post_update`, `windowsHide`, `kill_retry_time` concern the "
        "machine that PM2 runs on.",
        "They have no effect.",
        "Delete the key. `pyinit ls` shows the pids.",
    ),
    Page(
        ENV_FILE,
        "`env_file` is not read",
        "PM2 knows no `env_file`: it takes the key for the variables of `--env file` and reads "
        "nothing. The program finds the variables only if it reads the file itself.",
        "The file is not read either, so that the program gets the variables it gets today.",
        "For variables out of a file convert the file to YAML (`pyinit convert`) and write "
        "`env_file` there, or use `node_args: --env-file=.env`.",
    ),
    Page(
        REFUSED_VALUE,
        "a value that PM2 refuses",
        "PM2 checks types and patterns of its keys (`autorestart: 'true'`, "
        "`max_memory_restart: '300MB'`) and starts no app of the file when one is wrong.",
        "The value is taken for what it evidently means, or ignored where it means nothing.",
        "Write the value as the finding says, so that the file works in both.",
    ),
    Page(
        ARGS_DROPPED,
        "`args` beside a command line are ignored",
        "A `script` with a blank in it becomes `bash -c SCRIPT`, which replaces `args`.",
        "`args` are ignored as well.",
        "Write the arguments into `script`, or name only the program there.",
    ),
    Page(
        OPTION_IN_ENV,
        "an option inside `env` or `env_NAME`",
        "PM2 lays the variables of the environment over the app's options, so `args`, "
        "`node_args` (as a list), `kill_timeout` and others in there are options. `args` as a "
        "text is one argument, not split.",
        "The same; each is a variable as well, as under PM2.",
        "If it is meant as a variable only, rename it.",
    ),
    Page(
        NO_OPTION_IN_ENV,
        "an option inside `env_NAME` that has no effect there",
        "`instances`, `script`, `cwd`, `interpreter`, `increment_var` and a `node_args` that is a "
        "text are read before the variables of `--env NAME` are laid over the app, or not at all.",
        "They are variables only, as under PM2.",
        "Move the key to the app, and use a file for each environment or "
        "`process.env` in the `.config.js` where it must differ.",
    ),
    Page(
        HARD_ON_SIGINT,
        "the program ends at once on SIGINT",
        "PM2 stops every app with SIGINT. gunicorn, nginx, php-fpm, uWSGI, httpd and Laravel's "
        "workers end at once on it: requests and jobs in hand are lost. `pm2 stop` and "
        "`docker stop` do the same.",
        "SIGINT is sent too, unless the app has a `kill_signal`.",
        "Add `kill_signal: 'SIGTERM'` (gunicorn, queue:work) or `'SIGQUIT'` (nginx, php-fpm, "
        "uWSGI); PM2 ignores the key.",
    ),
    Page(
        SERVE,
        "PM2's built-in static server",
        "`script: 'serve'` and `static` run a small server of PM2's own, set by PM2_SERVE_PATH, "
        "PM2_SERVE_PORT, PM2_SERVE_HOST, PM2_SERVE_SPA and others.",
        "pyinit serves no files itself. npm's `serve` is started with the same folder, address "
        "and SPA mode, where it is installed. It lists folders, redirects `/page.html` to "
        "`/page`, and has no password.",
        "Install it (`npm install serve`) and write the app as "
        "`script: 'node_modules/.bin/serve', args: '-s build -l 8080'`, or let nginx or caddy "
        "serve the folder.",
    ),
    Page(
        SAME_NAME,
        "two apps have the same name",
        "Both run; commands by that name act on both.",
        "Names are unique, for the log, probes and commands: the later app gets a number, "
        "`api-2`. The variable `name` stays as in the file.",
        "Give each app its own `name`.",
    ),
    Page(
        TWO_SPELLINGS,
        "a key in two spellings",
        "PM2 takes the first one that is not empty: the key's own name, then its aliases.",
        "The same.",
        "Keep one of them.",
    ),
    Page(
        SHEBANG,
        "a script with a `#!` line that names no node",
        "PM2 runs every text file without a known extension by node, whatever its first line "
        "says: a shell script ends with a SyntaxError.",
        "The file is executed, so its `#!` line counts.",
        "Nothing, or name the `interpreter`, which works in both.",
    ),
    Page(
        NO_ENV_NAME,
        "`--env NAME` and no `env_NAME`",
        "PM2 warns and starts the apps without additional variables.",
        "The same.",
        "Correct the name, or add `env_NAME` to the app.",
    ),
    Page(
        WATCH_GLOB,
        "a pattern in `watch`",
        "PM2 watches the files that match the pattern.",
        "`watch` takes names of files and folders; a pattern is a name that never appears.",
        "Name the folder in `watch`, and what is not to be watched in `ignore_watch`.",
    ),
    Page(
        KILL_TIMEOUT,
        "more time between the stop signal and SIGKILL",
        "Without `kill_timeout` PM2 kills an app 1.6 s after the signal.",
        "Without `kill_timeout` an app has 8 s, which fits into the 10 s of `docker stop`; "
        "requests that take longer than 1.6 s are answered. `pyinit convert` writes 1600.",
        "Set `kill_timeout` to the time that the longest request may take.",
    ),
    Page(
        INSTANCES,
        "`instances` by the container's CPUs",
        "`max`, `0`, `auto` and an empty text mean the CPUs of the host, whatever limit the "
        "container has (`docker run --cpus 2`).",
        "They mean the CPUs that the container may use: the cgroup's limit and the affinity mask.",
        "Nothing; write a number where it must not depend on the machine.",
    ),
    Page(
        CLUSTER_OF_OTHERS,
        "cluster mode for a program that node does not run",
        "PM2 loads the file into node as JavaScript, which fails for anything else.",
        "Cluster mode works for any program: its workers share the port that they bind.",
        "Nothing, if the program serves a port. Else use `exec_mode: 'fork'`.",
    ),
    Page(
        TOP_LEVEL_KEY,
        "a top-level key that PM2 does not know",
        "PM2 reads `apps` (or `pm2`), `static` and `deploy` and drops the others.",
        "The key is ignored, unless it is one of pyinit's own (`probes`, `log`, `shutdown`, …).",
        "Delete it. For a file by pyinit's rules add `pyinit: 1`.",
    ),
    Page(
        DEPLOY,
        "`deploy` is not used",
        "`pm2 deploy` copies the project to machines. With `--env NAME` the variables of "
        "`deploy.NAME.env` are given to every app.",
        "Of `deploy` only these variables are used. A container is deployed by its orchestrator.",
        "Nothing.",
    ),
    Page(
        KILL_SIGNAL_VARIABLE,
        "PM2_KILL_SIGNAL is not a signal",
        "PM2 fails to stop its apps.",
        "SIGINT is used.",
        "Set PM2_KILL_SIGNAL to the name of a signal, such as SIGTERM.",
    ),
    Page(
        WAIT_READY_UNSEEN,
        "`wait_ready` and a program that cannot say it",
        "npm, npx and yarn start the program without the IPC channel, so `process.send` does not "
        "exist in it; PM2 goes on after `listen_timeout`.",
        "The same, with a warning in the log each time. `READY=1` to NOTIFY_SOCKET counts too.",
        "Start the program itself: `script: 'dist/main.js'` in place of `npm start`.",
    ),
    Page(
        NATIVE_SIGNAL,
        "a Node program in YAML is stopped with SIGTERM",
        "PM2 stops every app with SIGINT, and its documentation teaches `process.on('SIGINT')`.",
        "In a YAML file an app without `kill_signal` gets the signal that pyinit received, "
        "SIGTERM from `docker stop` and Kubernetes.",
        "If the program handles SIGINT only, add `kill_signal: SIGINT`; if it handles SIGTERM, "
        "write that, and this note ends.",
    ),
    Page(
        CONVERTED_VARIABLE,
        "a value of the environment is written as a reference",
        "The `.config.js` reads `process.env` when it is evaluated.",
        "`pyinit convert` writes `${NAME}`, never the value that this machine has, and YAML "
        "replaces it where the container starts.",
        "Set the variable in the container, or write `${NAME:-default}`.",
    ),
    Page(
        CONVERTED_VALUE,
        "a value depends on the environment of this machine",
        "The `.config.js` computes it from `process.env`.",
        "YAML cannot compute it: `pyinit convert` writes what came out here, or leaves it out "
        "when it may be a secret.",
        "Check the line; write `${NAME}` where the container's value is meant.",
    ),
    Page(
        CONVERTED_LITERAL,
        "the file holds something that looks like a secret",
        "It is written out in the file.",
        "The value is not written a second time; `${NAME}` stands in its place, so pyinit does "
        "not start without it.",
        "Give the variable to the container (a secret of the orchestrator), or read it with "
        "`env_from_file`.",
    ),
    Page(
        CONVERTED_DIFFERENCE,
        "something that cannot be converted",
        "See the finding.",
        "It is left out, or written as near as YAML allows; a comment in the YAML says where.",
        "See the finding.",
    ),
    Page(
        IMPORTED,
        "a line of another supervisor's file that is not taken",
        "It sets something that pyinit has not, does otherwise, or leaves to the container.",
        "The line is left out, or taken as near as pyinit's keys allow.",
        "See the finding: it says what does the work here.",
    ),
)

BY_CODE: dict[str, Page] = {page.code: page for page in PAGES}


def rendered(page: Page) -> str:
    """The page as text for a terminal."""
    import textwrap

    def paragraph(head: str, text: str) -> str:
        filled = textwrap.fill(text, 76, initial_indent="  ", subsequent_indent="  ")
        return f"{head}\n{filled}"

    parts = [f"{page.code}: {page.title}"]
    first = "PM2" if page.code.startswith(("PM2", "YAML")) else "The file"
    parts.append(paragraph(first, page.pm2))
    parts.append(paragraph("pyinit", page.pyinit))
    parts.append(paragraph("What to do", page.advice))
    return "\n\n".join(parts) + "\n"
