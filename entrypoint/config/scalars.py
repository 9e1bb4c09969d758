"""Reads typed values from single nodes; shared code of all readers (read.py).

A reader returns the value, or `MISSING` after it has reported the problem. `null` counts as
a missing key.
"""

from __future__ import annotations

from entrypoint.core.spec import AUTO

from . import keys, units
from .errors import quoted
from .tree import Node, core_value
from .variables import VariableError, is_name, replace_in

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
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


class Scalars:
    """Reads single values and reports their problems. `cpus()` is called for `instances: max`."""

    def __init__(
        self, problems: Problems, environ: Mapping[str, str], cpus: Callable[[], int]
    ) -> None:
        self.problems = problems
        self.environ = environ
        self._cpus = cpus
        # False: nothing beside the file is read (`pyinit check --offline`).
        self.look = True
        # Of the node that evaluated the file, as `v22.18.0`; empty when none did.
        self.node_version = ""
        # Paths of the files beside this one that were read, in order.
        self.files: dict[str, None] = {}

    # -- helpers ----------------------------------------------------------------

    def fail(self, node: Node, path: str, message: str) -> Any:
        """Report an error; returns MISSING."""
        self.problems.error(node, path, message)
        return MISSING

    def ready(self, node: Node, path: str) -> bool:
        """Replace the variables of a scalar; returns whether it can be used."""
        try:
            replace_in(node, self.environ)
        except VariableError as error:
            # Offline, a variable that is not set here may be set where the file is used.
            if self.look or not error.unset:
                self.problems.error(node, path, str(error))
            return False
        return True

    def shown(self, node: Node) -> str:
        """The written text, for a message; never a value from the environment."""
        if node.kind != "scalar":
            return "a mapping" if node.kind == "map" else "a list"
        return "the replaced value" if node.replaced else quoted(node.text)

    @staticmethod
    def redacted(node: Node, text: str) -> str:
        """`text`, made of `node`'s, for a message; never a value from the environment.

        Where something was replaced it is shown only if the file itself has it.
        """
        nodes = node.items if node.kind == "seq" else [node]
        written = " ".join(each.written or each.text for each in nodes)
        if any(each.replaced for each in nodes) and text not in written:
            return quoted(written)
        return quoted(text)

    def typed(self, node: Node) -> Plain:
        """The value for a key that is not a text: a replaced one counts as unquoted."""
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
                self.problems.error(key_node, where, f"duplicates {first}")
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

    def read_memory_limit(self, node: Node, path: str) -> Any:
        """Bytes, or `auto`."""
        if node.kind == "scalar" and node.text.strip() == "auto":
            return AUTO
        return self.read_size(node, path)

    def read_signal(self, node: Node, path: str) -> Any:
        """A signal's number."""
        return self._parsed(node, path, units.signal_number)

    def read_mode(self, node: Node, path: str) -> Any:
        """Permissions: octal digits, however they were typed."""
        text = node.text.removeprefix("0o") if node.kind == "scalar" else ""
        if not text or len(text) > 4 or not frozenset("01234567").issuperset(text):
            return self.fail(node, path, 'must be octal permissions such as "0660"')
        return int(text, 8)

    def read_umask(self, node: Node, path: str) -> Any:
        """A mask for permissions, octal."""
        value = self.read_mode(node, path)
        if value is not MISSING and value > 0o777:
            return self.fail(node, path, 'must be octal and at most 0777, such as "0027"')
        return value

    def read_nice(self, node: Node, path: str) -> Any:
        """nice(2)."""
        return self._integer(node, path, -20, 19)

    def read_oom_score_adj(self, node: Node, path: str) -> Any:
        """proc_pid_oom_score_adj(5)."""
        return self._integer(node, path, -1000, 1000)

    def read_rlimit(self, node: Node, path: str) -> Any:
        """A limit as a number; -1: unlimited."""
        return self._parsed(node, path, units.rlimit)

    def read_cron(self, node: Node, path: str) -> Any:
        """A cron pattern; PM2's 0 is off."""
        text = self.read_text(node, path)
        if text is MISSING or text in {"0", ""}:
            return "" if text is not MISSING else text
        try:
            return units.cron(text)
        except ValueError as error:
            return self.fail(node, path, str(error))

    def read_version(self, node: Node, path: str) -> Any:
        """The version of the file's rules: 1."""
        if node.kind == "scalar" and node.text == "1":
            return 1
        return self.fail(node, path, "must be 1, the only version of pyinit's files")

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
        """`auto`, `all`, `any`, a number, a percentage."""
        text = node.text.strip() if node.kind == "scalar" else ""
        digits = text.removesuffix("%")
        if text in {"auto", "all", "any"}:
            return text
        number = int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 6 else 0
        if number > 0 and (text == digits or number <= 100):
            return text
        return self.fail(node, path, "must be auto, all, any, a number of workers or a percentage")
