"""Each PM2 file starts the same programs in the same way under pyinit as under PM2 7."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess

import pytest

from tests.pm2.files import CASES
from tests.pm2.harness import (
    NOT_SET,
    OPTIONS,
    OWN,
    PM2,
    PYINIT,
    RECORDED,
    environment,
    prepare,
    run,
)
from tests.support.namespace import Init
from tests.support.wait import wait_until

pytestmark = [
    pytest.mark.pid1,
    pytest.mark.skipif(not shutil.which("node"), reason="node is not installed"),
]
# Where the real PM2 is asked too: each takes a second.
LIVE = ("options-in-env", "dotenv", "nestjs")


def arguments(pm2, ours):
    """PM2's cluster workers have the words of its own command line before theirs.

    Where the probe is the interpreter, it is told PM2's module in place of the script.
    """
    if pm2["argv"][-1:] and pm2["argv"][-1].endswith("ProcessContainerFork.js"):
        return [*pm2["argv"][:-1], pm2["env"]["pm_exec_path"]]
    if pm2["env"].get("exec_mode") == "cluster_mode" and pm2["argv"][:1] == ["start"]:
        return pm2["argv"][len(pm2["argv"]) - len(ours) :] if ours else []
    return pm2["argv"]


def differences(pm2, ours, *, only):
    """What a program would see that is not the same; nothing when all is."""
    found = {}
    if arguments(pm2, ours["argv"]) != ours["argv"]:
        found["argv"] = (pm2["argv"], ours["argv"])
    keys = ["execArgv", "cwd", "send", "connected", "main"]
    if pm2["env"].get("exec_interpreter") != "ts-node":
        keys.append("maps")
    for key in keys:
        if pm2.get(key) != ours.get(key):
            found[key] = (pm2.get(key), ours.get(key))
    if pm2["env"].get("exec_mode") == "fork_mode" and pm2["stdin"] != ours["stdin"]:
        found["stdin"] = (pm2["stdin"], ours["stdin"])
    theirs = pm2["env"]
    names = {*theirs, *ours["env"]} - OWN - NOT_SET - OPTIONS
    # Oddities of PM2's: the app's name as a variable, objects as texts; a shell's own.
    names -= {theirs.get("name", ""), "SHLVL", "_"}
    names -= {name for name in names if theirs.get(name) in {"[object Object]", "{}"}}
    if "npm_lifecycle_event" in theirs:
        names -= {"PATH"}  # npm adds a folder for each one above its own
    if theirs.get("pm_exec_path", "").endswith("/bash"):
        names -= {"pm_exec_path"}  # a command line that needs no shell gets none here
    if not only:
        # PM2 starts two apps at a time, and the first to be up gets the next id.
        names -= {"pm_id"}
    for name in sorted(names):
        if theirs.get(name) != ours["env"].get(name):
            found[f"env.{name}"] = (theirs.get(name), ours["env"].get(name))
    if (
        "env.PWD" in found
        and os.path.normpath(os.path.join("@DIR@", theirs["PWD"])) == (ours["env"]["PWD"])
    ):
        del found["env.PWD"]  # PM2 leaves a relative path as it is
    return found


def compare(pm2, ours):
    assert len(pm2) == len(ours)
    answer = {}
    only = len({probe["env"].get("name") for probe in ours}) == 1
    for theirs, own in zip(pm2, ours, strict=True):
        found = differences(theirs, own, only=only)
        if found:
            answer[f"{own['env'].get('name')}:{own['env'].get('pm_id')}"] = found
    assert answer == {}


@pytest.mark.parametrize("name", CASES)
def test_as_under_pm2(tmp_path, name):
    prepare(tmp_path, name)
    ours = run(tmp_path, name, [str(PYINIT), "start"], {"PYINIT_RUN_DIR": str(tmp_path / "home")})
    compare(json.loads(RECORDED.read_text())[name], ours)


@pytest.mark.node
@pytest.mark.parametrize("name", LIVE)
def test_what_was_recorded_is_what_pm2_does(tmp_path, name):
    prepare(tmp_path, name)
    found = run(tmp_path, name, ["node", str(PM2 / "bin/pm2-runtime"), "start"])
    compare(json.loads(RECORDED.read_text())[name], found)


# What `pyinit convert` has to write in other words than the PM2 file.
CONVERTED = (
    *("nestjs", "express-generator", "strapi", "laravel-queue", "python-default", "dotenv"),
    *("options-in-env", "args-text", "command-lines", "instance-variables", "shell-script"),
)


@pytest.mark.parametrize("name", CONVERTED)
def test_the_converted_file_runs_the_same(tmp_path, name):
    case = prepare(tmp_path, name)
    done = subprocess.run(
        [PYINIT, "convert", case["name"], *case["start"]],
        cwd=tmp_path,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    (tmp_path / "made.yaml").write_text(done.stdout)
    more = {"PYINIT_RUN_DIR": str(tmp_path / "home")}
    ours = run(tmp_path, name, [str(PYINIT), "start"], more, file="made.yaml")
    recorded = json.loads(RECORDED.read_text())[name]
    if name == "dotenv":
        # It is unset there and empty here: YAML has no value that is none.
        for probe in ours:
            assert probe["env"].pop("NONE") == ""
            # env_file goes before the container's environment, as the warning says.
            probe["env"]["API_URL"] = "http://api.test"
            del probe["env"]["LANG"]
    compare(recorded, ours)


@pytest.mark.parametrize("mode", ["fork", "cluster"])
def test_docker_stop_is_sigint_and_ends_well(tmp_path, mode):
    (tmp_path / "app.js").write_text(
        "process.on('SIGTERM', () => process.exit(5));\n"
        "process.on('SIGINT', () => { console.log('SIGINT'); process.exit(0); });\n"
        "require('http').createServer().listen(0, '127.0.0.1', () => console.log('up'));\n"
    )
    app = {"name": "a", "script": "app.js", "exec_mode": mode, "instances": 2}
    (tmp_path / "process.json").write_text(json.dumps(app))
    with Init([PYINIT, "process.json"], cwd=tmp_path) as init:
        wait_until(lambda: init.out.count('"up"') == 2, init.story)
        init.signal(signal.SIGTERM)
        assert init.wait() == 0
        assert init.out.count('"SIGINT"') == 2
