"""Reads the plan in a child process: at boot, at SIGHUP, and on request."""

from __future__ import annotations

import os

from entrypoint.core.record import Record
from entrypoint.core.spec import Plan, pack, unpack
from entrypoint.kernel import forked

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class Source(Record):
    """Where the plan comes from: the command line of the run."""

    paths: tuple[str, ...] = ()
    env_name: str = ""
    only: tuple[str, ...] = ()
    # One app, by PM2's keys, instead of files (`pyinit start app.js`); options that are
    # applied to the apps of files; `log.format`.
    app: tuple[tuple[str, object], ...] = ()
    options: tuple[tuple[str, object], ...] = ()
    log_format: str = ""
    # `pyinit dev`: defaults for a laptop, and errors show the lines of the file.
    dev: bool = False


class Outcome(Record):
    """The loader's result: a plan with warnings, or errors, as sentences."""

    plan: Plan | None
    warnings: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()


def read_plan(source: Source, revision: int) -> bytes:
    """Load the file in this process; returns the marshalled answer of the loader."""
    # Imported here so that only the loader's process pays for the YAML reader.
    import marshal

    from entrypoint.config.errors import ConfigErrors
    from entrypoint.config.load import load
    from entrypoint.kernel.seccomp import filter_refusal
    from entrypoint.sockets.fallback import adapt

    try:
        loaded = load(
            source.paths,
            env_name=source.env_name,
            only=source.only,
            environ=os.environ,
            revision=revision,
            command_line=(source.app, source.options, source.log_format, source.dev),
        )
    except ConfigErrors as errors:
        if source.dev:
            from entrypoint.config import dev

            dev.show(errors.errors)
        return marshal.dumps((None, (), tuple(str(error) for error in errors.errors)))
    plan, said = adapt(loaded.plan, filter_refusal)
    return marshal.dumps((pack(plan), (*loaded.warnings, *said), ()))


def parse_answer(data: bytes) -> Outcome:
    """Parse the output of `read_plan`. Invalid bytes count as an error of the loader."""
    import marshal

    try:
        plan, warnings, errors = marshal.loads(data)  # noqa: S302  our own child wrote it
        return Outcome(unpack(plan) if plan else None, warnings, errors)
    except (ValueError, TypeError, KeyError, EOFError) as error:
        reason = f"the process that reads the file ended without an answer ({error})"
        return Outcome(None, (), (reason,))


class Loading(forked.Child):
    """One load under way in a child. `fd` is readable until the answer is complete."""

    def __init__(self, source: Source, revision: int) -> None:
        super().__init__(lambda: read_plan(source, revision))

    def read(self, before_close: Callable[[int], None]) -> Outcome | None:
        """Read available bytes; returns the outcome at end of file, where `fd` is closed."""
        answer = self.take(before_close)
        return None if answer is None else parse_answer(answer)
