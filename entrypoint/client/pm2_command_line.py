"""The command lines of `pm2-runtime` and `pm2 start`: files, programs, and their options.

`pyinit ecosystem.config.js`, `pyinit start api.js -i max`, `pyinit npm -- start`,
`pyinit serve build 8080`: all begin a run, as `pyinit -c FILE` does. A program becomes an app
as PM2 makes one of it. Nothing is imported here that the first worker would wait for.
"""

from __future__ import annotations

import os

from entrypoint.core.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

# What begins a run; `start NAME` may be a question to a running pyinit instead.
RUN_WORDS = (
    *("start", "runtime", "pm2-runtime", "serve", "expose"),
    *("startOrRestart", "startOrReload", "startOrGracefulReload"),
)
_CONFIG_NAMES = (".json", ".yml", ".yaml", ".config.js", ".config.cjs", ".config.mjs")
_PROGRAM_NAMES = (
    *(".js", ".mjs", ".cjs", ".ts", ".mts", ".tsx", ".jsx", ".py", ".sh", ".rb", ".php", ".pl"),
    *(".coffee", ".ls"),
)

_VALUE, _FLAG, _OFF = "value", "flag", "off"
# Option → how it is read, and the key of the app that it sets.
OPTIONS: dict[str, tuple[str, str]] = {
    **dict.fromkeys(("-i", "--instances"), (_VALUE, "instances")),
    **dict.fromkeys(("-n", "--name"), (_VALUE, "name")),
    "--watch": (_FLAG, "watch"),
    "--ignore-watch": (_VALUE, "ignore_watch"),
    "--watch-delay": (_VALUE, "watch_delay"),
    "--no-autorestart": (_OFF, "autorestart"),
    "--no-autostart": (_OFF, "autostart"),
    "--max-memory-restart": (_VALUE, "max_memory_restart"),
    **dict.fromkeys(("--cron", "--cron-restart"), (_VALUE, "cron_restart")),
    "--interpreter": (_VALUE, "exec_interpreter"),
    **dict.fromkeys(("--node-args", "--interpreter-args"), (_VALUE, "node_args")),
    "--cwd": (_VALUE, "cwd"),
    "--uid": (_VALUE, "uid"),
    "--gid": (_VALUE, "gid"),
    "--namespace": (_VALUE, "namespace"),
    **dict.fromkeys(("-k", "--kill-timeout"), (_VALUE, "kill_timeout")),
    "--listen-timeout": (_VALUE, "listen_timeout"),
    "--wait-ready": (_FLAG, "wait_ready"),
    "--restart-delay": (_VALUE, "restart_delay"),
    "--exp-backoff-restart-delay": (_VALUE, "exp_backoff_restart_delay"),
    "--max-restarts": (_VALUE, "max_restarts"),
    "--stop-exit-codes": (_VALUE, "stop_exit_codes"),
    "--filter-env": (_VALUE, "filter_env"),
    "--shutdown-with-message": (_FLAG, "shutdown_with_message"),
    "--no-treekill": (_OFF, "treekill"),
    "--time": (_FLAG, "time"),
    "--disable-source-map-support": (_FLAG, "disable_source_map_support"),
    **dict.fromkeys(("-x", "--execute-command"), (_FLAG, "execute_command")),
    "--spa": (_FLAG, "PM2_SERVE_SPA"),
    "--ftp": (_FLAG, "PM2_SERVE_FTP"),
    "--port": (_VALUE, "PM2_SERVE_PORT"),
    "--basic-auth-username": (_VALUE, "PM2_SERVE_BASIC_AUTH_USERNAME"),
    "--basic-auth-password": (_VALUE, "PM2_SERVE_BASIC_AUTH_PASSWORD"),
}
# PM2 applies these to the apps of a file too.
OF_FILES = ("watch", "ignore_watch", "uid", "gid", "namespace", "cwd")

_STDOUT = "every line goes to stdout"
_MONITORING = "PM2's monitoring is not part of pyinit; see `probes` and /metrics"
# Option → whether a value follows, and what to write instead; empty: nothing is missing.
WITHOUT_EFFECT: dict[str, tuple[bool, str]] = {
    **dict.fromkeys(("--no-daemon", "--no-color", "--no-vizion", "--attach"), (False, "")),
    **dict.fromkeys(("--no-pmx", "--no-automation", "--disable-trace"), (False, "")),
    **dict.fromkeys(("-a", "--update-env", "-f", "--force", "--silent"), (False, "")),
    **dict.fromkeys(("-m", "--mini-list", "--source-map-support"), (False, "")),
    **dict.fromkeys(("--merge-logs", "--wait-ip"), (False, "")),
    **dict.fromkeys(("-o", "--output", "--error", "-l", "--log"), (True, _STDOUT)),
    "--disable-logs": (False, f"{_STDOUT}: send them to /dev/null in `script`"),
    "--log-type": (True, "write `log: {format: json}` into the file"),
    "--log-date-format": (True, "records have their time; see `log`"),
    **dict.fromkeys(("--trace", "--v8", "--event-loop-inspector"), (False, _MONITORING)),
    "--deep-monitoring": (False, _MONITORING),
    **dict.fromkeys(("--secret", "--public", "--machine-name", "--web"), (True, _MONITORING)),
    "--monitor": (True, _MONITORING),
    "--delay": (True, "order apps by `depends_on`"),
    "--parallel": (True, "write `reload_parallel` into the file"),
    "--ext": (True, "write `ignore_watch` into the file"),
    **dict.fromkeys(("--pid", "--hp", "--service-name", "--sort"), (True, "")),
    **dict.fromkeys(("-u", "--user"), (True, "the user of an app is `--uid`")),
    "--write": (False, "`pyinit ecosystem` writes a file to begin with"),
}
FORMATS = {"--raw": "raw", "--json": "json", "--formatted": "console", "--format": "console"}


class UsageError(Exception):
    """The command line is wrong; the text is a sentence."""


class CommandLine(Record):
    """What is to be run. `app` are keys of PM2 for one app; `options` for those of files.

    `remarks` are sentences about options without effect.
    """

    paths: tuple[str, ...] = ()
    env_name: str = ""
    only: tuple[str, ...] = ()
    app: tuple[tuple[str, object], ...] = ()
    options: tuple[tuple[str, object], ...] = ()
    log_format: str = ""
    remarks: tuple[str, ...] = ()


def is_config_file(word: str) -> bool:
    """Whether PM2 takes a word for a file of apps."""
    return any(name in os.path.basename(word) for name in _CONFIG_NAMES)


def is_program(word: str) -> bool:
    """Whether a word names a program to start, and no app of a running pyinit."""
    return word.endswith(_PROGRAM_NAMES) or "/" in word or os.path.isfile(word) or word == "."


def in_path(word: str) -> bool:
    """Whether a word is a command of PATH or of node_modules/.bin."""
    folders = (*os.environ.get("PATH", os.defpath).split(":"), "node_modules/.bin")
    return "/" not in word and any(
        os.access(file := os.path.join(folder, word), os.X_OK) and os.path.isfile(file)
        for folder in folders
    )


def begins_a_run(argv: list[str]) -> bool:
    """Whether these words, of which the first is no option, are to run something."""
    word = argv[0]
    if word not in RUN_WORDS:
        return is_config_file(word) or is_program(word) or in_path(word)
    if word != "start":
        return True
    target = _target(argv[1:])
    if not target or is_config_file(target) or is_program(target) or "--" in argv:
        return True
    return in_path(target) and running() is None


def _target(words: list[str]) -> str:
    """The first word that is no option and no option's value."""
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word == "--":
            return ""
        if not word.startswith("-"):
            return word
        if _takes_value(word):
            del rest[:1]
    return ""


def _takes_value(word: str) -> bool:
    if "=" in word:
        return False
    if word in ("-c", "--config", "--env", "--only"):
        return True
    if word in WITHOUT_EFFECT:
        return WITHOUT_EFFECT[word][0]
    return OPTIONS.get(word, ("", ""))[0] == _VALUE


def running() -> int | None:
    """The pid of a pyinit that answers in this container, or None.

    On a machine of several projects (a terminal, no pyinit as process 1) another one may
    run beside it.
    """
    if os.getpid() == 1:
        return None
    from entrypoint.api import socket_path

    from . import health

    found = []
    for pid, address in socket_path.find(os.environ):
        question = health.Question()
        question.socket = socket_path.printable(address)
        try:
            sock, _ = health.reach(question, _soon())
        except health.Unanswered:
            continue
        sock.close()
        found.append(pid)
    if 1 in found:
        return 1
    return found[0] if found and not os.isatty(0) else None


def _soon() -> float:
    import time

    return time.monotonic() + 2.0


def parse(argv: list[str]) -> CommandLine:
    """The command line of a run. Raises UsageError."""
    words = list(argv)
    verb = words.pop(0) if words and words[0] in RUN_WORDS else ""
    reader = _Reader()
    reader.read(words)
    if verb in ("serve", "expose"):
        return reader.serve()
    return reader.result()


class _Reader:
    def __init__(self) -> None:
        self._words: list[str] = []
        self._targets: list[str] = []
        self._args: list[str] | None = None
        self._files: list[str] = []
        self._env_name = ""
        self._only: tuple[str, ...] = ()
        self._keys: dict[str, object] = {}
        self._names: dict[str, str] = {}
        self._log_format = ""
        self._remarks: list[str] = []

    def read(self, words: list[str]) -> None:
        """Take all words."""
        self._words = words
        while self._words:
            word = self._words.pop(0)
            if word == "--":
                self._args = self._words
                return
            if word.startswith("-") and len(word) > 1:
                self._option(word)
            else:
                self._targets.append(word)

    def _value(self, option: str, given: str | None) -> str:
        if given is not None:
            return given
        if not self._words:
            raise UsageError(f"{option} needs a value")
        return self._words.pop(0)

    def _option(self, word: str) -> None:
        option, equals, value = word.partition("=")
        given = value if equals else None
        if word[:2] == "-i" and word[2:].isdigit():
            option, given = "-i", word[2:]
        if option in ("-c", "--config"):
            self._files.append(self._value(option, given))
        elif option == "--env":
            self._env_name = self._value(option, given)
        elif option == "--only":
            names = self._value(option, given).replace(",", " ").split()
            self._only += tuple(names)
        elif option in OPTIONS:
            kind, key = OPTIONS[option]
            self._names[key] = option
            if kind == _VALUE:
                self._keys[key] = self._read_value(option, key, given)
            else:
                self._keys[key] = "true" if kind == _FLAG else "false"
        elif option in FORMATS:
            self._log_format = FORMATS[option]
            if option == "--format":
                self._remarks.append(
                    "--format: no lines of key=value here; `log.format` is json, console or raw"
                )
        elif option == "--no-auto-exit":
            self._keys["on_errored"] = "keep"
        elif option in WITHOUT_EFFECT:
            takes, instead = WITHOUT_EFFECT[option]
            if takes and given is None and self._words and not self._words[0].startswith("-"):
                self._words.pop(0)
            if instead:
                self._remarks.append(f"{option} has no effect: {instead}")
        else:
            raise UsageError(f"unknown option {option!r}{suggestion(option, all_options())}")

    def _read_value(self, option: str, key: str, given: str | None) -> object:
        value = self._value(option, given)
        if key == "stop_exit_codes":
            codes = value.replace(",", " ").split()
            while self._words and self._words[0].isdigit():
                codes.append(self._words.pop(0))
            return tuple(codes)
        if key == "filter_env":
            before = self._keys.get(key, ())
            return (*before, value) if isinstance(before, tuple) else (value,)
        if key == "watch_delay" and value.endswith("ms"):
            return value[:-2]
        if key == "watch_delay":
            # PM2's command line counts seconds, its file milliseconds.
            try:
                return str(round(float(value) * 1000))
            except ValueError:
                raise UsageError(f"{option}: {value!r} is no number of seconds") from None
        return value

    # -- what it comes to -----------------------------------------------------------------

    def result(self) -> CommandLine:
        """A file, several, or a program."""
        if not self._targets:
            if self._args is not None:
                raise UsageError("a program and its arguments are run by `pyinit -- CMD ARG…`")
            return self._of_files(())
        target = self._targets[0]
        if is_config_file(target):
            others = [word for word in self._targets if not is_config_file(word)]
            if others:
                raise UsageError(f"{others[0]!r} follows {target!r}: one or more files are taken")
            if not os.path.exists(target):
                raise UsageError(f"there is no file {target!r}")
            return self._of_files(tuple(self._targets))
        return self._program(target)

    def _of_files(self, paths: tuple[str, ...]) -> CommandLine:
        options = []
        for key, value in self._keys.items():
            if key in OF_FILES or key == "on_errored":
                options.append((key, value))
            else:
                name = self._names[key]
                self._remarks.append(f"{name} counts for a program only: write it into the file")
        return self._common().replace(paths=(*paths, *self._files), options=tuple(options))

    def _program(self, target: str) -> CommandLine:
        if len(self._targets) > 1:
            command = " ".join((target, *self._targets[1:]))
            raise UsageError(
                f"arguments follow `--`: `pyinit {target} -- {' '.join(self._targets[1:])}`, or "
                f"`pyinit -- {command}` to run it as tini does"
            )
        if not os.path.exists(target) and not in_path(target):
            raise UsageError(_no_program(target))
        if self._files:
            # PM2's -c is a cron pattern.
            pattern = self._files[-1]
            if is_config_file(pattern):
                raise UsageError(f"-c {pattern}: run the file or {target!r}, not both")
            self._keys["cron_restart"] = pattern
        app: list[tuple[str, object]] = [("script", target), *self._keys.items()]
        if self._args is not None:
            app.append(("args", tuple(self._args)))
        return self._common().replace(app=tuple(app))

    def serve(self) -> CommandLine:
        """`serve [PATH] [PORT]`: an app with PM2's static server, which is mapped."""
        path = os.path.abspath(os.environ.get("PM2_SERVE_PATH") or [*self._targets, "."][0])
        port = str(self._keys.pop("PM2_SERVE_PORT", "")) or [*self._targets, "", ""][1]
        port = os.environ.get("PM2_SERVE_PORT") or port or "8080"
        env = {"PM2_SERVE_PATH": path, "PM2_SERVE_PORT": port}
        for key in [key for key in self._keys if key.startswith("PM2_SERVE")]:
            env[key] = str(self._keys.pop(key))
        if "PM2_SERVE_BASIC_AUTH_USERNAME" in env:
            env["PM2_SERVE_BASIC_AUTH"] = "true"
        name = str(self._keys.pop("name", "")) or f"static-page-server-{port}"
        app = (
            ("name", name),
            ("script", "serve"),
            ("cwd", path if os.path.isdir(path) else "."),
            ("env", tuple(env.items())),
            *self._keys.items(),
        )
        return self._common().replace(app=app)

    def _common(self) -> CommandLine:
        return CommandLine(
            env_name=self._env_name,
            only=self._only,
            log_format=self._log_format,
            remarks=tuple(self._remarks),
        )


# Of commands to a running pyinit: option → whether a value follows, and what to write.
OF_COMMANDS: dict[str, tuple[bool, str]] = {
    **dict.fromkeys(("-a", "--update-env"), (False, "")),
    **dict.fromkeys(("--force", "--no-color", "--silent", "--attach", "--no-daemon"), (False, "")),
    "--parallel": (True, "write `reload_parallel` into the file"),
    "--watch": (False, "write `watch` into the file and `pyinit reload --config`"),
    "--env": (True, "the environment is chosen where pyinit is started"),
    "--only": (True, "name the apps"),
    "--sort": (True, ""),
}


def without_pm2s(argv: Sequence[str], keeps: Sequence[str] = ()) -> tuple[list[str], list[str]]:
    """The words of a command without PM2's options that have no effect, and remarks.

    `keeps`: options that the command has itself.
    """
    words = list(argv)
    kept: list[str] = []
    remarks: list[str] = []
    while words:
        word = words.pop(0)
        if word == "--":
            return [*kept, word, *words], remarks
        option, equals, _ = word.partition("=")
        if option not in OF_COMMANDS or option in keeps:
            kept.append(word)
            continue
        takes, instead = OF_COMMANDS[option]
        if takes and not equals:
            del words[:1]
        if instead:
            remarks.append(f"{option} has no effect: {instead}")
    return kept, remarks


def all_options() -> list[str]:
    """Every option that is understood."""
    return [
        "--config",
        "--env",
        "--only",
        "--help",
        "--version",
        *OPTIONS,
        *FORMATS,
        *WITHOUT_EFFECT,
    ]


def _no_program(word: str) -> str:
    if is_program(word):
        return f"there is no file {word!r} in {os.getcwd()}"
    return f"{word!r} is no file here and no command of PATH"


def suggestion(word: str, known: list[str]) -> str:
    """`: did you mean …?`, or nothing."""
    import difflib

    close = difflib.get_close_matches(word, known, 1)
    return f": did you mean {close[0]!r}?" if close else ""
