"""`log.keys`: presets, mappings, and what is refused."""

from __future__ import annotations

import pytest

from entrypoint.config.errors import ConfigErrors
from entrypoint.config.load import load
from entrypoint.core.spec import LogSpec


def log_of(tmp_path, log: str) -> LogSpec:
    path = tmp_path / "e.yaml"
    path.write_text(f"apps: [{{script: /bin/true}}]\nlog: {log}\n")
    return load(str(path), environ={}).plan.log


@pytest.mark.parametrize("preset", ["default", "gcp", "ecs", "datadog", "otel"])
def test_a_preset(tmp_path, preset) -> None:
    assert log_of(tmp_path, f"{{keys: {preset}}}") == LogSpec(keys=preset)


def test_a_mapping_names_keys_beside_a_preset(tmp_path) -> None:
    assert log_of(tmp_path, "{keys: {timestamp: ts, event: msg}}").names == (
        ("timestamp", "ts"),
        ("event", "msg"),
    )
    spec = log_of(tmp_path, "{keys: {preset: gcp, app: service}}")
    assert (spec.keys, spec.names) == ("gcp", (("app", "service"),))


@pytest.mark.parametrize(
    ("keys", "error"),
    [
        ("gpc", "log.keys: cannot be 'gpc'; use one of default, gcp"),
        ("[gcp]", "log.keys: cannot be a list"),
        ("{preset: elastic}", "log.keys.preset: cannot be 'elastic'"),
        ("{time: ts}", "log.keys.time: is not a known key"),
        ("{app: pid}", "'pid' is what `app` is called"),
        ("{app: partial}", "log.keys.app: 'partial' is a key of its own"),
        ("{preset: ecs, app: ecs.version}", "'ecs.version' is a key of its own"),
        ("{level: ''}", "log.keys.level: a key has"),
        ('{level: "a\\nb"}', "log.keys.level: a key has"),
        ("{preset: otel, app: x}", "log.keys.app: otel's fields"),
    ],
)
def test_what_is_refused(tmp_path, keys, error) -> None:
    with pytest.raises(ConfigErrors) as caught:
        log_of(tmp_path, f"{{keys: {keys}}}")
    assert error in str(caught.value)
