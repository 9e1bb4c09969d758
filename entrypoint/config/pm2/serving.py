"""PM2's static server (`script: serve`, `static:`) as npm's `serve`.

pyinit serves no files itself, and PM2's server is part of PM2. npm's `serve` serves the
same folder at the same address; what it does otherwise is a finding.
"""

from __future__ import annotations

from entrypoint.config.command import which
from entrypoint.core.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


_EVERYWHERE = "0.0.0.0"  # noqa: S104 — PM2's default


class Serving(Record):
    """How to serve: `program` is empty when npm's `serve` is not installed."""

    program: str
    args: tuple[str, ...]
    # What this server cannot do, and what it does otherwise; sentences.
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
