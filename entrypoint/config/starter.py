"""`pyinit ecosystem`: a commented file to begin with, which can be run as it is."""

from __future__ import annotations

import os

# A file that a folder usually contains → the command that runs it.
_SCRIPTS = (
    ("server.js", "server.js"),
    ("app.js", "app.js"),
    ("index.js", "index.js"),
    ("main.py", "main.py"),
    ("app.py", "app.py"),
)

_TEMPLATE = """\
# What pyinit runs in this container. Check it with `pyinit check`; `pyinit explain KEY` says
# what a key means, `pyinit explain` lists all, `pyinit schema` prints them for an editor.
# Keys of PM2's ecosystem file mean here what they mean there.
apps:
  - name: {name}
    # A path, a command of PATH or node_modules/.bin, or a whole command line.
    script: {script}
    # args: [--verbose]
    # cwd: /app

    # Number of workers, or max: as many as the container has CPUs.
    instances: 1
    # cluster: the workers share one port. fork: each is on its own.
    exec_mode: fork
    # Bound before the first worker starts and kept for the container's whole life.
    # listen: 3000

    # env:
    #   NODE_ENV: development
    # Added by --env production:
    # env_production:
    #   NODE_ENV: production

    # Ready when the worker says so (process.send('ready') or sd_notify), not when it listens.
    # wait_ready: true
    # listen_timeout: 3s

    # Time from the stop signal to SIGKILL.
    kill_timeout: 8s
    # Reload (fork mode: restart) when files change.
    # watch: true
    # max_memory_restart: 300M

    # Commands around each worker.
    # before_start: npm run migrate
    # after_stop: rm -f app.pid
    # Limits and the user of its processes.
    # user: node
    # rlimits: {{nofile: 65536}}
    # A terminal of its own: colours, prompts, the keys of a development server.
    # tty: true

  # A job: runs at its times and does not end the container. `pyinit run backup` runs it now.
  # - name: backup
  #   script: ./backup.sh
  #   cron_restart: "0 3 * * *"
  #   autorestart: false
  #   autostart: false

# Apps of other files.
# include: [apps.d/*.yaml]

# For an orchestrator: /livez, /readyz, /startupz, and `pyinit health`.
# probes:
#   listen: 9400

# shutdown:
#   # Unready but still serving, so that load balancers notice.
#   drain_delay: 5s

# log:
#   format: json  # json, console, raw
"""


def starter(folder: str) -> str:
    """The text of the file, for what is in `folder`."""
    for file, script in _SCRIPTS:
        if os.path.isfile(os.path.join(folder, file)):
            return _TEMPLATE.format(name="app", script=script)
    if os.path.isfile(os.path.join(folder, "package.json")):
        return _TEMPLATE.format(name="app", script="npm start")
    script = "sleep infinity  # in place of your program"
    return _TEMPLATE.format(name="app", script=script)


def write(path: str, folder: str) -> bool:
    """Write the file; False if there already is one. Raises OSError."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    except FileExistsError:
        return False
    with os.fdopen(fd, "w", encoding="utf-8") as stream:
        stream.write(starter(folder))
    return True
