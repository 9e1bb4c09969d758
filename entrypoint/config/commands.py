"""`pyinit check`, `schema`, `ecosystem` and `convert`: commands that run nothing."""

from __future__ import annotations

import argparse
import json
import os
import sys

from .convert import converted
from .errors import ConfigErrors, Problems
from .load import find, load
from .schema import schema as make_schema
from .starter import write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..core.spec import AppSpec, Plan
    from .errors import ConfigError

_BAD = 2


def check(argv: list[str]) -> int:
    """Say everything that is wrong with a file. Exit code 0, or 2 with errors."""
    parser = argparse.ArgumentParser("pyinit check", description="Validate a file.")
    parser.add_argument("-c", "--config", metavar="FILE", action="append", default=[])
    parser.add_argument("--env", metavar="NAME", default="", help="with the variables of env_NAME")
    parser.add_argument("--only", metavar="A,B", default="", help="only these apps")
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.add_argument("file", nargs="?", metavar="FILE", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    only = tuple(name for name in options.only.split(",") if name)
    paths = tuple(options.config) or ((options.file,) if options.file else ())
    path = paths[0] if paths else None
    try:
        loaded = load(paths, env_name=options.env, only=only, environ=os.environ)
    except ConfigErrors as errors:
        if options.json:
            _print_json(_file_of(path), errors.errors, errors.warnings)
        else:
            _tell(errors.warnings, "warning: ")
            _tell(errors.errors, "")
            count = len(errors.errors)
            print(f"pyinit check: {count} error{'s' * (count != 1)}", file=sys.stderr)
        return _BAD
    if options.json:
        _print_json(loaded.plan.source, (), loaded.details)
        return 0
    _tell(loaded.details, "warning: ")
    for app in loaded.plan.apps:
        print(f"  {_summary(app)}")
    print(f"  stop signals: {_stop_signals(loaded.plan)}")
    print(f"{loaded.plan.source}: ok")
    return 0


def _stop_signals(plan: Plan) -> str:
    """The signals that stop the container, and what to do about an image's own."""
    from ..kernel.signals import name_of

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


def _tell(problems: Iterable[ConfigError], prefix: str) -> None:
    for problem in problems:
        print(_printable(f"{prefix}{problem}"), file=sys.stderr)


def _printable(text: str) -> str:
    """A hostile file's keys must not drive a terminal, nor a surrogate end the print."""
    return "".join(char if char.isprintable() else "\ufffd" for char in text)


def _print_json(file: str, errors: Iterable[ConfigError], warnings: Iterable[ConfigError]) -> None:
    found = [error.as_dict() for error in errors]
    answer = {
        "ok": not found,
        "file": file,
        "errors": found,
        "warnings": [warning.as_dict() for warning in warnings],
    }
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
    parser = argparse.ArgumentParser("pyinit convert", description="Print a PM2 file as YAML.")
    parser.add_argument("file", nargs="?", metavar="FILE")
    parser.add_argument("-c", "--config", metavar="FILE", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    path = options.file or options.config
    problems = Problems(path or "")
    try:
        problems.file = find(path, os.environ)
        text = converted(path, os.environ, problems)
        problems.raise_errors()
    except ConfigErrors as errors:
        _tell(errors.errors, "")
        return _BAD
    _tell(problems.warnings, "warning: ")
    sys.stdout.write(text)
    return 0
