"""How a PM2 app's script is run, where PM2's rules differ from pyinit's own."""

from __future__ import annotations

import os

from entrypoint.config.command import (
    INTERPRETERS,
    is_text,
    shebang_of,
    which,
)
from entrypoint.core.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

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
    """Whether PM2 would run this file by node although its `#!` line names something else."""
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
    """Whether the script is npm or similar, which start the program without the IPC channel."""
    first = (script.split() or [""])[0]
    return os.path.basename(first) in PACKAGE_RUNNERS


# -- PM2's static server -----------------------------------------------------------------
# `script: serve` and `static:`. pyinit serves no files itself, and PM2's server is part of PM2.
# npm's `serve` serves the same folder at the same address; each difference is a finding.

_EVERYWHERE = "0.0.0.0"  # noqa: S104 — PM2's default


class Serving(Record):
    """How to serve: `program` is empty when npm's `serve` is not installed."""

    program: str
    args: tuple[str, ...]
    # Limitations and differences of this server, as sentences.
    refused: tuple[str, ...] = ()
    differs: tuple[str, ...] = ()


def serving(
    env: Mapping[str, str], args: tuple[str, ...], cwd: str, path: str, *, look: bool = True
) -> Serving:
    """The command for PM2_SERVE_* in `env`, or for `serve PATH PORT HOST`.

    `look`: whether `serve` has to be there (`pyinit check --offline` does not look).
    """
    given = dict(enumerate(args))
    folder = env.get("PM2_SERVE_PATH") or given.get(0) or "."
    port = env.get("PM2_SERVE_PORT") or given.get(1) or "8080"
    host = env.get("PM2_SERVE_HOST") or given.get(2) or _EVERYWHERE
    digits = port.strip()
    if not (digits.isascii() and digits.isdigit() and int(digits[:9]) <= 65535):
        digits = "8080"
    words = ["-l", f"tcp://{f'[{host}]' if ':' in host else host}:{digits}"]
    spa = env.get("PM2_SERVE_SPA") == "true"
    if spa:
        words.append("-s")
    refused = []
    if env.get("PM2_SERVE_BASIC_AUTH") == "true":
        refused.append("`serve` has no password (PM2_SERVE_BASIC_AUTH): use nginx or caddy")
    if (env.get("PM2_SERVE_HOMEPAGE") or "/index.html") != "/index.html":
        refused.append("`serve` knows no PM2_SERVE_HOMEPAGE: name the file index.html")
    differs = ["`/page.html` is redirected to `/page`"]
    if not spa and env.get("PM2_SERVE_FTP") != "true":
        differs.insert(0, "folders without an index.html are listed")
    return Serving(
        program=_program(path, cwd) if look else "serve",
        args=(*words, folder),
        refused=tuple(refused),
        differs=tuple(differs),
    )


def _program(path: str, cwd: str) -> str:
    if which("serve", path, cwd) is not None:
        return "serve"
    return which("node_modules/.bin/serve", path, cwd) or ""
