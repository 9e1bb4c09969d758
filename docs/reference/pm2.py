"""The text of pm2.md and findings.md, from the tables in the code and the rows here.

Behaviour is written by hand; keys, options and commands come from the code. Tests compare
the rows with PM2's own schema and command line (tests/pm2/test_tables.py).
"""

from __future__ import annotations

from entrypoint.client import pm2_command_line, pm2_names
from entrypoint.config import findings, keys
from entrypoint.config.pm2 import schema
from entrypoint.shell import pm2_env

SAME = "the same"

# Keys that mean nearly the same; the others of PM2's schema that are taken mean the same.
DIFFERENT_KEYS = {
    "instances": "`max`, 0 and below: the CPUs of the container, not of the host (PM2-021)",
    "exec_mode": "`cluster` works for programs in any language (PM2-022)",
    "kill_timeout": "without the key 8000, PM2 1600 (PM2-020)",
    "max_memory_restart": "looked at within 2 s, PM2 every 30 s; children count too",
    "max_restarts": "counts in a window that slides; PM2 counts only in the first "
    "`min_uptime` × `max_restarts` ms of the app's life",
    "min_uptime": "see `max_restarts`",
    "watch": "cluster apps reload instead of restarting; folders and files, no patterns (PM2-019)",
    "cron_restart": "cluster apps reload instead of restarting; `?` is `*`, in PM2 the time of "
    "its start; `@daily` and its kind, `L` and `#` are taken too",
    "treekill": "`true`: the process group and what left it; PM2 looks at parents once",
    "uid": "the supplementary groups are the user's; PM2 leaves root's",
    "gid": "see `uid`",
    "shutdown_with_message": "programs that node does not run get the signal",
    "listen_timeout": "a reload to a version that never gets ready keeps the old workers "
    "(`on_listen_timeout`); PM2 ends them",
    "source_map_support": "on unless `disable_source_map_support`, by `NODE_OPTIONS`, which "
    "children inherit",
    "disable_source_map_support": "see `source_map_support`",
    "time": "adds times in `log.format: console`; JSON records have them always",
}
# What PM2's schema does not list.
MORE_KEYS = (
    ("`env_NAME`", SAME, "options among the variables are applied (PM2-011, PM2-012)"),
    ("`deploy.NAME.env`", SAME, "variables of every app with `--env NAME`; the rest: PM2-024"),
    ("`static`", "different", "npm's `serve` (PM2-014)"),
    ("unknown keys", SAME, "ignored, with a warning (PM2-001, PM2-023)"),
)

BEHAVIOUR = (
    ("stop signal", SAME, "SIGINT for every stop, `docker stop` too; `PM2_KILL_SIGNAL`"),
    ("SIGKILL after `kill_timeout`", SAME, ""),
    (
        "reload",
        "different",
        (
            "no connection is lost: pyinit holds the port, and each new worker is ready before "
            "its old one gets its stop signal. PM2 accepts for workers that leave"
        ),
    ),
    (
        "a reload to a broken version",
        "different",
        "is given up and keeps the old workers; PM2 replaces all and exits with 0",
    ),
    ("`process.env` changed by the file", SAME, "reaches all apps of the file"),
    ("`process.argv` in the file", SAME, "`pm2-runtime start FILE --env NAME`"),
    ("`process.send`, `process.on('message')`", SAME, "in fork and cluster mode"),
    ("`process.connected`, `disconnect`", SAME, ""),
    ("`require.main === module`", SAME, ""),
    (
        "`process.argv` of a worker",
        "different",
        (
            "`[node, script, …args]`. Under PM2 `argv[1]` is PM2's module, and in cluster mode the "
            "words of PM2's own command line follow"
        ),
    ),
    ("`process.execArgv`", SAME, "`node_args` and nothing else"),
    ("`process.title`", "different", "`node`; PM2 sets `node /path/of/script`"),
    ("source maps in stack traces", SAME, "by `NODE_OPTIONS`"),
    ("stdin", SAME, "open and silent in fork mode"),
    ("`{port}`, `${X}` in texts", SAME, "are literal"),
    ("splitting of `args`, `node_args`", SAME, ""),
    ("numbers in `env`", SAME, "as JavaScript writes them: `1.50` is `1.5`"),
    ("a `script` with blanks", "different", "needs no `bash -c` where no shell is needed"),
    ("a text file without an extension", "different", "its `#!` line counts (PM2-017)"),
    ("`uncaughtException` by PM2's modules", "not needed", "nothing is loaded into the program"),
    ("two apps of one name", "different", "the later one gets a number (PM2-015)"),
    ("an app whose script is missing", SAME, "nothing is started; exit code 2, PM2 0"),
    ("exit code of the container", "different", "the app's own; PM2's is 0, or 2 without apps"),
    (
        "all apps have ended or are errored",
        "different",
        "the container ends at once, an app with a `cron_restart` to come excepted; PM2 after 12 s",
    ),
    ("output", "different", "JSON records on stdout; `--raw` and `log.format` change it"),
    ("ids", SAME, "`pm_id` from 0 in the order of the file; PM2 starts two apps at a time"),
    ("restart after a crash", SAME, "`restart_delay`, `exp_backoff_restart_delay`: ×1.5 to 15 s"),
    ("zombies of orphans", "different", "are reaped; PM2 as process 1 reaps its own children only"),
    ("the host's limits", "different", "`instances: max` and memory by the container's cgroup"),
)

# PM2's variables that programs do not get, and why.
NO_VARIABLES = (
    ("`PM2_INTERACTOR_PROCESSING`, `_pm2_version`, `km_link`", "PM2's own state"),
    ("`pm_out_log_path`, `pm_err_log_path`, `pm_pid_path`", "there are no such files"),
    ("`unique_id`", "a new number with each start; `pm_id` and the container's host name are one"),
    ("`unstable_restarts`, `exit_code`, `version`", "state of PM2's at the moment of the start"),
    (
        "`autorestart`, `watch`, `treekill`, `vizion`, `pmx`, `automation`, `windowsHide`, …",
        (
            "the app's options, which PM2 repeats as variables by accident; programs with a "
            "setting of that name are hurt by it"
        ),
    ),
    ("`axm_*`, `node_version`, `username`, `merge_logs`", "internal"),
)
DYNAMIC = ("pm_id", "pm_uptime", "created_at", "restart_time", "status")


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    cells = ([cell.replace("|", "\\|") for cell in line] for line in lines)
    return "".join(f"| {' | '.join(line)} |\n" for line in cells)


def key_rows() -> list[tuple[str, ...]]:
    """A row for each key of PM2's schema."""
    rows: list[tuple[str, ...]] = []
    for key in sorted({*schema.TAKEN, *schema.IGNORED, *schema.HANDLED}):
        names = ", ".join(f"`{name}`" for name in (key, *schema.ALIASES.get(key, ())))
        if key in schema.IGNORED:
            code = schema.IGNORED[key]
            rows.append((names, "not needed", f"{keys.IGNORED_APP_KEYS[key]} ({code})"))
        elif key in DIFFERENT_KEYS:
            rows.append((names, "different", DIFFERENT_KEYS[key]))
        else:
            rows.append((names, SAME, ""))
    return [*rows, *MORE_KEYS]


def option_rows() -> list[tuple[str, ...]]:
    """A row for each option of `pm2-runtime` and `pm2 start`."""
    rows: dict[str, tuple[str, ...]] = {
        "--env": (SAME, "`env_NAME` of the apps"),
        "--only": (SAME, "names with commas"),
        "-c": (SAME, "beside a program a cron pattern; else a file"),
    }
    for option, (_, key) in pm2_command_line.OPTIONS.items():
        note = "counts for the apps of a file too" if key in pm2_command_line.OF_FILES else ""
        rows[option] = (SAME, note)
    rows["--raw"] = (SAME, "PM2's default; pyinit's is JSON records")
    rows["--json"] = (SAME, "the default")
    rows["--formatted"] = (SAME, "`log.format: console`")
    rows["--format"] = ("different", "`log.format: console`; there are no lines of key=value")
    rows["--no-auto-exit"] = ("different", "`on_errored: keep`; ends when all apps have finished")
    for option, (_, instead) in pm2_command_line.WITHOUT_EFFECT.items():
        rows[option] = ("not needed", instead)
    return [(f"`{option}`", *row) for option, row in sorted(rows.items())]


def command_rows() -> list[tuple[str, ...]]:
    """A row for each command of PM2."""
    rows: dict[str, tuple[str, ...]] = {
        "start": (SAME, "a file or a program: runs it; an app: starts it where pyinit runs"),
        "stop": (SAME, ""),
        "restart": (SAME, ""),
        "reload": (SAME, "loses no connection; `--config` reads the file again"),
        "scale": (SAME, ""),
        "logs": (SAME, "`-f` follows, which PM2 does unless `--nostream`"),
        "describe": (SAME, "without values of variables"),
        **dict.fromkeys(("serve", "expose"), ("different", "npm's `serve` (PM2-014)")),
        "ecosystem": (SAME, "writes `ecosystem.yaml`"),
        "create": ("not needed", "`pyinit ecosystem`"),
        "jlist": ("different", "the same form, without environments; `pyinit ls --json` says more"),
        "prettylist": ("different", "as `jlist`"),
        "ls": (SAME, ""),
        "ping": (SAME, ""),
        "pid": (SAME, ""),
        "id": (SAME, ""),
        "delete": ("different", "stops the app; what exists is in the file"),
        **dict.fromkeys(
            ("startOrRestart", "startOrReload", "startOrGracefulReload"),
            ("different", "runs the file; where pyinit runs: `pyinit reload --config`"),
        ),
    }
    for word, name in pm2_names.NAMES.items():
        if name.command:
            rows.setdefault(word, (SAME, f"`pyinit {name.command}`"))
        else:
            rows.setdefault(word, ("not needed" if name.fine else "different", name.answer))
    return [(f"`{word}`", *row) for word, row in sorted(rows.items())]


def variable_rows() -> list[tuple[str, ...]]:
    """What pyinit sets of PM2's variables."""
    from types import SimpleNamespace
    from typing import Any

    spec = SimpleNamespace(
        name="api", namespace="default", exec_mode="fork", instances=1, cwd="/app",
        instance_var="NODE_APP_INSTANCE",
    )  # fmt: skip
    worker: Any = SimpleNamespace(spec=spec, id=0, restarts=0)
    found = {**pm2_env.for_app({}, "/app/server.js", "node"), **pm2_env.for_worker(worker)}
    why = {
        "pm_id": "who am I: guarded jobs run on number 0 only",
        "name": "the app's name",
        "instances": "how many siblings there are",
        "exec_mode": "`fork_mode` or `cluster_mode`",
        "pm_exec_path": "the program: ES modules ask whether they are the main one",
        "PM2_HOME": "whether PM2 is there at all; the folder need not exist",
        "restart_time": "whether this is a restart",
    }
    rows: list[tuple[str, ...]] = [
        ("`NODE_APP_INSTANCE`, or `instance_var`", "the worker's number in its app")
    ]
    rows += [(f"`{name}`", why.get(name, "")) for name in sorted(found)]
    return rows


def page() -> str:
    """The text of pm2.md."""
    parts = [
        HEAD,
        "\n## Behaviour\n\n",
        _table(("what", "", "why"), list(BEHAVIOUR)),
        "\n## Keys of an app\n\n",
        _table(("key", "", "why"), key_rows()),
        "\n## Variables\n\n",
        (
            "Set for every app of a PM2 file, and in YAML by `pm2_env: true`. A variable of the "
            "container or of the file has precedence, as under PM2.\n\n"
        ),
        _table(("variable", "read for"), variable_rows()),
        "\nNot set:\n\n",
        _table(("variable", "why"), list(NO_VARIABLES)),
        "\n## Options\n\n",
        (
            "Of `pm2-runtime` and `pm2 start`, for `pyinit FILE`, `pyinit PROGRAM` and "
            "`pyinit start`. An option without effect says in one line what to write.\n\n"
        ),
        _table(("option", "", "why"), option_rows()),
        "\n## Commands\n\n",
        "Asked of a running pyinit by `docker exec` or `kubectl exec`.\n\n",
        _table(("command", "", "why"), command_rows()),
    ]
    return "".join(parts)


HEAD = """\
# PM2 and pyinit, row by row

A file in one of PM2's own formats means here what it means to PM2 7:

- `.config.js`, `.config.cjs`, `.config.mjs` and `.json`;
- `process.yml`, `pm2.yml`, `NAME.config.yml`, and the same with `.yaml`.

Other YAML files are pyinit's own ([the file](file.md)), and so is every file with `pyinit: 1` at
its top level. pyinit's own keys (`listen`, `health`, `kill_signal`, `probes`, …) count in a PM2
file too.

`pyinit check` says where a file behaves otherwise than under PM2, with a number; `pyinit explain
PM2-017` prints the page of a number, and all are in [findings.md](findings.md). `pyinit convert`
writes a PM2 file as YAML that runs the same.

*The same*: a program cannot tell, and tests compare it with PM2 7 itself. *Different*: on
purpose. *Not needed*: it has no meaning in a container.

<!-- Below: written by `make reference` from docs/reference/pm2.py and the tables in the code. -->
"""

FINDINGS_HEAD = """\
# Findings of `pyinit check` and `pyinit convert`

A finding has a number, a severity, a location and advice. *Warnings* are also in the log of the
start; `pyinit check --strict` takes them for errors. *Notes* ask for nothing. What is wrong with
the file itself is an error without a number.

<!-- Below: written by `make reference` from entrypoint/config/findings.py. -->
"""


def findings_page() -> str:
    """The text of findings.md."""
    parts = [FINDINGS_HEAD]
    for entry in findings.PAGES:
        first = "PM2" if entry.code.startswith(("PM2", "YAML")) else "The file"
        parts.append(
            f"\n## {entry.code}: {entry.title}\n\n**{first}.** {entry.pm2}\n\n"
            f"**pyinit.** {entry.pyinit}\n\n**What to do.** {entry.advice}\n"
        )
    return "".join(parts)
