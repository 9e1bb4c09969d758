"""Applies the file's `log` settings to the present descriptors."""

from __future__ import annotations

import os

from .layout import Flat, Keys, layout
from .multiline import Joiner
from .wrap import JsonWrapper, Wrapper

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from entrypoint.core.spec import AppSpec, LogSpec

    from .console import Style
    from .stream import Stream


class LogFormat:
    """The present format; makes a stream's records in it.

    `fds` are the outputs of the lines and, with `raw`, of pyinit's own events.
    """

    def __init__(self, spec: LogSpec, fds: tuple[int, int], environ: Mapping[str, str]) -> None:
        self._fds = fds
        self._environ = environ
        self._timed: frozenset[str] = frozenset()  # apps with PM2's `time`
        self._rules: dict[str, str] = {}  # app: its rule for what is one record
        self.style: Style | None = None
        self.layout: Flat
        self.choose(spec)

    def choose(self, spec: LogSpec) -> None:
        """Use the format of `spec`."""
        self.spec = spec
        self.name = spec.format
        self.raw = spec.format == "raw"
        terminal = os.isatty(self._fds[self.raw])
        if self.name == "auto":
            self.name = "console" if terminal else "json"
        if self.name == "console" or (self.raw and terminal):
            if self.style is None:
                from .console import Style, wants_colour

                self.style = Style(colour=wants_colour(self._environ, terminal))
        else:
            self.style = None
        self.terminal = terminal and self.name == "console"
        self.layout = Flat(Keys()) if self.style is not None else layout(spec.keys, spec.names)

    def set_apps(self, apps: Sequence[AppSpec]) -> None:
        """Apply the apps' settings for their lines."""
        self._timed = frozenset(app.name for app in apps if app.time)
        self._rules = {app.name: app.multiline for app in apps if app.multiline}

    def expect(self, apps: Sequence[AppSpec]) -> None:
        """Make the labels of the console wide enough for these apps."""
        if self.style is not None:
            self.style.expect(f"{app.name}:{max(0, app.instances - 1)}" for app in apps)

    def add_app(self, app: str, *, with_time: bool, multiline: str) -> None:
        """Apply one app's settings for its lines."""
        if with_time and app not in self._timed:
            self._timed |= {app}
        if multiline:
            self._rules[app] = multiline

    def wrapper(self, stream: Stream) -> Wrapper:
        """A new wrapper for the lines of the stream. Not for raw output."""
        rule = self._rules.get(stream.app, "")
        joiner = Joiner(rule) if rule else None
        if self.style is None:
            form = self.layout.lines(stream.app, stream.instance, stream.pid, stream.name)
            return JsonWrapper(form, joiner)
        from .console import ConsoleWrapper

        timed = stream.app in self._timed
        return ConsoleWrapper(
            stream.app, stream.instance, stream.name, self.style, time=timed, joiner=joiner
        )
