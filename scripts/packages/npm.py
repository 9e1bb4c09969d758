"""npm packages: a small one with the command, and one with the program for each platform.

The small package names the platforms' as optional dependencies, each with `os` and `cpu`: npm
installs the one that fits. Its command is a shell script that becomes the program by exec, so PID 1
is pyinit and not node. After the installation a script puts the program itself in its place;
without it (`--ignore-scripts`) the shell script stays, and works.
"""

from __future__ import annotations

import json

from . import contents
from .tree import File, Tree, below, compressed, tar

NAME = "pyinit-entrypoint"
# machine: npm's word
CPUS = {"x86_64": "x64", "aarch64": "arm64"}
COMMAND = """\
#!/bin/sh
# Becomes pyinit: npm installs the program as a package of its own (install.js).
case $(uname -m) in
    x86_64) cpu=x64 ;;
    aarch64) cpu=arm64 ;;
    *) echo "pyinit: there is no package for $(uname -m)" >&2; exit 126 ;;
esac
here=$(dirname "$(readlink -f "$0")")
for program in "$here/../../{name}-linux-$cpu/bin/pyinit" \\
    "$here/../node_modules/{name}-linux-$cpu/bin/pyinit"; do
    [ -x "$program" ] && exec "$program" "$@"
done
echo "pyinit: the package {name}-linux-$cpu is missing: " \\
    "it is an optional dependency, install with" \\
    "--include=optional" >&2
exit 127
""".replace("{name}", NAME)
INSTALL = """\
// Puts the program where the command is, so that nothing stands between. Never fails: the
// command, a shell script, finds the program by itself.
const fs = require("node:fs");
const path = require("node:path");
try {
  const name = `{name}-linux-${process.arch}/bin/pyinit`;
  const program = require.resolve(name, { paths: [__dirname] });
  const command = path.join(__dirname, "bin", "pyinit");
  const made = `${command}.new`;
  fs.rmSync(made, { force: true });
  try {
    fs.linkSync(program, made);
  } catch {
    fs.copyFileSync(program, made);
  }
  fs.chmodSync(made, 0o755);
  fs.renameSync(made, command);
} catch {
  // Left out, another platform, or a read-only folder.
}
""".replace("{name}", NAME)
README = """\
# pyinit

PID 1 of a container: runs a server in N processes on one port, restarts them when they crash,
reloads them without losing a request, stops them cleanly. Takes the place of `pm2-runtime`, or of
`tini` with a supervisor behind it. One static program; no Python is needed.

    npm install pyinit-entrypoint
    npx pyinit ecosystem.config.js
"""


def build(runtime: Tree, epoch: int, machine: str) -> dict[str, bytes]:
    """Two archives, as `npm pack` names them."""
    version = contents.version()
    common = {
        "version": version,
        "license": "GPL-3.0-or-later",
        "os": ["linux"],
    }
    platform = f"{NAME}-linux-{CPUS[machine]}"
    command = {
        "name": NAME,
        **common,
        "description": "PID 1 of a container: runs, watches and reloads N workers on one port",
        "keywords": ["container", "docker", "init", "kubernetes", "pid1", "pm2", "supervisor"],
        "bin": {"pyinit": "bin/pyinit"},
        "scripts": {"postinstall": "node install.js"},
        "optionalDependencies": {f"{NAME}-linux-{cpu}": version for cpu in [CPUS[machine]]},
    }
    program = {
        "name": platform,
        **common,
        "cpu": [CPUS[machine]],
        "description": f"The program of {NAME} for {machine}",
        # Yarn keeps archives packed where it can: a program has to be a file.
        "preferUnplugged": True,
    }
    return {
        f"{NAME}-{version}.tgz": _pack(
            {
                "package.json": _json(command),
                "bin/pyinit": File(COMMAND.encode(), program=True),
                "install.js": File(INSTALL.encode()),
                "README.md": File(README.encode()),
                "LICENSE": runtime["share/licenses/pyinit/LICENSE"],
            },
            epoch,
        ),
        f"{platform}-{version}.tgz": _pack({"package.json": _json(program), **runtime}, epoch),
    }


def _json(document: object) -> File:
    return File((json.dumps(document, indent=2) + "\n").encode())


def _pack(tree: Tree, epoch: int) -> bytes:
    return compressed(tar(below("package", tree), epoch, folders=False))
