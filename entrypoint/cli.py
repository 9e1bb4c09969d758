"""The command line: one word says what to do, without one the apps are run.

Parsed by hand: `argparse` costs 10 ms of import, which every worker's first start would
wait for.
"""

from __future__ import annotations

import os

from . import __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .kernel.signals import SignalPipe
    from .loop import Loop
    from .shell.loader import Outcome, Source
    from .shell.service_manager import Given

USAGE_ERROR = 2

# What is asked of a running pyinit.
QUESTIONS = ("ls", "describe", "journal")
OPERATIONS = ("reload", "restart", "stop", "start", "run", "scale", "signal")

HELP = """\
pyinit: the entrypoint of a container. PID 1 for programs in any language.

  pyinit [-c FILE] [--env NAME] [--only A,B]    run the apps of the file
  pyinit FILE | PROGRAM [OPTION…] [-- ARG…]     as pm2-runtime: pyinit server.js -i max,
                                                pyinit npm -- start, pyinit serve DIR PORT
  pyinit [-g] [-s] [-p SIG] [-e CODE] [-v] [-w] -- CMD [ARG…]
                                                run one command, as tini does
  pyinit dev [-c FILE] [--only A,B]             the same on a laptop: colours, restarts on saves
  pyinit check [-c FILE] [--strict] [--offline] [--json]
                                                validate the file: every error at once
  pyinit explain [CODE|KEY…]                    a finding, such as PM2-017, or a key's meaning
  pyinit ecosystem                              write a commented ecosystem.yaml
  pyinit convert FILE…                          print another supervisor's file as YAML: PM2's,
                                                Procfile, supervisord.conf, crontab, systemd,
                                                s6-rc.d, Compose
  pyinit schema                                 print the JSON Schema of the file
  pyinit health [live|ready|startup]            ask the running pyinit: exit 0 or 1
  pyinit ls [--json] [--watch]                  all apps and their workers
  pyinit top                                    live, with keys that reload, scale, stop, …
  pyinit describe APP                           details of an app and its workers
  pyinit logs [APP] [-f] [--lines N] [--level LEVEL] [--field NAME=VALUE]
                                                recent and following log lines
  docker logs -f web | pyinit logs -            any pyinit's JSON lines, for people
  pyinit reload|restart APP|all                 replace workers: new ones first; old ones first
  pyinit stop|start APP|all                     stop all workers of an app; start it again
  pyinit reload --config [--dry-run]            read the file again, show and make the changes
  pyinit run JOB                                run a job once now and wait for its end
  pyinit scale APP N|+N|-N                      run more or fewer workers
  pyinit signal SIG APP|all                     send a signal to the workers
  pyinit journal                                the last events and decisions, as JSON lines
  pyinit replay FILE                            repeat a journal's decisions, on any machine
  pyinit completion bash|zsh|fish               print a script that completes words
  pyinit --version [--verbose] | --help | COMMAND --help

PM2's names of commands (list, show, jlist, delete, …) work, or print what to use instead.

Without -c: $PYINIT_CONFIG, else ecosystem.yaml, .yml, .json or .config.js in the working
directory. Several -c: the apps of all these files.

Signals to a running pyinit: TERM, INT, QUIT and `shutdown.signals` stop it. INT or QUIT
during the stop ends the drain; once more, it kills. HUP reads the file again and reloads
without losing a connection. All other signals go to the workers.

Exit codes: that of the last app that has finished (128+n: killed by signal n), 0 after a
stop that went well, that of its last exit if an app is failing when the stop comes, 1 if an
app is errored, 2 for a wrong command line or file, 137 if the end was forced.
"""


class UsageError(Exception):
    """The command line is wrong; the text is a sentence."""


def main(argv: list[str], boot_signals: Sequence[int] = (), *, starts_run: bool = True) -> int:
    """Do what `argv` (without the program's name) says; the exit code.

    `boot_signals`: signals that came before the handlers of a run were there. `starts_run`: the
    words begin the life of an init (`boot.starts_a_run`).
    """
    word = argv[0] if argv else ""
    if word in ("-h", "--help") or (word == "help" and not argv[1:]):
        print(HELP, end="")
        return 0
    if word == "help":
        return main([argv[1], "--help"], starts_run=False)
    if word in ("-V", "--version"):
        if "--verbose" in argv:
            from .client import about

            print(*about.lines(), sep="\n")
        else:
            print(f"pyinit {__version__}")
        return 0
    from .client import pm2_command_line

    command = None if starts_run else _commands().get(word)
    if command is not None:
        return command(argv[1:])
    try:
        source = parse_run(argv[1:] if word in ("run", "dev") else argv)
        if word == "dev":
            source = source.replace(dev=True)
    except (UsageError, pm2_command_line.UsageError) as error:
        _complain(f"{error}; see pyinit --help")
        return USAGE_ERROR
    return run(source, boot_signals)


def is_command(word: str) -> bool:
    """Whether the word is a command, and no program, whatever files there are."""
    return word == "help" or word in _commands()


def _commands() -> dict[str, Callable[[list[str]], int]]:
    def late(module: str, name: str, word: str = "") -> Callable[[list[str]], int]:
        def call(argv: list[str]) -> int:
            found = getattr(__import__(module, fromlist=[name]), name)
            if any(each in ("-h", "--help") for each in argv):
                return _help(found, argv, word or name)
            code: int = found(argv)
            return code

        return call

    from .client import pm2_names

    commands = {
        name: late("entrypoint.config.commands", name)
        for name in ("check", "explain", "ecosystem", "convert", "schema")
    }
    commands["health"] = late("entrypoint.client.health", "main", "health")
    commands["replay"] = late("entrypoint.journal.replay", "main", "replay")
    commands["completion"] = late("entrypoint.client.completion", "main", "completion")
    commands["dev"] = late("entrypoint.client.dev_help", "main", "dev")
    commands["top"] = late("entrypoint.client.top", "top")
    commands["logs"] = late("entrypoint.client.log_lines", "logs")
    for name in QUESTIONS:
        commands[name] = late("entrypoint.client.questions", name)
    for name in OPERATIONS:
        commands[name] = late("entrypoint.client.commands", name)
    commands |= pm2_names.commands(commands)
    return commands


def _help(command: Callable[[list[str]], int], argv: list[str], word: str) -> int:
    """What the command says for itself, and examples."""
    from .client.command_table import examples

    try:
        code = command(argv)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    print(examples(word), end="")
    return code


def parse_run(argv: list[str]) -> Source:
    """The command line of a run: files, or a program as an app. Raises UsageError."""
    from .client import pm2_command_line
    from .shell.loader import Source

    word = argv[0] if argv else ""
    if word and not word.startswith("-") and not pm2_command_line.begins_a_run(argv):
        from difflib import get_close_matches

        from .client import slips

        known = _commands()
        if word in slips.WORDS:
            raise UsageError(f"unknown command {word!r}: {slips.WORDS[word]}")
        close = get_close_matches(word, known, 1, cutoff=0.7)
        hint = f": did you mean {close[0]!r}?" if close else "; `pyinit -- CMD` runs a command"
        raise UsageError(f"unknown command {word!r}{hint}")
    line = pm2_command_line.parse(argv)
    if word and not word.startswith("-"):
        pid = pm2_command_line.running()
        if pid is not None:
            raise UsageError(
                f"a pyinit runs in this container (pid {pid}): `pyinit ls` shows its apps, "
                "`pyinit reload --config` reads its file again, `pyinit start APP` starts one"
            )
    for remark in line.remarks:
        _complain(remark)
    return Source(line.paths, line.env_name, line.only, line.app, line.options, line.log_format)


def _complain(text: str) -> None:
    os.write(2, f"pyinit: {text}\n".encode("utf-8", "replace"))


def run(source: Source, boot_signals: Sequence[int] = ()) -> int:
    """Run the apps of the file: PID 1's whole life. Returns the exit code."""
    from .kernel import signals
    from .loop import Loop

    given = _given()
    pipe = signals.SignalPipe()
    signals.install_handlers(pipe)
    loop = Loop(_boot_error)
    load = _load_for_dev if source.dev else _load
    outcome, seen = load(loop, pipe, source, boot_signals)
    if outcome is None:
        # A stop during boot: nothing was started, so nothing has to be ended.
        return 0
    if outcome.plan is None:
        for error in outcome.errors:
            _complain(error)
        return USAGE_ERROR

    from .kernel import limits
    from .shell import environment
    from .shell.runtime import Runtime
    from .sockets import inherited
    from .sockets.ports import PortErrors

    limits.raise_open_files()
    runtime = Runtime(loop, pipe, source, outcome.plan)
    loop.on_error = runtime.internal_error
    remarks = environment.prepare(is_init=runtime.is_init)
    if given is not None and given.notify:
        from .shell.service_manager import Outward

        runtime.dispatch.observers["outward"] = Outward(runtime, given).turned
    try:
        if given is not None:
            remarks += inherited.take_over(given.fds)
        runtime.open()
        remarks += inherited.unused()
    except PortErrors as error:
        for problem in error.problems:
            _complain(problem)
        return USAGE_ERROR
    return runtime.run(outcome.warnings, seen, remarks)


def _given() -> Given | None:
    """What a service manager gave us; taken out of the environment before anything starts."""
    if not any(name in os.environ for name in ("NOTIFY_SOCKET", "LISTEN_FDS", "WATCHDOG_USEC")):
        return None
    from .shell.service_manager import take

    return take(os.environ)


def _load(
    loop: Loop, pipe: SignalPipe, source: Source, boot_signals: Sequence[int]
) -> tuple[Outcome | None, list[int]]:
    """The plan, and the signals that came meanwhile; None when one of them was a stop."""
    from .kernel import signals
    from .loop import READ
    from .shell.loader import Loading

    seen = list(boot_signals)
    found: list[Outcome] = []
    try:
        loading = Loading(source, revision=1)
    except OSError as error:
        from .kernel import limits
        from .shell.loader import Outcome

        reason = f"cannot start a process to read the file: {limits.explain(error)}"
        return Outcome(None, (), (reason,)), seen

    def read(_events: int) -> None:
        outcome = loading.read(before_close=loop.unregister)
        if outcome is not None:
            found.append(outcome)

    # While the child reads the file, what the run needs: on two cores it costs nothing.
    from .shell import runtime  # noqa: F401

    loop.register(loading.fd, READ, read)
    loop.register(pipe.fd, READ, lambda _events: seen.extend(pipe.read()))
    while not found:
        if any(signum in signals.STOPS for signum in seen):
            loop.unregister(loading.fd)
            loading.abandon()
            return None, seen
        loop.turn()
    loop.unregister(pipe.fd)
    if any(signum in signals.STOPS for signum in seen):
        return None, seen
    return found[0], seen


def _load_for_dev(
    loop: Loop, pipe: SignalPipe, source: Source, boot_signals: Sequence[int]
) -> tuple[Outcome | None, list[int]]:
    """The same, again and again until the file is right."""
    from .shell.saves import Saves

    saves = Saves(source.paths)
    outcome, seen = _load(loop, pipe, source, boot_signals)
    while outcome is not None and outcome.plan is None:
        seen += saves.wait(loop, pipe)
        outcome, seen = _load(loop, pipe, source, seen)
    saves.close()
    return outcome, seen


def _boot_error(where: str, error: BaseException) -> None:
    _complain(f"{where}: {error!r}")
