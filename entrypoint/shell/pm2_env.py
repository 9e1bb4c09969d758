"""The variables that PM2 sets for a program and that programs read.

PM2 7 turns all of its internal state of an app into variables, about fifty. These are the
ones that programs are known to read: who am I among my siblings (`pm_id`,
`NODE_APP_INSTANCE`, `instances`), what am I called (`name`, `namespace`), do I run under
PM2 (`PM2_HOME`, `pm_id`, `exec_mode`), which file is the program (`pm_exec_path`), is this
a restart (`restart_time`, `pm_uptime`). docs/reference/pm2.md lists the others.

As in PM2, a variable of the container or of the file has precedence.
"""

from __future__ import annotations

import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from .children import Started

# What PM2's command line leaves in the environment of each app.
ALWAYS = {
    "PM2_DISCRETE_MODE": "true",
    "PM2_JSON_PROCESSING": "true",
    "PM2_PROGRAMMATIC": "true",
}


def for_app(env: Mapping[str, str], script: str, interpreter: str) -> dict[str, str]:
    """What all workers of an app have: computed where the file is read."""
    home = env.get("HOME", "")
    return {
        **ALWAYS,
        "PM2_HOME": env.get("PM2_HOME", "") or (f"{home}/.pm2" if home else "/etc/.pm2"),
        "pm_exec_path": script,
        "exec_interpreter": interpreter,
    }


def for_worker(started: Started) -> dict[str, str]:
    """What differs from worker to worker, or follows the plan without a reload."""
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
