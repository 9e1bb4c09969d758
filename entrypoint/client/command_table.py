"""The commands in one table, for completion, the manual page and `--help`.

A test compares it with the parsers: each option that a parser accepts is here.
"""

from __future__ import annotations

from entrypoint.core.record import Record

# Kinds of a command's words: the shells complete them accordingly.
APPS, FILES, SIGNALS, NOTHING = "apps", "files", "signals", ""


class Command(Record):
    """`words`: one of the kinds above, or the choices themselves, `a b c`.

    `options`: each with `=VALUE` where it takes one. `examples`: a line and what it does.
    """

    about: str
    synopsis: str = ""
    words: str = NOTHING
    options: tuple[str, ...] = ()
    examples: tuple[tuple[str, str], ...] = ()


_SOCKET = ("--socket=PATH",)
_PROGRESS = ("--json", *_SOCKET)
_READING = ("-c=FILE", "--config=FILE", "--env=NAME", "--only=A,B")

COMMANDS: dict[str, Command] = {
    "dev": Command(
        "run the apps of the file on a laptop: colours, restarts on saves",
        "[-c FILE] [--env NAME] [--only A,B]",
        FILES,
        _READING,
        (
            ("pyinit dev", "the file of this folder; Ctrl-C stops, a second one hurries"),
            ("pyinit dev --only web,api", "two apps of it"),
        ),
    ),
    "check": Command(
        "validate the file: every error at once",
        "[-c FILE] [--strict] [--offline] [--json]",
        FILES,
        (*_READING, "--json", "--strict", "--offline"),
        (
            ("pyinit check", "the file that a run in this folder would take"),
            ("pyinit check --offline -c ecosystem.yaml", "in a build: no user and script is there"),
        ),
    ),
    "explain": Command(
        "a finding, such as PM2-017, or a key's meaning",
        "[CODE|KEY…]",
        examples=(
            ("pyinit explain kill_timeout", "what a key means"),
            ("pyinit explain PM2-017", "what a finding of `check` means"),
        ),
    ),
    "ecosystem": Command(
        "write a commented ecosystem.yaml",
        "[FILE]",
        FILES,
        examples=(("pyinit ecosystem", "a file to begin with"),),
    ),
    "convert": Command(
        "print another supervisor's file as YAML",
        "FILE…",
        FILES,
        ("--env=NAME",),
        (
            ("pyinit convert ecosystem.config.js > ecosystem.yaml", "from PM2"),
            ("pyinit convert /etc/supervisor/supervisord.conf", "from supervisord"),
        ),
    ),
    "schema": Command(
        "print the JSON Schema of the file",
        examples=(("pyinit schema > pyinit.schema.json", "for an editor"),),
    ),
    "completion": Command(
        "print a script that completes words, for a shell",
        "bash|zsh|fish",
        "bash zsh fish",
        examples=(
            ('eval "$(pyinit completion bash)"', "in ~/.bashrc"),
            ("pyinit completion fish | source", "in ~/.config/fish/config.fish"),
        ),
    ),
    "health": Command(
        "ask the running pyinit: exit 0 or 1",
        "[live|ready|startup] [APP]",
        "live ready startup",
        ("-v", "--verbose", "--timeout=TIME", "--url=URL", "--socket=PATH"),
        (
            ("pyinit health", "are all apps ready?"),
            ("pyinit health live web -v", "one app, each check on a line"),
        ),
    ),
    "ls": Command(
        "all apps and their workers",
        "[--json] [--watch [SECONDS]]",
        NOTHING,
        ("--json", "--watch", *_SOCKET),
        (
            ("pyinit ls --watch", "again every two seconds"),
            ("pyinit ls --json --watch 10 | jq -c '.apps[]'", "for a program"),
        ),
    ),
    "top": Command(
        "apps and workers, live; keys reload, restart, scale, stop, signal",
        "[--interval SECONDS]",
        NOTHING,
        ("--interval=SECONDS", *_SOCKET),
        (("docker exec -it web pyinit top", "in a container that runs"),),
    ),
    "describe": Command(
        "details of an app and its workers",
        "APP|ID…",
        APPS,
        _PROGRESS,
        (("pyinit describe web", "settings, workers, last exits"),),
    ),
    "logs": Command(
        "recent and following log lines; `-`: lines from stdin, for people",
        "[APP|ID|-] [-f] [--lines N] [--level LEVEL] [--field NAME[=VALUE]]",
        APPS,
        (
            *("-f", "--follow", "-n=N", "--lines=N", "--level=LEVEL", "--field=NAME=VALUE"),
            *("--json", "--raw", "--out", "--err", *_SOCKET),
        ),
        (
            ("pyinit logs web -f --level warning", "follow what went wrong"),
            ("docker logs -f web | pyinit logs -", "any pyinit's JSON lines, for people"),
            ("kubectl logs deploy/web | pyinit logs - --field 'status=5*'", "chosen by a field"),
        ),
    ),
    "reload": Command(
        "replace workers, new ones first; --config: read the file again",
        "APP|ID|all | --config [--dry-run]",
        APPS,
        ("--config", "--dry-run", *_PROGRESS),
        (
            ("pyinit reload web", "one worker after the other, no connection is lost"),
            ("pyinit reload --config --dry-run", "what the changed file would change"),
        ),
    ),
    "restart": Command(
        "replace workers, old ones first",
        "APP|ID|all",
        APPS,
        _PROGRESS,
        (("pyinit restart all", "stop and start every app"),),
    ),
    "stop": Command(
        "stop all workers of an app",
        "APP|all",
        APPS,
        _PROGRESS,
        (("pyinit stop web", "its clients are refused until `pyinit start web`"),),
    ),
    "start": Command(
        "start what was stopped or has errored",
        "APP|all",
        APPS,
        _PROGRESS,
        (("pyinit start web", "after a stop, or when it is errored"),),
    ),
    "run": Command(
        "run a job once now and wait for its end",
        "JOB",
        APPS,
        _PROGRESS,
        (("pyinit run backup", "an app with `autorestart: false`"),),
    ),
    "scale": Command(
        "run more or fewer workers",
        "APP N|+N|-N",
        APPS,
        _PROGRESS,
        (("pyinit scale web 4", "four workers"), ("pyinit scale web +1", "one more")),
    ),
    "signal": Command(
        "send a signal to the workers",
        "SIG APP|ID|all",
        SIGNALS,
        _PROGRESS,
        (("pyinit signal USR2 web", "to every worker of web"),),
    ),
    "journal": Command(
        "the last events and decisions, as JSON lines",
        NOTHING,
        NOTHING,
        _SOCKET,
        (("pyinit journal > journal.jsonl", "for a bug report; values are hashed"),),
    ),
    "replay": Command(
        "repeat a journal's decisions, on any machine",
        "FILE",
        FILES,
        ("--app=NAME", "--last=N", "--quiet"),
        (("pyinit replay journal.jsonl --app web", "what was decided about web, and why"),),
    ),
}
# Before the commands: a run of a file.
RUN_OPTIONS = ("-c=FILE", "--config=FILE", "--env=NAME", "--only=A,B", "--version", "--help")


def examples(name: str) -> str:
    """The examples of a command, as its `--help` shows them after the options."""
    command = COMMANDS.get(name)
    if command is None or not command.examples:
        return ""
    width = max(len(line) for line, _ in command.examples)
    rows = [f"  {line.ljust(width)}  {what}" for line, what in command.examples]
    return "\n".join(("\nexamples:", *rows, ""))
