"""One app of a PM2 file → the same app by pyinit's keys.

The steps are those of PM2 7: aliases and types (`Config.validateJSON`), the command line
(`Common.verifyConfs`), the environment (`Common.mergeEnvironmentVariables`), and the
options that are laid over the app from its environment (`God.executeApp`).
"""

from __future__ import annotations

import os

from entrypoint.config import findings as f
from entrypoint.config import keys
from entrypoint.config.tree import Node
from entrypoint.core.record import Record

from . import programs, schema
from .defaults import add_defaults
from .programs import serving
from .values import as_texts, is_falsy, literal, literals, mapping, plain, sequence, split, text_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from entrypoint.config.errors import Problems

_WORDS = {"true": "true", "false": "false"}
_SIZE_UNITS = ("K", "M", "G")


class Context(Record):
    """The context that all apps of a file share.

    `environ` is the environment that the file left (`process.env`), `before` the one of
    the container, which sets PM2's own defaults. `look`: files may be looked for.
    """

    problems: Problems
    environ: Mapping[str, str]
    before: Mapping[str, str]
    env_name: str = ""
    deploy: Node | None = None
    look: bool = True


class Translation:
    """The translation of one app; `entries` are its values by pyinit's keys."""

    def __init__(self, context: Context, node: Node, path: str) -> None:
        self._context = context
        self._problems = context.problems
        self._node = node
        self._path = path
        self._given: dict[str, tuple[Node, Node]] = {}
        self.entries: dict[str, tuple[Node, Node]] = {}
        self._collect()
        self._command()
        self._environment()
        self._values()
        add_defaults(
            self.entries,
            self._given,
            context.before,
            self._problems,
            self._where("kill_signal"),
        )

    # -- helpers ------------------------------------------------------------------------

    def _where(self, word: str) -> str:
        return f"{self._path}.{word}"[:120] if self._path else word[:120]

    def _warn(self, word: str, message: str, code: str, location: Node | None = None) -> None:
        self._problems.warn(location or self._node, self._where(word), message, code)

    def _put(self, word: str, value: Node, key: Node | None = None) -> None:
        self.entries[word] = (key or value, value)

    def _text(self, key: str) -> str:
        """The text of one of PM2's keys, empty when there is none."""
        if key not in self._given or self._given[key][1].kind != "scalar":
            return ""
        value = self._given[key][1]
        return "" if is_falsy(value) else text_of(value)

    # -- keys ---------------------------------------------------------------------------

    def _collect(self) -> None:
        """Sort the keys: PM2's under their own names, pyinit's own, others, none."""
        found: dict[str, dict[str, tuple[Node, Node]]] = {}
        for word, (key_node, value) in self._node.entries.items():
            if word in schema.SPELLINGS:
                found.setdefault(schema.SPELLINGS[word], {})[word] = (key_node, value)
            elif word in schema.SCRIPTS:
                found.setdefault("script", {})[word] = (key_node, value)
            elif word.startswith("env_"):
                self._variables_of(word, key_node, value)
            elif word in schema.OWN:
                self.entries[word] = (key_node, value)
            else:
                near = self._problems.suggest(word, [*schema.SPELLINGS, *schema.OWN])
                text = f"is not a key of PM2 and is ignored{near}"
                self._warn(word, text, f.UNKNOWN_KEY, key_node)
        for key, spellings in found.items():
            order = [*schema.precedence(key), *schema.SCRIPTS]
            words = sorted(spellings, key=order.index)
            chosen = next((w for w in words if not is_falsy(spellings[w][1])), words[0])
            for word in words:
                if word != chosen and not spellings[word][1].is_null:
                    text = f"is ignored beside `{chosen}`, another spelling of the same key"
                    self._warn(word, text, f.TWO_SPELLINGS, spellings[word][0])
            if key in schema.IGNORED:
                self._ignore(key, chosen, *spellings[chosen])
            elif not spellings[chosen][1].is_null:
                self._given[key] = spellings[chosen]

    def _ignore(self, key: str, word: str, key_node: Node, value: Node) -> None:
        why = keys.IGNORED_APP_KEYS.get(key, "")
        # What is off, or is PM2's default, changes nothing.
        if is_falsy(value) or (key in {"pmx", "vizion", "automation"} and value.value is True):
            self._problems.note(
                key_node, self._where(word), f"has no effect: {why}", schema.IGNORED[key]
            )
            return
        self._warn(word, f"is ignored: {why}", schema.IGNORED[key], key_node)

    def _variables_of(self, word: str, key_node: Node, value: Node) -> None:
        if value.kind == "map":
            self.entries[word] = (key_node, value)
        elif not value.is_null:
            text = "is not read by PM2, and not here; `pyinit explain PM2-008` says what to do"
            if word not in {"env_file", "env_from_file"}:
                text = "is ignored: variables must be a mapping of names to values"
            self._warn(word, text, f.ENV_FILE, key_node)

    # -- the command --------------------------------------------------------------------

    def _command(self) -> None:
        script = self._text("script").strip()
        if not script:
            return
        key_node, node = self._given.pop("script")
        cwd = os.path.join(os.getcwd(), self._text("cwd"))
        path = self._context.environ.get("PATH", "")
        if "name" not in self._given or not self._text("name"):
            base = os.path.basename(script.rstrip("/"))
            if script.strip("./") == "":
                base = os.path.basename(os.path.normpath(os.path.join(cwd, script)))
            stem = base[: base.rfind(".")] if base.rfind(".") > 0 else base
            self._given["name"] = (node, literal(stem or "app", node))
        if script == "serve":
            self._serve(node, cwd, path)
            return
        self._put("script", literal(script, node), key_node)
        if " " in script and not os.path.isfile(os.path.join(cwd, script)):
            if "args" in self._given:
                text = "is ignored: PM2 runs a `script` with blanks by `bash -c`, without `args`"
                self._warn("args", text, f.ARGS_DROPPED, self._given.pop("args")[0])
        elif self._context.look and not self._text("exec_interpreter"):
            chosen = programs.interpreter(script, cwd, path)
            if chosen:
                self._given["exec_interpreter"] = (node, literal(chosen, node))
            elif programs.ignores_node(script, cwd, path):
                self._problems.note(
                    node,
                    self._where("script"),
                    "is executed by its #! line; PM2 runs it by node",
                    f.SHEBANG,
                )
        self._remarks(script, node)

    def _remarks(self, script: str, node: Node) -> None:
        """Add remarks about known programs."""
        args = self._given["args"][1] if "args" in self._given else None
        words = [*script.split(), *self._text("exec_interpreter").split()]
        if args is not None:
            words += [text_of(item) for item in args.items] or split(text_of(args))
        program, signal = programs.graceful_signal(words)
        if program and "kill_signal" not in self.entries:
            self._warn(
                "script",
                f"{program} ends at once on SIGINT, PM2's stop signal: work in hand is lost; "
                f"add `kill_signal: '{signal}'`",
                f.HARD_ON_SIGINT,
                node,
            )
        ready = "wait_ready" in self._given and not is_falsy(self._given["wait_ready"][1])
        if ready and programs.is_package_runner(script):
            self._warn(
                "wait_ready",
                f"{script.split(maxsplit=1)[0]} starts the program without Node's IPC channel: "
                "it cannot say `ready`; name the program itself in `script`",
                f.WAIT_READY_UNSEEN,
                self._given["wait_ready"][0],
            )

    def _serve(self, node: Node, cwd: str, path: str) -> None:
        env = {**self._context.environ, **self._variables("env"), **self._variables_chosen()}
        args = self._words("args")
        self._given.pop("args", None)
        self._given.pop("exec_interpreter", None)
        found = serving(env, args, cwd, path, look=self._context.look)
        where = self._where("script")
        if not found.program:
            self._problems.error(
                node,
                where,
                "means PM2's static server (PM2_SERVE_*), which is part of PM2; install npm's "
                f"`serve`, or write `script: serve {' '.join(found.args)}` and install it",
            )
        for sentence in found.refused:
            self._problems.error(node, where, f"means PM2's static server; {sentence}")
        if found.program and not found.refused:
            text = f"PM2's static server is npm's `serve` here: {'; '.join(found.differs)}"
            self._problems.warn(node, where, text, f.SERVE)
        # Null: there is a key, and nothing more to say about it.
        script = literal(found.program, node) if found.program else plain("null", node)
        self._put("script", script)
        self._put("args", sequence([literal(word, node) for word in found.args], node))

    def _words(self, key: str) -> tuple[str, ...]:
        if key not in self._given:
            return ()
        node = self._given[key][1]
        if node.kind == "seq":
            return tuple(text_of(item) for item in node.items)
        return tuple(split(text_of(node))) if not is_falsy(node) else ()

    # -- the environment ----------------------------------------------------------------

    def _variables(self, word: str) -> dict[str, str]:
        """The plain variables of `env`, as texts."""
        node = self._given[word][1] if word in self._given else None
        if node is None or node.kind != "map":
            return {}
        return {name: text_of(value) for name, (_, value) in node.entries.items()}

    def _chosen(self) -> tuple[Node, Node] | None:
        name = self._context.env_name
        return self.entries.get(f"env_{name}") if name else None

    def _variables_chosen(self) -> dict[str, str]:
        chosen = self._chosen()
        if chosen is None:
            return {}
        return {name: text_of(value) for name, (_, value) in chosen[1].entries.items()}

    def _environment(self) -> None:
        """`env`, `port`, `deploy.NAME.env`, in this order, become `env`."""
        found: dict[str, tuple[Node, Node]] = {}
        location = self._node
        if "env" in self._given:
            key_node, node = self._given.pop("env")
            location = key_node
            if node.kind == "map":
                found.update(node.entries)
            else:
                text = "is ignored: variables must be a mapping of names to values"
                self._warn("env", text, f.REFUSED_VALUE, key_node)
        if "port" in self._given and not is_falsy(self._given["port"][1]):
            found["PORT"] = self._given["port"]
        self._given.pop("port", None)
        deploy = self._context.deploy
        if deploy is not None and self._context.env_name:
            target = deploy.get(self._context.env_name)
            variables = target.get("env") if target is not None else None
            if variables is not None and variables.kind == "map":
                found.update(variables.entries)
        self._options(found, "env")
        chosen = self._chosen()
        if chosen is not None:
            self._options(chosen[1].entries, f"env_{self._context.env_name}")
        if found:
            self._put("env", mapping(as_texts(found), location), location)
        for word in [word for word in self.entries if word.startswith("env_")]:
            key_node, node = self.entries[word]
            texts = as_texts(self._scalars_of(word, node.entries))
            self.entries[word] = (key_node, mapping(texts, node))

    def _scalars_of(
        self, word: str, entries: Mapping[str, tuple[Node, Node]]
    ) -> dict[str, tuple[Node, Node]]:
        """The variables of `env_NAME`, where PM2 has no JSON for lists and mappings.

        In cluster mode they are JavaScript's texts of them, in fork mode there are none.
        """
        cluster = self._text("exec_mode").startswith("cluster")
        found = {}
        for name, (key, value) in entries.items():
            if value.kind == "scalar":
                found[name] = (key, value)
            elif cluster:
                found[name] = (key, literal(text_of(value), value))
            elif word == f"env_{self._context.env_name}" and name not in schema.OPTIONS_IN_ENV:
                text = "is no variable in fork mode: PM2 drops lists and mappings of `env_NAME`"
                self._warn(f"{word}.{name}", text, f.REFUSED_VALUE, key)
        return found

    def _options(self, variables: dict[str, tuple[Node, Node]], block: str) -> None:
        """Options among variables, which PM2 applies over those of the app."""
        for name, (key_node, value) in variables.items():
            where = f"{block}.{name}"
            if name in schema.NO_OPTIONS_IN_ENV:
                if block != "env":
                    text = f"is a variable there, and no option: PM2 reads `{name}` of the app only"
                    self._warn(where, text, f.NO_OPTION_IN_ENV, key_node)
                continue
            if name not in schema.OPTIONS_IN_ENV or value.is_null:
                continue
            taken = self._option(name, value, block)
            if taken is None:
                text = f"is a variable there, and no option: PM2 takes no text as `{name}`"
                self._warn(where, text, f.NO_OPTION_IN_ENV, key_node)
                continue
            self._given[name] = (key_node, taken)
            text = f"is taken for the option `{name}`, as by PM2"
            self._warn(where, text, f.OPTION_IN_ENV, key_node)

    @staticmethod
    def _option(name: str, value: Node, block: str) -> Node | None:
        """The option's value, or None if PM2 would not understand it."""
        structured = value.kind != "scalar"
        if name in {"args", "node_args", "ignore_watch"}:
            if structured:
                # In `env` lists become texts of JSON first.
                return value if block != "env" else None
            if name == "node_args":
                return None
            return sequence([literal(text_of(value), value)], value)
        if structured and (block == "env" or name not in {"watch", "stop_exit_codes"}):
            return None
        if name == "exec_mode":
            return value if text_of(value) in {"fork_mode", "cluster_mode"} else None
        if name == "max_memory_restart" and isinstance(value.value, str):
            return None
        return value

    # -- values -------------------------------------------------------------------------

    def _values(self) -> None:
        given = self._given
        command = given.pop("execute_command", None)
        if command is not None and command[1].value is True:
            given["exec_mode"] = (command[0], literal("fork", command[1]))
        for key, (key_node, node) in given.items():
            if key in schema.HANDLED:
                continue
            value = self._value(key, key_node, node)
            if value is not None:
                self._put(schema.RENAMED.get(key, key), value, key_node)
        self._no_cluster_below_minus_one()

    def _value(self, key: str, key_node: Node, node: Node) -> Node | None:
        if key in schema.LISTS:
            words = [literal(word, node) for word in self._words(key)]
            return sequence(words, node) if words else None
        if key in schema.BOOLEANS:
            return self._boolean(key, key_node, node)
        if key == "instances":
            return self._instances(node)
        if key == "stop_exit_codes":
            items = node.items if node.kind == "seq" else [node]
            return sequence([plain(text_of(item), item) for item in items], node)
        if node.kind != "scalar" or key in {"watch", "filter_env"}:
            return literals(node)
        text = text_of(node).strip()
        if not text:
            return None
        if key == "max_memory_restart":
            return self._size(key, key_node, node, text)
        if key in schema.NUMBERS or key == "min_uptime":
            return plain(text, node)
        if key == "cron_restart" and node.value == 0:
            return None
        if key == "name":
            return literal(text.replace(",", "-"), node)
        return literal(text_of(node), node)

    def _boolean(self, key: str, key_node: Node, node: Node) -> Node | None:
        if node.kind == "scalar" and isinstance(node.value, bool):
            return plain(text_of(node), node)
        text = text_of(node).strip().lower()
        taken = _WORDS.get(text, "true" if text == "1" else "false" if text in {"0", ""} else "")
        if not taken:
            self._warn(key, "is ignored: PM2 takes true or false only", f.REFUSED_VALUE, key_node)
            return None
        self._warn(key, f"is taken as {taken}; PM2 refuses a text", f.REFUSED_VALUE, key_node)
        return plain(taken, node)

    def _size(self, key: str, key_node: Node, node: Node, text: str) -> Node:
        digits = text[:-1] if text[-1] in _SIZE_UNITS else text
        if not digits.isdigit():
            right = text.upper().removesuffix("IB").removesuffix("B")
            self._warn(
                key,
                f"is no size to PM2, which refuses it; write {right!r}",
                f.REFUSED_VALUE,
                key_node,
            )
        return literal(text, node)

    def _instances(self, node: Node) -> Node | None:
        """`max`, and what `parseInt(…) || 0` makes of another text."""
        if node.kind != "scalar":
            return node
        text = text_of(node).strip()
        if isinstance(node.value, bool):
            return plain("1" if node.value else "0", node)
        digits = text.removeprefix("-")
        length = len(digits) - len(digits.lstrip("0123456789"))
        number = int(digits[:length]) if 0 < length < 10 else 0
        if not number:
            where = self._where("instances")
            text = "by the CPUs of the container; PM2 counts those of the host"
            self._problems.note(node, where, text, f.INSTANCES)
            return literal("max", node)
        return plain(f"-{number}" if text.startswith("-") else str(number), node)

    def _no_cluster_below_minus_one(self) -> None:
        """PM2 chooses cluster mode by itself for 0, -1 and what is above."""
        instances = self.entries.get("instances")
        if instances is None or "exec_mode" in self.entries:
            return
        value = instances[1].value
        if isinstance(value, int) and value < -1:
            self._put("exec_mode", literal("fork", instances[1]))
