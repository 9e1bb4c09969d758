"""Typed values out of nodes: one reader for each `kind` of the key table.

A reader returns the value, or `MISSING` after it has told the problem. `null` is as if
the key were not there.
"""

from __future__ import annotations

from ..core.spec import DependsSpec, HealthSpec, ListenSpec
from . import address, keys, units, words
from .errors import quoted
from .tree import Node, core_value
from .variables import VariableError, is_name, replace_in

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

    from .errors import Problems
    from .keys import Key
    from .tree import Plain


class _Missing:
    def __repr__(self) -> str:
        """For a debugger."""
        return "MISSING"


MISSING: Any = _Missing()
_MOST_INSTANCES = 10_000


class Reader:
    """Reads values and tells their problems. `cpus()` is asked for `instances: max`."""

    def __init__(
        self, problems: Problems, environ: Mapping[str, str], cpus: Callable[[], int]
    ) -> None:
        self.problems = problems
        self.environ = environ
        self._cpus = cpus
        # Paths of the files beside this one that were looked at, in order.
        self.files: dict[str, None] = {}

    # -- helpers ----------------------------------------------------------------

    def fail(self, node: Node, path: str, message: str) -> Any:
        """Tell an error; returns MISSING."""
        self.problems.error(node, path, message)
        return MISSING

    def ready(self, node: Node, path: str) -> bool:
        """Replace the variables of a scalar; whether it can be used."""
        try:
            replace_in(node, self.environ)
        except VariableError as error:
            self.problems.error(node, path, str(error))
            return False
        return True

    def shown(self, node: Node) -> str:
        """What stands there, for a message; never a value from the environment."""
        if node.kind != "scalar":
            return "a mapping" if node.kind == "map" else "a list"
        return "the replaced value" if node.replaced else quoted(node.text)

    @staticmethod
    def told(node: Node, text: str) -> str:
        """`text`, made of `node`'s, for a message; never a value from the environment.

        Where something was replaced it is shown only if the file itself has it.
        """
        nodes = node.items if node.kind == "seq" else [node]
        written = " ".join(each.written or each.text for each in nodes)
        if any(each.replaced for each in nodes) and text not in written:
            return quoted(written)
        return quoted(text)

    def typed(self, node: Node) -> Plain:
        """The value for a key that is no text: a replaced one counts as unquoted."""
        return core_value(node.text) if node.replaced else node.value

    def section(
        self,
        node: Node,
        path: str,
        table: tuple[Key, ...],
        ignored: Mapping[str, str] | None = None,
        other: Callable[[str], bool] = lambda _: False,
    ) -> dict[str, tuple[str, Node, Any]]:
        """All keys of a mapping: name → (its path, its value's node, the value).

        Unknown keys are errors with a suggestion, `ignored` ones warnings; those for
        which `other` is true are left to the caller.
        """
        spellings = keys.by_spelling(table)
        found: dict[str, tuple[str, Node, Any]] = {}
        for word, (key_node, value_node) in node.entries.items():
            where = f"{path}.{word}" if path else word
            key = spellings.get(word)
            if key is None:
                if ignored is not None and word in ignored:
                    self.problems.warn(key_node, where, f"is ignored: {ignored[word]}")
                elif not other(word):
                    near = self.problems.suggest(word, [*spellings, *(ignored or ())])
                    self.problems.error(key_node, where[:120], f"is not a known key{near}")
            elif key.name in found:
                first = found[key.name][0]
                self.problems.error(key_node, where, f"says again what {first} says")
            elif self.ready(value_node, where) and not self._absent(value_node):
                value = self.read(key, value_node, where)
                if value is not MISSING:
                    found[key.name] = (where, value_node, value)
        return found

    def _absent(self, node: Node) -> bool:
        return node.is_null or bool(node.replaced and node.text == "")

    def read(self, key: Key, node: Node, path: str) -> Any:
        """The value of `key` in `node`, or MISSING."""
        if key.kind == "choice":
            return self.choice(node, path, key.choices)
        reader: Callable[[Node, str], Any] | None = getattr(self, f"read_{key.kind}", None)
        # Sections (apps, probes, …) are read by load.py.
        return node if reader is None else reader(node, path)

    # -- scalars ----------------------------------------------------------------

    def _scalar(self, node: Node, path: str, allowed: str) -> Any:
        if node.kind != "scalar":
            return self.fail(node, path, f"must be {allowed}, not {self.shown(node)}")
        return self.typed(node)

    def _parsed(self, node: Node, path: str, parse: Callable[[Plain], Any]) -> Any:
        if node.kind != "scalar":
            return self.fail(node, path, f"must be one value, not {self.shown(node)}")
        try:
            return parse(self.typed(node))
        except ValueError as error:
            return self.fail(node, path, f"cannot be {self.shown(node)}; {error}")

    def read_text(self, node: Node, path: str) -> Any:
        """A text; numbers and words count as they are written."""
        if node.kind != "scalar" or isinstance(node.value, bool):
            return self.fail(node, path, f"must be a text, not {self.shown(node)}")
        if "\0" in node.text:
            return self.fail(node, path, "cannot hold a NUL")
        return node.text

    def read_name(self, node: Node, path: str) -> Any:
        """An app's name."""
        text = self.read_text(node, path)
        if text is MISSING:
            return text
        if not text.strip() or len(text) > 128 or not text.isprintable() or "," in text:
            return self.fail(node, path, "a name has 1 to 128 printable characters and no comma")
        if text == "all":
            return self.fail(node, path, '"all" means every app; choose another name')
        return text

    def read_variable(self, node: Node, path: str) -> Any:
        """The name of an environment variable."""
        text = self.read_text(node, path)
        if text is not MISSING and not is_name(text):
            return self.fail(node, path, "must be the name of an environment variable")
        return text

    def read_bool(self, node: Node, path: str) -> Any:
        """`true` or `false`."""
        value = self._scalar(node, path, "true or false")
        if value is MISSING or isinstance(value, bool):
            return value
        hint = ""
        if isinstance(value, str) and value.lower() in {"yes", "no", "on", "off", "y", "n"}:
            hint = " (in YAML 1.2 this is a text)"
        return self.fail(node, path, f"must be true or false, not {self.shown(node)}{hint}")

    def choice(self, node: Node, path: str, choices: tuple[str, ...]) -> Any:
        """One of some words."""
        value = node.text if node.kind == "scalar" else ""
        if value in choices:
            return value
        listed = ", ".join(choices)
        near = self.problems.suggest(value, choices) if value and not node.replaced else ""
        return self.fail(node, path, f"cannot be {self.shown(node)}; use one of {listed}{near}")

    def _integer(self, node: Node, path: str, lowest: int, highest: int) -> Any:
        value = self._scalar(node, path, "a number")
        if value is MISSING:
            return value
        if isinstance(value, str):
            value = core_value(value.strip())  # PM2 takes "4" for 4
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            return self.fail(node, path, f"must be a whole number, not {self.shown(node)}")
        if not lowest <= value <= highest:
            return self.fail(
                node, path, f"cannot be {self.shown(node)}; it is between {lowest} and {highest}"
            )
        return value

    def read_count(self, node: Node, path: str) -> Any:
        """A whole number from 0."""
        return self._integer(node, path, 0, 2**31 - 1)

    def read_positive(self, node: Node, path: str) -> Any:
        """A whole number from 1."""
        return self._integer(node, path, 1, 2**31 - 1)

    def read_port(self, node: Node, path: str) -> Any:
        """A port, as the text of `PORT`."""
        value = self._integer(node, path, 0, 65535)
        return value if value is MISSING else str(value)

    def read_time(self, node: Node, path: str) -> Any:
        """Seconds."""
        return self._parsed(node, path, units.seconds)

    def read_size(self, node: Node, path: str) -> Any:
        """Bytes."""
        return self._parsed(node, path, units.size)

    def read_signal(self, node: Node, path: str) -> Any:
        """A signal's number."""
        return self._parsed(node, path, units.signal_number)

    def read_mode(self, node: Node, path: str) -> Any:
        """Permissions: octal digits, however they were typed."""
        text = node.text.removeprefix("0o") if node.kind == "scalar" else ""
        if not text or len(text) > 4 or not frozenset("01234567").issuperset(text):
            return self.fail(node, path, 'must be octal permissions such as "0660"')
        return int(text, 8)

    def read_cron(self, node: Node, path: str) -> Any:
        """A cron pattern; PM2's 0 is off."""
        text = self.read_text(node, path)
        if text is MISSING or text in {"0", ""}:
            return "" if text is not MISSING else text
        try:
            return units.cron(text)
        except ValueError as error:
            return self.fail(node, path, str(error))

    def read_instances(self, node: Node, path: str) -> Any:
        """A number of workers."""
        value = self._scalar(node, path, 'a number or "max"')
        if value is MISSING:
            return value
        if isinstance(value, str) and value.strip().lower() != "max":
            value = core_value(value.strip())
        if isinstance(value, str) and value.strip().lower() == "max":
            return self._cpus()
        if isinstance(value, bool) or not isinstance(value, int):
            return self.fail(
                node, path, f'cannot be {self.shown(node)}; use a positive number or "max"'
            )
        if value > _MOST_INSTANCES:
            return self.fail(node, path, f"cannot be more than {_MOST_INSTANCES}")
        return value if value > 0 else max(1, self._cpus() + value)

    def read_user(self, node: Node, path: str) -> Any:
        """A user by name or number, as text."""
        return self.read_text(node, path)

    read_group = read_user

    def read_ready_when(self, node: Node, path: str) -> Any:
        """`all`, `any`, a number, a percentage."""
        text = node.text.strip() if node.kind == "scalar" else ""
        digits = text.removesuffix("%")
        if text in {"all", "any"}:
            return text
        number = int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 6 else 0
        if number > 0 and (text == digits or number <= 100):
            return text
        return self.fail(node, path, "must be all, any, a number of workers or a percentage")

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
        return self._parsed(node, path, address.parse)

    def read_listen(self, node: Node, path: str) -> Any:
        """Addresses: a tuple of ListenSpec."""
        found: list[ListenSpec] = []
        for item, where in self._items(node, path):
            spec = self._listen_one(item, where)
            if spec is MISSING:
                continue
            if any(address.overlap(spec, other) for other in found):
                self.problems.error(item, where, f"{spec.text} is there twice")
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
                where, place, _ = values[name]
                kind = "a unix socket" if family == "unix" else "an IPv6 address"
                self.problems.error(place, where, f"is for {kind} only")
        # LISTEN_FDNAMES is a list with colons, sd_listen_fds(3).
        if ":" in changes.get("name", ""):
            where, place, _ = values["name"]
            self.problems.error(place, where, "cannot hold a colon")
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
        where, place, target = values[ways[0]]
        if ways[0] == "http" and not target.startswith(("/", "http://")):
            return self.fail(place, where, 'must be a path ("/healthz") or an http:// URL')
        if ways[0] == "http":
            try:
                address.parse_url(target if target[0] != "/" else f"http://localhost{target}")
            except ValueError as error:
                return self.fail(place, where, str(error))
        if ways[0] == "tcp":
            try:
                address.parse(core_value(target))
            except ValueError as error:
                return self.fail(place, where, str(error))
        if not target:
            return self.fail(place, where, "is empty")
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
        where, place, pattern = values["start"]
        try:
            check_pattern(pattern)
        except ValueError as error:
            return self.fail(place, where, str(error))
        return f"^{pattern}"

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
