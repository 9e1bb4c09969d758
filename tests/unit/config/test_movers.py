"""Files of other supervisors, ten of each kind: what `pyinit convert` makes of them.

What each app has to do is written down by hand from what the file means to its own program.
"""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import yaml

from entrypoint.config.convert import converted
from entrypoint.config.errors import ConfigErrors, Problems
from entrypoint.config.load import load

FOLDER = Path(__file__).with_name("movers")
KINDS = sorted(path.stem for path in FOLDER.glob("*.yaml"))


def entries():
    for kind in KINDS:
        for entry in yaml.safe_load((FOLDER / f"{kind}.yaml").read_text(encoding="utf-8")):
            yield pytest.param(entry, id=f"{kind}: {entry['name']}")


def test_there_are_ten_of_each_kind():
    assert KINDS == ["compose", "crontab", "procfile", "s6", "supervisord", "systemd"]
    for kind in KINDS:
        assert len(yaml.safe_load((FOLDER / f"{kind}.yaml").read_text(encoding="utf-8"))) >= 10


@pytest.mark.parametrize("entry", tuple(entries()))
def test_it_means_the_same(folder, entry):
    for name, text in entry["files"].items():
        path = folder.file(name, text)
        if text.startswith("#!"):
            path.chmod(0o755)
    names = tuple(entry.get("pick", entry["files"]))
    problems = Problems("")
    environ = {**folder.environ, **entry.get("environ", {})}
    if "refused" in entry:
        with pytest.raises(ConfigErrors) as caught:
            converted(names, environ, problems)
        assert entry["refused"] in str(caught.value)
        return
    text = converted(names, environ, problems)
    folder.file("made.yaml", text)
    plan = load(("made.yaml",), environ=environ, look=False).plan
    made = {app["name"]: app for app in yaml.safe_load(text)["apps"]}
    apps = {app.name: app for app in plan.apps}
    assert set(apps) == set(entry["apps"]), text
    for name, wanted in entry["apps"].items():
        app = apps[name]
        for key, value in wanted.items():
            if key in {"user", "shell"}:
                # A shell is looked for when the file is loaded for a run.
                found = str(made[name].get("script" if key == "shell" else key, ""))
                assert found.replace("$${", "${") == value, text
            elif key == "env":
                assert {k: v for k, v in app.env if k in value} == value, (name, text)
            elif key == "runs":
                assert app.command[-1].endswith(value), (name, text)
            else:
                assert shown(app, key) == value, (name, key, text)
    said = [str(warning) for warning in problems.warnings]
    for words in entry.get("said", ()):
        assert any(words in line for line in said), (words, said)
    for words in entry.get("text", ()):
        assert words in text
    for words in entry.get("never", ()):
        assert words not in text
        assert not any(words in line for line in said)


def shown(app, key):
    """A key of the app, as the entries write it."""
    value = getattr(app, key)
    if key == "kill_signal":
        return "" if value is None else signal.Signals(value).name
    if key == "depends_on":
        return {each.app: each.condition for each in value}
    if key in {"before_start", "after_stop"}:
        return len(value)
    if key == "health":
        return [value.interval, value.timeout, value.failures]
    return list(value) if isinstance(value, tuple) else value
