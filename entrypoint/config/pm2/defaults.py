"""PM2's own defaults, by pyinit's keys, for settings that the file does not have."""

from __future__ import annotations

from entrypoint.config import findings as f
from entrypoint.config.tree import Node

from .values import is_falsy, literal, plain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from entrypoint.config.errors import Problems

    Entries = dict[str, tuple[Node, Node]]


def add_defaults(
    entries: Entries,
    given: Entries,
    before: Mapping[str, str],
    problems: Problems,
    kill_signal_path: str,
) -> None:
    """Add to `entries` PM2's defaults for every app. `given` are the app's own keys.

    `before` is the environment of the container, which sets some of the defaults.
    """
    location = Node("scalar")  # they have no location in the file

    def put(word: str, value: Node) -> None:
        entries[word] = (value, value)

    if "kill_signal" not in entries:
        put("kill_signal", literal(_kill_signal(before, problems, kill_signal_path), location))
    for key, variable in (
        ("kill_timeout", "PM2_KILL_TIMEOUT"),
        ("listen_timeout", "PM2_GRACEFUL_LISTEN_TIMEOUT"),
    ):
        text = before.get(variable, "")
        if key not in entries and text.isascii() and text.isdigit():
            put(key, plain(text, location))
    if before.get("PM2_KILL_USE_MESSAGE") and "shutdown_with_message" not in entries:
        put("shutdown_with_message", plain("true", location))
    if before.get("PM2_PROCESS_INSTANCE_VAR"):
        put("instance_var", literal(before["PM2_PROCESS_INSTANCE_VAR"], location))
    mode = entries.get("exec_mode")
    if "stdin" not in entries and not (mode and mode[1].text.startswith("cluster")):
        put("stdin", literal("open", location))
    without = given.get("disable_source_map_support")
    maps = without is None or is_falsy(without[1])
    for key, value in (
        ("ipc", "true"),
        ("pm2_env", "true"),
        ("placeholders", "false"),
        ("source_maps", "true" if maps else "false"),
    ):
        if key not in entries:
            put(key, plain(value, location))


def _kill_signal(before: Mapping[str, str], problems: Problems, path: str) -> str:
    text = before.get("PM2_KILL_SIGNAL", "")
    if not text:
        return "SIGINT"
    from entrypoint.config import units

    try:
        units.signal_number(text)
    except ValueError as error:
        message = f"PM2_KILL_SIGNAL in the environment is ignored: {error}"
        problems.warn(None, path, message, f.KILL_SIGNAL_VARIABLE)
        return "SIGINT"
    return text
