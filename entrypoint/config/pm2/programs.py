"""What runs a PM2 app's script, as far as it differs from pyinit's own rules."""

from __future__ import annotations

import os

from entrypoint.config.command import (
    INTERPRETERS,
    is_text,
    shebang_of,
    which,
)

# Programs that end at once on SIGINT, and the signal on which they finish their work.
HARD_ON_SIGINT = {
    "gunicorn": "SIGTERM",
    "nginx": "SIGQUIT",
    "php-fpm": "SIGQUIT",
    "unicorn": "SIGQUIT",
    "httpd": "SIGWINCH",
    "apache2": "SIGWINCH",
    "haproxy": "SIGUSR1",
    "queue:work": "SIGTERM",
}
PACKAGE_RUNNERS = frozenset(("npm", "npx", "yarn", "pnpm", "pnpx"))


def interpreter(script: str, cwd: str, path: str) -> str:
    """The interpreter that PM2 chooses where pyinit would choose another one, else "".

    A folder and a text without a `#!` line are run by node; `.py` by `python` before
    `python3`.
    """
    file = os.path.normpath(os.path.join(cwd, script))
    if not os.path.exists(file):
        if "/" in script:
            return ""
        file = which(script, path, cwd) or ""
        if not file:
            return ""
    if os.path.isdir(file):
        return "node"
    extension = os.path.splitext(file)[1]
    if extension == ".py":
        return "python" if which("python", path, cwd) else ""
    if extension in INTERPRETERS or shebang_of(file) is not None:
        return ""
    return "node" if is_text(file) else ""


def ignores_node(script: str, cwd: str, path: str) -> bool:
    """PM2 would run this file by node, and its `#!` line names something else."""
    file = os.path.normpath(os.path.join(cwd, script))
    if not os.path.isfile(file):
        file = which(script, path, cwd) or ""
    if not file or os.path.splitext(file)[1] in INTERPRETERS:
        return False
    shebang = shebang_of(file)
    names = {os.path.basename(word) for word in shebang or ()}
    return shebang is not None and is_text(file) and names.isdisjoint(("node", "nodejs", "bun"))


def graceful_signal(words: list[str]) -> tuple[str, str]:
    """The program among the words of a command that SIGINT ends at once, and its signal."""
    for word in words:
        base = os.path.basename(word)
        known = base if base in HARD_ON_SIGINT else base.rstrip("0123456789.")
        if known in HARD_ON_SIGINT:
            return base, HARD_ON_SIGINT[known]
    return "", ""


def is_package_runner(script: str) -> bool:
    """The script is npm or its kin, which start the program without the IPC channel."""
    first = (script.split() or [""])[0]
    return os.path.basename(first) in PACKAGE_RUNNERS
