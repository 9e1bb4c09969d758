"""Hints for users who write another tool's command: a sentence with the right one."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_RUN = "`pyinit -c FILE` runs the apps of a file"
_STOP = "`docker stop` ends the container; `pyinit stop APP` stops one app"
_CHECK = "`pyinit check` validates the file"
_FOLLOW = "`pyinit logs -f` follows the log"
_SHELL = "`docker exec -it CONTAINER sh` opens a shell beside the apps"

# Words of Compose, systemctl, supervisorctl, kubectl and others, which pyinit has not. No names of
# programs: `pyinit NAME` runs one.
WORDS = {
    **dict.fromkeys(("up", "run-apps", "launch", "supervise"), _RUN),
    **dict.fromkeys(("down", "quit"), _STOP),
    **dict.fromkeys(("validate", "lint", "verify", "configtest"), _CHECK),
    **dict.fromkeys(("follow", "maintail"), _FOLLOW),
    **dict.fromkeys(("exec", "shell"), _SHELL),
    **dict.fromkeys(
        ("reread", "daemon-reload", "reload-config", "apply"),
        "`pyinit reload --config` reads the file again; --dry-run only shows what would change",
    ),
    **dict.fromkeys(("is-active", "is-failed", "stats"), "`pyinit ls` shows all"),
    **dict.fromkeys(("enable", "disable"), "`autostart` in the file says what starts at boot"),
    **dict.fromkeys(("add", "remove", "create"), "change the file, `pyinit reload --config`"),
    "version": "`pyinit --version` prints the version",
    "metrics": "`GET /metrics` on the address of `probes.listen`",
    "ready": "`pyinit health ready`",
    "live": "`pyinit health live`",
}

# Options of other tools' commands.
OPTIONS = {
    "--tail": "write `--lines N`",
    "--since": "pyinit keeps some of the last lines: `--lines N`",
    "--watch": "`pyinit ls --watch`",
    "--format": "write `--json`",
    "-o": "write `--json`",
    "--output": "write `--json`",
    "-a": "all apps are always shown",
    "-q": "`pyinit pid APP` prints the pids alone",
}


def of_command(command: str, words: Sequence[str], unknown: Sequence[str]) -> str:
    """A hint for words that a command does not take: `; write …`, or nothing."""
    for word in unknown:
        hint = OPTIONS.get(word.partition("=")[0])
        if hint:
            return f"; {hint}"
    if command == "ls" and unknown and not unknown[0].startswith("-"):
        return f"; `pyinit describe {unknown[0]}` shows one app"
    name, equals, number = words[0].partition("=") if words else ("", "", "")
    if command == "scale" and equals:
        return f"; `pyinit scale {name} {number or 'N'}`"
    return ""
