"""Reads typed values from nodes: one reader for each `kind` of the key table.

Here are lists and mappings; single values are in scalars.py.
"""

from __future__ import annotations

from entrypoint.core.spec import MESSAGE, DependsSpec, HealthSpec, ListenSpec
from entrypoint.kernel import signals
from entrypoint.sockets import declared_address

from . import keys, units, words
from .scalars import MISSING, Scalars
from .tree import Node, core_value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

__all__ = ["MISSING", "Reader"]

# Never received as requests: they are not caught, or they belong to job control.
_NO_STOP = signals.ALL - signals.CAUGHT | signals.SUSPENDS | {signals.SIGCHLD, signals.SIGCONT}


class Reader(Scalars):
    """Reads values of every kind and reports their problems."""

    # -- lists ------------------------------------------------------------------

    def _items(self, node: Node, path: str) -> Iterable[tuple[Node, str]]:
        if node.kind == "seq":
            for index, item in enumerate(node.items):
                where = f"{path}[{index}]"
                if self.ready(item, where):
                    yield item, where
        else:
            yield node, path

    def _texts(self, node: Node, path: str) -> Any:
        found = []
        for item, where in self._items(node, path):
            text = self.read_text(item, where)
            if text is MISSING:
                return text
            found.append(text)
        return tuple(found)

    def read_strings(self, node: Node, path: str) -> Any:
        """A list of texts, or one."""
        return self._texts(node, path)

    def read_words(self, node: Node, path: str) -> Any:
        """A list of arguments, or a text that is split."""
        if node.kind != "scalar":
            return self._texts(node, path)
        text = self.read_text(node, path)
        if text is MISSING:
            return text
        try:
            return words.split_words(text)
        except ValueError as error:
            return self.fail(node, path, str(error))

    def read_treekill(self, node: Node, path: str) -> Any:
        """Processes that a stop ends: `tree` for true, `all`, `group`, or `none` for false."""
        if node.kind == "scalar" and node.text in {"all", "group"}:
            return node.text
        value = self.typed(node) if node.kind == "scalar" else None
        if not isinstance(value, bool):
            return self.fail(
                node, path, f"cannot be {self.shown(node)}; use one of true, false, all, group"
            )
        return "tree" if value else "none"

    def read_signals(self, node: Node, path: str) -> Any:
        """Signals that stop the container, one or a list: a tuple of numbers."""
        found = []
        for item, where in self._items(node, path):
            number = self.read_signal(item, where)
            if number is not MISSING and number in _NO_STOP:
                number = self.fail(
                    item,
                    where,
                    f"cannot be {self.shown(item)}: pyinit cannot receive it, or it is part of "
                    "job control; use the image's STOPSIGNAL, such as SIGUSR1",
                )
            found.append(number)
        return MISSING if MISSING in found else tuple(dict.fromkeys(found))

    def read_notify(self, node: Node, path: str) -> Any:
        """`message`, or a signal that can be caught."""
        if node.kind == "scalar" and node.text == "message":
            return MESSAGE
        number = self.read_signal(node, path)
        if number is not MISSING and number not in signals.CAUGHT:
            return self.fail(node, path, f"cannot be {self.shown(node)}: no program can catch it")
        return number

    def read_codes(self, node: Node, path: str) -> Any:
        """Exit codes."""
        found = [self._integer(item, where, 0, 255) for item, where in self._items(node, path)]
        return MISSING if MISSING in found else tuple(found)

    def read_watch(self, node: Node, path: str) -> Any:
        """False, True, or a tuple of paths."""
        value = self.typed(node) if node.kind == "scalar" else None
        if isinstance(value, bool):
            return value
        if isinstance(value, str) and value.lower() in {"yes", "no", "on", "off"}:
            return self.read_bool(node, path)
        paths = self._texts(node, path)
        # PM2 watches `cwd` for an empty list.
        return True if paths == () else paths

    def read_filter_env(self, node: Node, path: str) -> Any:
        """A bool, a name, or a tuple of parts of names."""
        value = self.typed(node) if node.kind == "scalar" else None
        if isinstance(value, bool):
            return value
        return self._texts(node, path) if node.kind != "scalar" else self.read_text(node, path)

    # -- mappings ---------------------------------------------------------------

    def read_env(self, node: Node, path: str) -> Any:
        """Variables: a dict of texts."""
        if node.kind != "map":
            return self.fail(node, path, "must be a mapping of names to values")
        found = {}
        for name, (key_node, value) in node.entries.items():
            where = f"{path}.{name}"[:120]
            if not name or "=" in name or "\0" in name:
                self.problems.error(key_node, path, 'a name is not empty and holds no "="')
                continue
            if not self.ready(value, where):
                continue
            text = self._env_text(value, where)
            if "\0" in text:
                self.problems.error(value, where, "a variable cannot hold a NUL")
            elif not value.is_null or value.replaced:
                found[name] = text
        return found

    def read_env_file(self, node: Node, path: str) -> Any:
        """Files of variables: a tuple of EnvFile."""
        from . import envfiles  # most files name none

        return envfiles.read_files(self, node, path)

    def read_env_from_file(self, node: Node, path: str) -> Any:
        """Variables and the files of their values: a tuple of SecretFile."""
        from . import envfiles

        return envfiles.read_secrets(self, node, path)

    def read_names(self, node: Node, path: str) -> Any:
        """A bool, or a tuple of names of variables."""
        if node.kind == "scalar":
            value = self.typed(node)
            if isinstance(value, bool):
                return value
            if isinstance(value, str) and value.lower() in {"yes", "no", "on", "off"}:
                return self.read_bool(node, path)
        found = [self.read_variable(item, where) for item, where in self._items(node, path)]
        return MISSING if MISSING in found else tuple(found)

    def _env_text(self, node: Node, path: str) -> str:
        if node.kind != "scalar":
            import json

            return json.dumps(self._plain(node, path), ensure_ascii=False, separators=(",", ":"))
        if isinstance(node.value, bool) and not node.replaced:
            return "true" if node.value else "false"
        # As it is written: `1.10` and `007` are no numbers to the app.
        return node.text

    def _plain(self, node: Node, path: str) -> Any:
        if not self.ready(node, path):
            return None
        if node.kind == "map":
            return {k: self._plain(v, f"{path}.{k}"[:120]) for k, (_, v) in node.entries.items()}
        if node.kind == "seq":
            return [self._plain(item, f"{path}[{i}]") for i, item in enumerate(node.items)]
        value = node.value
        if isinstance(value, float) and not -1e308 <= value <= 1e308:
            return None  # as JSON.stringify
        return value

    def read_address(self, node: Node, path: str) -> Any:
        """One address."""
        return self._parsed(node, path, declared_address.parse)

    def read_listen(self, node: Node, path: str) -> Any:
        """Addresses: a tuple of ListenSpec."""
        found: list[ListenSpec] = []
        for item, where in self._items(node, path):
            spec = self._listen_one(item, where)
            if spec is MISSING:
                continue
            if any(declared_address.overlap(spec, other) for other in found):
                self.problems.error(item, where, f"{spec.text} is listed twice")
            found.append(spec)
        return tuple(found)

    def _listen_one(self, node: Node, path: str) -> Any:
        if node.kind != "map":
            return self.read_address(node, path)
        values = self.section(node, path, keys.LISTEN_KEYS)
        if "address" not in values:
            if "address" not in node.entries:
                self.problems.error(node, path, "needs an `address`")
            return MISSING
        spec: ListenSpec = values["address"][2]
        changes = {name: value for name, (_, _, value) in values.items() if name != "address"}
        for name, family in (("mode", "unix"), ("v6only", "inet6")):
            if name in values and spec.family != family:
                where, location, _ = values[name]
                kind = "a unix socket" if family == "unix" else "an IPv6 address"
                self.problems.error(location, where, f"is for {kind} only")
        # LISTEN_FDNAMES is a list with colons, sd_listen_fds(3).
        if ":" in changes.get("name", ""):
            where, location, _ = values["name"]
            self.problems.error(location, where, "cannot hold a colon")
        return spec.replace(**changes)

    def read_health(self, node: Node, path: str) -> Any:
        """An active check."""
        if node.kind != "map":
            return self.fail(node, path, "must be a mapping with http, tcp or exec")
        values = self.section(node, path, keys.HEALTH_KEYS)
        ways = [name for name in ("http", "tcp", "exec") if name in node.entries]
        if len(ways) != 1:
            return self.fail(node, path, "needs exactly one of http, tcp and exec")
        if ways[0] not in values:
            return MISSING
        where, location, target = values[ways[0]]
        if ways[0] == "http" and not target.startswith(("/", "http://")):
            return self.fail(location, where, 'must be a path ("/healthz") or an http:// URL')
        if ways[0] == "http":
            try:
                declared_address.parse_url(
                    target if target[0] != "/" else f"http://localhost{target}"
                )
            except ValueError as error:
                return self.fail(location, where, str(error))
        if ways[0] == "tcp":
            try:
                declared_address.parse(core_value(target))
            except ValueError as error:
                return self.fail(location, where, str(error))
        if not target:
            return self.fail(location, where, "is empty")
        changes = {name: value for name, (_, _, value) in values.items()}
        if "exec" in changes:
            changes["command"] = changes.pop("exec")
        if changes.get("timeout") == 0 or changes.get("interval") == 0:
            return self.fail(node, path, "interval and timeout are longer than 0")
        return HealthSpec(**changes)

    def read_multiline(self, node: Node, path: str) -> Any:
        """Which lines are one record: `off`, `auto`, or `^REGEX` (logs/multiline.py)."""
        from .patterns import check_pattern

        if node.kind != "map":
            chosen = self.read_bool(node, path)
            return chosen if chosen is MISSING else "auto" if chosen else "off"
        values = self.section(node, path, keys.MULTILINE_KEYS)
        if "start" not in values:
            if "start" not in node.entries:
                self.problems.error(node, path, "needs a `start`, or is true")
            return MISSING
        where, location, pattern = values["start"]
        try:
            check_pattern(pattern)
        except ValueError as error:
            return self.fail(location, where, str(error))
        return f"^{pattern}"

    def read_commands(self, node: Node, path: str) -> Any:
        """Commands, as a tuple of argument vectors: a text, or a list of texts or of vectors."""
        listed = node.kind == "seq"
        found = []
        for at, item in enumerate(node.items if listed else [node]):
            where = f"{path}[{at}]" if listed else path
            if not self.ready(item, where):
                continue
            argv = self.read_words(item, where) if item.kind == "seq" else self._line(item, where)
            if argv is not MISSING and not argv:
                self.fail(item, where, "is empty")
            elif argv is not MISSING:
                found.append(argv)
        return tuple(found)

    def _line(self, node: Node, path: str) -> Any:
        """A command line; one with a shell's signs is for a shell."""
        text = self.read_text(node, path)
        if text is MISSING:
            return text
        try:
            line = words.split(text)
        except ValueError as error:
            return self.fail(node, path, f"is no command line: {error}")
        return line.words if line.shell == "no" else ("/bin/sh", "-c", text)

    def read_rlimits(self, node: Node, path: str) -> Any:
        """Limits: a tuple of (name, soft, hard)."""
        if node.kind != "map":
            return self.fail(node, path, "must be a mapping, such as {nofile: 65536}")
        from entrypoint.kernel.limits import NAMES

        found = []
        for name, (key_node, value) in node.entries.items():
            where = f"{path}.{name}"[:120]
            if name.lower().removeprefix("rlimit_") not in NAMES:
                near = self.problems.suggest(name, NAMES)
                self.fail(key_node, where, f"is not one of {', '.join(NAMES)}{near}")
            elif self.ready(value, where):
                limit = self._rlimit(value, where)
                if limit is not MISSING:
                    found.append((name.lower().removeprefix("rlimit_"), *limit))
        return tuple(sorted(found))

    def _rlimit(self, node: Node, path: str) -> Any:
        if node.kind == "map":
            values = self.section(node, path, keys.RLIMIT_KEYS)
            given = {name: value for name, (_, _, value) in values.items()}
            if not given:
                return self.fail(node, path, "needs `soft` or `hard`")
            soft: int = given.get("soft", given.get("hard", 0))
            hard: int = given.get("hard", soft)
        else:
            text = node.text if node.kind == "scalar" else ""
            first, colon, second = text.partition(":")
            try:
                soft = units.rlimit(first if colon else self.typed(node))
                hard = units.rlimit(second) if colon else soft
            except ValueError as error:
                return self.fail(node, path, f"cannot be {self.shown(node)}; {error}")
        if hard != -1 and (soft == -1 or soft > hard):
            return self.fail(node, path, "the soft limit is above the hard one")
        return soft, hard

    def read_depends(self, node: Node, path: str) -> Any:
        """Dependencies: a tuple of DependsSpec."""
        if node.kind != "map":
            names = self._texts(node, path)
            if names is MISSING:
                return names
            return tuple(DependsSpec(app=name) for name in dict.fromkeys(names))
        found = []
        for name, (_, value) in node.entries.items():
            where = f"{path}.{name}"
            if not self.ready(value, where):
                continue
            condition = "service_started"
            if value.kind == "map":
                values = self.section(value, where, keys.DEPENDS_KEYS)
                condition = values["condition"][2] if "condition" in values else condition
            elif not value.is_null:
                condition = self.choice(value, where, keys.DEPENDS_CONDITIONS)
            if condition is not MISSING:
                found.append(DependsSpec(app=name, condition=condition))
        return tuple(found)
