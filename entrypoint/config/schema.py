"""The key table as JSON Schema (draft 7, which editors know best)."""

from __future__ import annotations

from . import keys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .keys import Key

_VARIABLE = {"type": "string", "pattern": r"\$\{"}
_SCALAR = {"type": ["string", "number"]}
_STRINGS = {"anyOf": [_SCALAR, {"type": "array", "items": _SCALAR}]}
_ENV = {"type": "object", "additionalProperties": True}
_TIME = {"type": ["number", "string"], "minimum": 0, "examples": [5000, "5s", "1m30s"]}

_KINDS: dict[str, dict[str, Any]] = {
    "name": {**_SCALAR, "minLength": 1},
    "text": _SCALAR,
    "variable": {"type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_]*$"},
    "bool": {"anyOf": [{"type": "boolean"}, _VARIABLE]},
    "count": {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string"}]},
    "positive": {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "string"}]},
    "port": {"type": ["integer", "string"]},
    "time": _TIME,
    "size": {"type": ["number", "string"], "minimum": 0, "examples": ["200M", "1G"]},
    "memory_limit": {
        "type": ["number", "string"],
        "minimum": 0,
        "examples": ["200M", "1G", "auto"],
    },
    "signal": {"type": ["string", "integer"], "examples": ["SIGTERM", "SIGQUIT"]},
    "treekill": {"anyOf": [{"type": "boolean"}, {"enum": ["all", "group"]}, _VARIABLE]},
    "signals": {
        "anyOf": [
            {"type": ["string", "integer"], "examples": ["SIGUSR1"]},
            {"type": "array", "items": {"type": ["string", "integer"]}},
        ]
    },
    "notify": {"type": ["string", "integer"], "examples": ["SIGUSR2", "message"]},
    "version": {"const": 1},
    "commands": {
        "anyOf": [_SCALAR, {"type": "array", "items": {"anyOf": [_SCALAR, {"type": "array"}]}}]
    },
    "umask": {"type": ["string", "integer"], "examples": ["0027"]},
    "nice": {"type": ["string", "integer"], "minimum": -20, "maximum": 19},
    "oom_score_adj": {"type": ["string", "integer"], "minimum": -1000, "maximum": 1000},
    "rlimit": {"type": ["string", "integer"], "examples": [65536, "64M", "unlimited"]},
    "mode": {"type": ["string", "integer"], "examples": ["0660"]},
    "cron": _SCALAR,
    "instances": {"type": ["integer", "string"], "examples": [2, "max", -1]},
    "user": _SCALAR,
    "group": _SCALAR,
    "ready_when": {"type": ["string", "integer"], "examples": ["auto", "all", "any", 2, "50%"]},
    "strings": _STRINGS,
    "words": _STRINGS,
    "codes": {
        "anyOf": [{"type": ["integer", "string"]}, {"type": "array", "items": {"type": "integer"}}]
    },
    "watch": {"anyOf": [{"type": "boolean"}, *_STRINGS["anyOf"]]},
    "filter_env": {"anyOf": [{"type": "boolean"}, *_STRINGS["anyOf"]]},
    "env": _ENV,
    "env_from_file": {"type": "object", "additionalProperties": _SCALAR},
    "names": {"anyOf": [{"type": "boolean"}, *_STRINGS["anyOf"]]},
    "address": {"type": ["integer", "string"], "examples": [5000, "unix:/run/app.sock"]},
}


def schema() -> dict[str, Any]:
    """The JSON Schema of a file with `apps` at its top."""
    top = _object(keys.TOP_KEYS)
    top["patternProperties"] = {"^x-": {}}
    for word, why in keys.IGNORED_TOP_KEYS.items():
        top["properties"][word] = {"description": f"Ignored: {why}.", "deprecated": True}
    top["anyOf"] = [{"required": ["apps"]}, {"required": ["pm2"]}]
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "pyinit ecosystem file",
        **top,
        "definitions": {"app": _app()},
    }


def _app() -> dict[str, Any]:
    app = _object(keys.APP_KEYS)
    for word, why in keys.IGNORED_APP_KEYS.items():
        app["properties"].setdefault(word, {"description": f"Ignored: {why}.", "deprecated": True})
    app["patternProperties"] = {"^env_(?!file$|from_file$).+$": _ENV}
    script = next(key for key in keys.APP_KEYS if key.name == "script")
    app["anyOf"] = [{"required": [word]} for word in (script.name, *script.aliases)]
    return app


def _object(table: tuple[Key, ...]) -> dict[str, Any]:
    properties = {}
    for word, key in keys.by_spelling(table).items():
        found = dict(_type_of(key))
        found["description"] = key.doc if word == key.name else f"Same as {key.name}. {key.doc}"
        if key.default:
            found["description"] += f" Default: {key.default}."
        properties[word] = found
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _type_of(key: Key) -> dict[str, Any]:
    if key.kind == "choice":
        return {"enum": list(key.choices)}
    if key.kind == "multiline":
        return {"anyOf": [{"type": "boolean"}, _object(keys.MULTILINE_KEYS)]}
    if key.kind == "log_keys":
        return {"anyOf": [{"enum": list(key.choices)}, _object(keys.LOG_NAME_KEYS)]}
    if key.kind == "listen":
        one = {"anyOf": [_KINDS["address"], _object(keys.LISTEN_KEYS)]}
        return {"anyOf": [*one["anyOf"], {"type": "array", "items": one}]}
    if key.kind == "env_file":
        one = {"anyOf": [_SCALAR, {**_object(keys.ENV_FILE_KEYS), "required": ["path"]}]}
        return {"anyOf": [*one["anyOf"], {"type": "array", "items": one}]}
    if key.kind == "rlimits":
        one = {"anyOf": [_KINDS["rlimit"], _object(keys.RLIMIT_KEYS)]}
        return {"type": "object", "additionalProperties": one}
    if key.kind == "health":
        return _object(keys.HEALTH_KEYS)
    if key.kind == "depends":
        condition = {"enum": list(keys.DEPENDS_CONDITIONS)}
        value = {"anyOf": [condition, {"type": "null"}, _object(keys.DEPENDS_KEYS)]}
        return {"anyOf": [*_STRINGS["anyOf"], {"type": "object", "additionalProperties": value}]}
    if key.kind == "apps":
        app = {"$ref": "#/definitions/app"}
        return {"anyOf": [{"type": "array", "items": app, "minItems": 1}, app]}
    short: dict[str, tuple[tuple[Key, ...], list[dict[str, Any]]]] = {
        "probes": (keys.PROBES_KEYS, [_KINDS["address"], {"type": "array"}, {"const": False}]),
        "log": (keys.LOG_KEYS, [{"enum": list(keys.LOG_KEYS[0].choices)}]),
        "control": (keys.CONTROL_KEYS, [{"type": "boolean"}, {"type": "string"}]),
        "shutdown": (keys.SHUTDOWN_KEYS, []),
    }
    if key.kind in short:
        table, others = short[key.kind]
        return {"anyOf": [_object(table), *others]}
    return _KINDS[key.kind]
