"""The manual pages docs/man/pyinit.1 and pyinit.5, made from the tables in the code (man(7))."""

from __future__ import annotations

import re
import textwrap

from entrypoint import __version__
from entrypoint.cli import HELP
from entrypoint.client.command_table import COMMANDS
from entrypoint.config import keys

SECTIONS = (
    ("TOP LEVEL", keys.TOP_KEYS),
    ("APPS", keys.APP_KEYS),
    ("LISTEN", keys.LISTEN_KEYS),
    ("HEALTH", keys.HEALTH_KEYS),
    ("DEPENDS_ON", keys.DEPENDS_KEYS),
    ("PROBES", keys.PROBES_KEYS),
    ("LOG", keys.LOG_KEYS),
    ("CONTROL", keys.CONTROL_KEYS),
    ("SHUTDOWN", keys.SHUTDOWN_KEYS),
)


def text(words: str) -> str:
    """Plain words as roff: `code` in bold, nothing of it a request."""
    words = words.replace("\\", "\\e").replace("-", "\\-")
    words = re.sub(r"`([^`]*)`", r"\\fB\1\\fR", words)
    words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", words)
    return "\n".join(
        "\\&" + line if line.startswith((".", "'")) else line for line in words.splitlines()
    )


def head(section: int, name: str, about: str) -> list[str]:
    """The first lines of a page."""
    return [
        f'.TH {name.upper()} {section} "" "pyinit {__version__}" "pyinit"',
        ".SH NAME",
        f"{name} \\- {text(about)}",
    ]


def commands() -> str:
    """pyinit(1)."""
    lines = head(1, "pyinit", "the entrypoint of a container: PID 1 for programs in any language")
    lines += [".SH SYNOPSIS"]
    for synopsis in (
        "[\\-c FILE] [\\-\\-env NAME] [\\-\\-only A,B]",
        "FILE|PROGRAM [OPTION...] [\\-\\- ARG...]",
        "[\\-g] [\\-s] [\\-p SIG] [\\-e CODE] [\\-v] [\\-w] \\-\\- CMD [ARG...]",
        "COMMAND [ARG...]",
    ):
        lines += [f"\\fBpyinit\\fR {synopsis}", ".br"]
    lines[-1:] = [".SH COMMANDS"]
    for name, command in COMMANDS.items():
        lines += [".TP", f"\\fBpyinit {name}\\fR {text(command.synopsis)}".rstrip()]
        lines += [text(command.about[:1].upper() + command.about[1:]) + "."]
        if command.options:
            options = ", ".join(command.options).replace("=", " ")
            lines += [".br", f"Options: {text(options)}."]
        for line, what in command.examples:
            lines += [".br", f"\\fB{text(line)}\\fR: {text(what)}."]
    lines += [".SH NOTES"]
    for paragraph in HELP.partition("PM2's names")[2].strip().split("\n\n"):
        first = "PM2's names" if paragraph.startswith(" of commands") else ""
        lines += [text(" ".join((first + paragraph).split())), ".PP"]
    lines[-1:] = [".SH SEE ALSO", "\\fBpyinit\\fR(5)"]
    return "\n".join(lines).replace("…", "...") + "\n"


def file() -> str:
    """pyinit(5): the keys of the file."""
    lines = head(5, "pyinit", "the file of pyinit, ecosystem.yaml")
    lines += [
        ".SH DESCRIPTION",
        text(
            "YAML is the native form; JSON and PM2's `.config.js` are read too. "
            "`pyinit ecosystem` writes a commented file, `pyinit check` validates one, and "
            "`pyinit explain KEY` says what a key means."
        ),
        ".SH EXAMPLE",
        ".nf",
        *text(
            textwrap.dedent("""\
            apps:
              - name: web
                script: server.js
                exec_mode: cluster
                instances: 2
                listen: 3000
            probes: {listen: 9400}""")
        ).splitlines(),
        ".fi",
    ]
    for title, table in SECTIONS:
        lines.append(f".SH {title}")
        for key in table:
            lines += [".TP", f"\\fB{text(key.name)}\\fR", text(key.doc)]
            if key.choices:
                lines += [".br", f"One of {text(', '.join(key.choices))}."]
            if key.default:
                lines += [".br", f"Default: {text(key.default)}."]
    lines += [".SH SEE ALSO", "\\fBpyinit\\fR(1)"]
    return "\n".join(lines).replace("…", "...") + "\n"
