"""The variables that PM2 sets for a program and that programs are known to read.

PM2 7 turns its whole internal state of an app into variables, about fifty. These are the
ones that programs are known to read: the worker's number among its siblings (`pm_id`,
`NODE_APP_INSTANCE`, `instances`), its name (`name`, `namespace`), whether it runs under
PM2 (`PM2_HOME`, `pm_id`, `exec_mode`), the file of the program (`pm_exec_path`), whether this
is a restart (`restart_time`, `pm_uptime`). docs/reference/pm2.md lists the others.

As in PM2, a variable of the container or of the file has precedence.
"""

from __future__ import annotations

import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from .children import Started

# What PM2's command line adds to the environment of each app.
ALWAYS = {
    "PM2_DISCRETE_MODE": "true",
    "PM2_JSON_PROCESSING": "true",
    "PM2_PROGRAMMATIC": "true",
}


def for_app(env: Mapping[str, str], script: str, interpreter: str) -> dict[str, str]:
    """Variables of all workers of an app: computed when the file is read."""
    home = env.get("HOME", "")
    return {
        **ALWAYS,
        "PM2_HOME": env.get("PM2_HOME", "") or (f"{home}/.pm2" if home else "/etc/.pm2"),
        "pm_exec_path": script,
        "exec_interpreter": interpreter,
    }


def for_worker(started: Started) -> dict[str, str]:
    """Variables that differ between workers, or follow the plan without a reload."""
    spec = started.spec
    now = str(int(time.time() * 1000))
    return {
        "pm_id": str(max(0, started.id)),
        "name": spec.name,
        "namespace": spec.namespace,
        "exec_mode": f"{spec.exec_mode}_mode",
        "instances": str(spec.instances),
        "instance_var": spec.instance_var,
        "pm_cwd": spec.cwd,
        "pm_uptime": now,
        "created_at": now,
        "restart_time": str(started.restarts),
        "status": "launching",
    }
