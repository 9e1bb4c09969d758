"""`pyinit check`, `schema`, `ecosystem` and `convert`: commands that run nothing."""

from __future__ import annotations

import argparse
import json
import os
import sys
import textwrap

from entrypoint.logs.console import wants_colour

from . import keys
from .convert import converted
from .errors import ConfigErrors, Problems, suggest
from .files import find
from .findings import BY_CODE, PAGES, rendered
from .load import load
from .report import Report, codes, summary
from .schema import schema as make_schema
from .starter import write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from entrypoint.core.spec import AppSpec, Plan

    from .errors import ConfigError

_BAD = 2
# Where a key stands → its table.
SECTIONS = {
    "": keys.APP_KEYS,
    "top level: ": keys.TOP_KEYS,
    "probes.": keys.PROBES_KEYS,
    "log.": keys.LOG_KEYS,
    "control.": keys.CONTROL_KEYS,
    "shutdown.": keys.SHUTDOWN_KEYS,
    "health.": keys.HEALTH_KEYS,
    "listen[].": keys.LISTEN_KEYS,
}


def check(argv: list[str]) -> int:
    """Print all findings in a file. Exit code 0, or 2 with errors."""
    parser = argparse.ArgumentParser("pyinit check", description="Validate a file.")
    parser.add_argument("-c", "--config", metavar="FILE", action="append", default=[])
    parser.add_argument("--env", metavar="NAME", default="", help="with the variables of env_NAME")
    parser.add_argument("--only", metavar="A,B", default="", help="only these apps")
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.add_argument("--strict", action="store_true", help="warnings are errors: exit code 2")
    parser.add_argument(
        "--offline",
        action="store_true",
        help="do not look at scripts, folders, users, variables and files of variables",
    )
    parser.add_argument("file", nargs="*", metavar="FILE", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    only = tuple(name for name in options.only.split(",") if name)
    paths = (*options.config, *options.file)
    try:
        loaded = load(
            paths, env_name=options.env, only=only, environ=os.environ, look=not options.offline
        )
    except ConfigErrors as errors:
        found: tuple[ConfigError, ...] = (*errors.warnings, *errors.errors)
        if options.json:
            _print_json(_file_of(paths[0] if paths else None), found, ok=False)
        else:
            _report(found)
            print(f"pyinit check: {summary(found)}", file=sys.stderr)
        return _BAD
    found = (*loaded.details, *loaded.notes)
    ok = not (options.strict and loaded.details)
    if options.json:
        _print_json(loaded.plan.source, found, ok=ok)
        return 0 if ok else _BAD
    _report(found)
    if not ok:
        print(f"pyinit check --strict: {summary(found)}", file=sys.stderr)
        return _BAD
    for app in loaded.plan.apps:
        print(f"  {_summary(app)}")
    print(f"  stop signals: {_stop_signals(loaded.plan)}")
    counted = summary(found)
    print(f"{loaded.plan.source}: ok" + (f", {counted}" if counted else ""))
    return 0


def _report(found: Iterable[ConfigError]) -> None:
    found = tuple(found)
    colour = wants_colour(os.environ, sys.stderr.isatty())
    print(Report(colour=colour).of(found) + codes(found), end="", file=sys.stderr)


def explain(argv: list[str]) -> int:
    """Print the page of a finding, what a key means, or the list of both."""
    parser = argparse.ArgumentParser(
        "pyinit explain", description="Explain a finding of `check`, or a key of the file."
    )
    parser.add_argument("word", nargs="*", metavar="CODE|KEY", help="PM2-017, kill_timeout")
    wanted = parser.parse_args(argv).word
    if not wanted:
        for page in PAGES:
            print(f"{page.code:12} {page.title}")
        print(f"\nkeys of an app: {', '.join(key.name for key in keys.APP_KEYS)}")
        print(f"keys at the top: {', '.join(key.name for key in keys.TOP_KEYS)}")
        return 0
    pages = [_page_of(word) for word in wanted]
    if "" in pages:
        word = wanted[pages.index("")]
        near = suggest(word, [*BY_CODE, *keys.by_spelling(keys.APP_KEYS)])
        text = f"there is no finding and no key {word!r}{near}; `pyinit explain` lists all"
        print(f"pyinit explain: {text}", file=sys.stderr)
        return _BAD
    print("\n".join(pages), end="")
    return 0


def _page_of(word: str) -> str:
    """The page of a finding, or of a key of any section; empty when there is none."""
    page = BY_CODE.get(word.upper())
    if page is not None:
        return rendered(page)
    found = []
    for where, table in SECTIONS.items():
        key = keys.by_spelling(table).get(word)
        if key is not None:
            choices = f"\n  one of {', '.join(key.choices)}" if key.choices else ""
            default = f"\n  Default: {key.default}." if key.default else ""
            doc = textwrap.fill(key.doc, 76, initial_indent="  ", subsequent_indent="  ")
            found.append(f"{where}{key.name}\n{doc}{choices}{default}\n")
    return "\n".join(found)


def _stop_signals(plan: Plan) -> str:
    """The signals that stop the container, and what to do about an image's own."""
    from entrypoint.kernel.signals import name_of

    names = ["SIGTERM", "SIGINT", "SIGQUIT", *(name_of(each) for each in plan.shutdown.signals)]
    listed = ", ".join(dict.fromkeys(names))
    return f"{listed} (a base image may set another one: write STOPSIGNAL SIGTERM after FROM)"


def _file_of(path: str | None) -> str:
    try:
        return find(path, os.environ)
    except ConfigErrors:
        return ""


def _summary(app: AppSpec) -> str:
    # Neither command nor environment: both may hold secrets.
    workers = f"{app.instances} worker{'s' * (app.instances != 1)}"
    listen = ", ".join(spec.text for spec in app.listen)
    return f"{app.name}: {app.exec_mode}, {workers}" + (f", {listen}" if listen else "")


def _print_json(file: str, found: Iterable[ConfigError], *, ok: bool) -> None:
    errors = [each.as_dict() for each in found if each.severity == "error"]
    warnings = [each.as_dict() for each in found if each.severity == "warning"]
    notes = [each.as_dict() for each in found if each.severity == "note"]
    answer = {"ok": ok, "file": file, "errors": errors, "warnings": warnings, "notes": notes}
    print(json.dumps(answer, indent=2))


def schema(argv: list[str]) -> int:
    """Print the JSON Schema of the file."""
    parser = argparse.ArgumentParser("pyinit schema", description="Print the JSON Schema.")
    parser.parse_args(argv)
    print(json.dumps(make_schema(), indent=2, ensure_ascii=False))
    return 0


def ecosystem(argv: list[str]) -> int:
    """Write a starter `ecosystem.yaml`. Exit code 2 when there is a file already."""
    parser = argparse.ArgumentParser(
        "pyinit ecosystem", description="Write a commented file to begin with."
    )
    parser.add_argument("file", nargs="?", default="ecosystem.yaml", metavar="FILE")
    path = parser.parse_args(argv).file
    try:
        written = write(path, os.path.dirname(os.path.abspath(path)))
    except OSError as error:
        print(f"pyinit ecosystem: {path}: {error.strerror}", file=sys.stderr)
        return 1
    if not written:
        print(f"pyinit ecosystem: {path} is already there and is left as it is", file=sys.stderr)
        return _BAD
    print(f"{path} is written; run it by `pyinit -c {path}`")
    return 0


def convert(argv: list[str]) -> int:
    """Print a PM2 file as YAML. Exit code 0, or 2 when it cannot be read."""
    parser = argparse.ArgumentParser(
        "pyinit convert",
        description="Print a PM2 file as YAML, or a Procfile, supervisord.conf, crontab, units of "
        "systemd, a folder of s6-rc.d, or the services of a Compose file.",
    )
    parser.add_argument("file", nargs="*", metavar="FILE")
    parser.add_argument("-c", "--config", metavar="FILE", help=argparse.SUPPRESS)
    parser.add_argument(
        "--env", metavar="NAME", default="", help="with the options that are in env_NAME"
    )
    options = parser.parse_args(argv)
    paths = (*options.file, *([options.config] if options.config else ()))
    problems = Problems(paths[0] if paths else "")
    try:
        text = converted(paths, os.environ, problems, options.env)
    except ConfigErrors as errors:
        _report((*errors.warnings, *errors.errors))
        return _BAD
    _report(problems.warnings)
    sys.stdout.write(text)
    return 0
