"""Runs a PM2 file under PM2 or under pyinit, and tells how its programs were started."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from tests.pm2.files import CASES, ENVIRONMENT, PROBE_JS, PROBE_MJS, PROBE_PY, PROBE_SH
from tests.support.namespace import own_namespace
from tests.support.wait import wait_until

HERE = Path(__file__).parent
RECORDED = HERE / "recorded.json"
PM2 = HERE.parent / "node/node_modules/pm2"
PYINIT = Path(sys.executable).parent / "pyinit"

# Of PM2's variables those that no program is known to read; docs/reference/pm2.md says why.
NOT_SET = frozenset(
    (
        *("PM2_INTERACTOR_PROCESSING", "_pm2_version", "autorestart", "autostart", "automation"),
        *("axm_actions", "axm_dynamic", "axm_monitor", "axm_options", "km_link", "merge_logs"),
        *("kill_retry_time", "node_version", "pm_err_log_path", "pm_log_path", "pm_out_log_path"),
        *("pm_pid_path", "pmx", "treekill", "unique_id", "unstable_restarts", "username"),
        *("vizion", "vizion_running", "windowsHide", "version", "exit_code", "versioning"),
    )
)
# The options of an app, which PM2 repeats as variables of the same names.
OPTIONS = frozenset(
    (
        *("args", "cron_restart", "cwd", "env", "exp_backoff_restart_delay", "filter_env"),
        *("ignore_watch", "increment_var", "kill_timeout", "log_date_format", "time", "watch"),
        *("max_memory_restart", "node_args", "port", "source_map_support", "append_env_to_name"),
        *("wait_ready", "listen_timeout"),
    )
)
# What pyinit tells its workers.
OWN = frozenset(
    (
        *("NOTIFY_SOCKET", "NODE_OPTIONS", "PYINIT_SLOT", "PYINIT_WORKER", "LISTEN_FDS"),
        *("NODE_CHANNEL_FD", "NODE_CHANNEL_SERIALIZATION_MODE", "NODE_UNIQUE_ID"),
        *("PYINIT_RUN_DIR",),
    )
)
# Different each time.
TIMES = frozenset(("pm_uptime", "created_at"))


def prepare(folder: Path, name: str) -> dict:
    """Write a case's files into the folder."""
    found = CASES[name]
    (folder / "out").mkdir()
    (folder / "home").mkdir()
    texts = {found["name"]: found["config"], "lib/probe.py": PROBE_PY, **found["files"]}
    module = '"module"' in found["files"].get("package.json", "")
    for program in found["programs"]:
        extension = Path(program).suffix
        text = PROBE_MJS if extension == ".mjs" or module else PROBE_JS
        if extension == ".py" or program.startswith("bin/php"):
            text = PROBE_PY
        elif extension == ".sh":
            text = PROBE_SH
        elif not extension:
            text = f"#!/usr/bin/env node\n{text}"
        texts[program] = text
    for path, text in texts.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text.replace("@OUT@", str(folder / "out")).replace("@DIR@", str(folder)))
        if path.startswith(("bin/php", "node_modules/.bin", "node_modules/next")):
            file.chmod(0o755)
    return found


def environment(folder: Path) -> dict[str, str]:
    """The environment of the container."""
    return {
        **ENVIRONMENT,
        "PATH": f"{folder}/bin:{Path(shutil.which('node') or '/').parent}:/usr/bin:/bin",
        "HOME": str(folder / "home"),
        "PWD": str(folder),
        "PM2_HOME": str(folder / "home/.pm2"),
    }


def run(
    folder: Path,
    name: str,
    command: list[str],
    more: dict[str, str] | None = None,
    file: str = "",
) -> list:
    """The probes of a case when `command FILE …` starts it; `file` in place of its own."""
    found = CASES[name]
    env = {**environment(folder), **(more or {})}
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen(
            own_namespace(*command, file or found["name"], *found["start"]),
            cwd=folder,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        wait_until(
            lambda: len(probes(folder)) >= found["count"] or process.poll() is not None,
            lambda: (folder / "log").read_text(errors="replace"),
        )
        return [normal(probe, folder) for probe in probes(folder)]
    finally:
        # The namespace ends with unshare(1), whose death its init is told.
        process.send_signal(signal.SIGKILL)
        process.wait()


def probes(folder: Path) -> list[dict]:
    """What the programs have said so far, by app and number."""
    found = [json.loads(path.read_text()) for path in (folder / "out").glob("probe.*")]
    return sorted(found, key=lambda p: (p["env"].get("name", ""), p["env"].get("pm_id", "")))


def normal(probe: dict, folder: Path) -> dict:
    """Without what differs from one run to the next."""
    text = json.dumps(probe).replace(str(folder), "@DIR@")
    found = json.loads(text)
    env = {key: value for key, value in found["env"].items() if key not in TIMES}
    if "exec_interpreter" in env:
        env["exec_interpreter"] = os.path.basename(env["exec_interpreter"])
    found["env"] = env
    return found
