"""The peers: installed from their registries into a folder of their own, versions told."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import venv
from pathlib import Path

from .arena import PEERS, PYINIT, Missing, tool

PYTHON_PEERS = ["supervisor", "circus", "gunicorn"]
NODE_PEERS = ["pm2"]
DEBIAN_PEERS = ["tini", "dumb-init"]
# Named by people who choose an init, and not to be had from PyPI, npm or Debian.
NOT_HERE = {
    "einhorn": "a Ruby gem, and there is no Ruby here",
    "my_init": "part of an image (phusion/baseimage), in no registry of packages",
}


def install() -> None:
    """What is missing; what cannot be had is said in the table where it is missing."""
    python = PEERS / "venv"
    commands = ("supervisord", "circusd", "gunicorn")
    if not all((python / "bin" / name).exists() for name in commands):
        venv.create(python, with_pip=True)
        subprocess.run([python / "bin" / "pip", "install", "-q", *PYTHON_PEERS], check=False)
    if not (PEERS / "node_modules" / "pm2").exists():
        PEERS.mkdir(parents=True, exist_ok=True)
        command = ["npm", "install", "--no-package-lock", "--no-audit", "--no-fund"]
        subprocess.run([*command, "--loglevel=error", *NODE_PEERS], cwd=PEERS, check=False)
    missing = [name for name in DEBIAN_PEERS if not _has(name)]
    if missing and os.geteuid() == 0:
        command = ["apt-get", "install", "-qq", "-y", "--no-install-recommends", *missing]
        subprocess.run(command, check=False, stdout=subprocess.DEVNULL)


def _has(name: str) -> bool:
    try:
        tool(name)
    except Missing:
        return False
    return True


def versions() -> dict[str, str]:
    """Name → version of everything that takes part; "" for what is not there."""
    found = {"pyinit": _printed([PYINIT, "--version"])}
    for name in DEBIAN_PEERS:
        found[name] = _printed([name, "--version"])
    for name in PYTHON_PEERS:
        folders = (PEERS / "venv").glob(f"lib/*/site-packages/{name}-*.dist-info")
        found[name] = next(
            (folder.name.removesuffix(".dist-info").split("-")[1] for folder in folders), ""
        )
    package = PEERS / "node_modules" / "pm2" / "package.json"
    found["pm2"] = json.loads(package.read_text())["version"] if package.exists() else ""
    found["node"] = _printed(["node", "--version"])
    found["python"] = platform.python_version()
    return found


def _printed(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except OSError:
        return ""
    number = re.search(r"\d+\.[\w.]+", done.stdout + done.stderr)
    return number[0] if number else ""


def machine() -> str:
    """Where the figures are from."""
    model = ""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip() + ", "
            break
    return f"{model}{os.cpu_count()} cores, {platform.machine()}, Linux {platform.release()}"
