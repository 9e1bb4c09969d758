"""PM2's `.config.js`: evaluated by the container's own node, in a process of its own.

Its answer comes over a pipe, so that a `console.log` in the file does no harm, and is
bounded in time and size.
"""

from __future__ import annotations

import os

from entrypoint.core.record import Record

from .command import which
from .jsonfile import parse_json
from .tree import MOST_BYTES, Node

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from .errors import Problems

LONGEST = 10.0  # seconds

# `import()` reads CommonJS and ES modules alike. The answer's first byte says whether it
# is the configuration or a problem. A RegExp, which JSON knows not, becomes the text that
# `ignore_watch` takes for one (watch/ignoring.py).
_PROGRAM = r"""
const fs = require('fs');
const pipe = Number(process.argv[2]);
const file = process.argv[1];
// What the file sees of a command line: that of `pm2-runtime start FILE`.
const trace = process.argv[3] === 'trace';
process.argv = [process.execPath, 'pm2-runtime', 'start', ...process.argv.slice(4)];
const environment = process.env;
const before = { ...environment };
// For `pyinit convert`: which variables the file looks at, and which files it reads.
const reads = new Set();
const files = new Set();
if (trace) {
  process.env = new Proxy(environment, {
    get: (env, name) => { if (typeof name === 'string') reads.add(name); return env[name]; },
    has: (env, name) => { if (typeof name === 'string') reads.add(name); return name in env; },
    set: (env, name, value) => { env[name] = value; return true; },
  });
  for (const name of ['readFileSync', 'openSync']) {
    const original = fs[name];
    fs[name] = (path, ...rest) => { files.add(String(path)); return original(path, ...rest); };
  }
  require('module').syncBuiltinESMExports();
}
const plain = (_key, value) => {
  if (Object.prototype.toString.call(value) !== '[object RegExp]') return value;
  const text = /[\\^$|()+*?[]/.test(value.source) ? value.source : `(?:${value.source})`;
  return `/${text}/${value.ignoreCase ? 'i' : ''}`;
};
const answer = (mark, value) => {
  const data = Buffer.from(mark + JSON.stringify(value, plain));
  for (let at = 0; at < data.length;) {
    try { at += fs.writeSync(pipe, data, at); } catch (e) { if (e.code !== 'EAGAIN') throw e; }
  }
  process.exit(0);
};
const fail = (e) => answer('!', {
  message: String((e && e.message) || e), stack: String((e && e.stack) || ''),
});
// What the file has changed in process.env; PM2 starts the apps with it.
const changes = () => {
  const set = {};
  for (const name of Object.keys(environment)) {
    if (environment[name] !== before[name]) set[name] = environment[name];
  }
  return { set, unset: Object.keys(before).filter((name) => !(name in environment)) };
};
process.on('uncaughtException', fail);
import(require('url').pathToFileURL(file).href).then((module) => {
  const value = module.default === undefined ? { ...module } : module.default;
  if (typeof value === 'function') throw new Error('exports a function, not a configuration');
  if (value === null || typeof value !== 'object') throw new Error('exports no configuration');
  const seen = { reads: [...reads].slice(0, 1000), files: [...files].slice(0, 1000) };
  answer('=', { config: value, env: changes(), version: process.version, ...seen });
}).catch(fail);
"""


class Evaluated(Record):
    """What a `.config.js` exports, and the environment that it leaves.

    `tree` has no locations yet. `version` is node's, such as `v22.18.0`.
    """

    tree: Node
    environ: Mapping[str, str]
    version: str = ""
    # With `trace`: names of variables that the file looked at, and files that it read.
    reads: tuple[str, ...] = ()
    files: tuple[str, ...] = ()


def parse_js(
    file: str,
    environ: Mapping[str, str],
    problems: Problems,
    args: tuple[str, ...] = (),
    *,
    trace: bool = False,
) -> Evaluated:
    """Evaluate the file. Raises ConfigErrors.

    `args` follow `pm2-runtime start` in the `process.argv` that the file sees. `trace`:
    find out what it reads.
    """
    node = which("node", environ.get("PATH", os.defpath), os.getcwd())
    if node is None:
        raise problems.stop(
            None, "", "needs node to be read, and node is not in PATH; use YAML (pyinit convert)"
        )
    words = ("trace" if trace else "", *args)
    answer = _evaluate(node, os.path.abspath(file), environ, problems, words)
    mark, text = answer[:1], answer[1:]
    if mark == "!":
        raise _failure(text, os.path.abspath(file), problems)
    if mark != "=":
        raise problems.stop(None, "", "node ended without an answer")
    whole = parse_json(text, problems)
    tree, changes, version = whole.get("config"), whole.get("env"), whole.get("version")
    if tree is None or changes is None or version is None:
        raise problems.stop(None, "", "exports no configuration")
    _forget_locations(tree)
    return Evaluated(
        tree,
        _changed(environ, changes),
        version.text,
        _texts(whole.get("reads")),
        _texts(whole.get("files")),
    )


def _texts(node: Node | None) -> tuple[str, ...]:
    return tuple(item.text for item in node.items) if node is not None else ()


def _changed(environ: Mapping[str, str], changes: Node) -> dict[str, str]:
    """The environment after the evaluation of the file."""
    added, removed = changes.get("set"), changes.get("unset")
    found = dict(environ)
    for node in removed.items if removed is not None else ():
        found.pop(node.text, None)
    for name, (_, value) in (added.entries if added is not None else {}).items():
        if name and "\0" not in name + value.text:
            found[name] = value.text
    return found


def _forget_locations(tree: Node) -> None:
    """Remove the locations, which refer to node's answer rather than to the file.

    Nothing is replaced either: the file is a program that reads its environment itself,
    and a remaining `${X}` is meant for a shell.
    """
    todo = [tree]
    while todo:
        node = todo.pop()
        node.line = node.column = 0
        node.replaced = False
        for key, value in node.entries.values():
            key.line = key.column = 0
            todo.append(value)
        todo += node.items


def _evaluate(
    node: str,
    file: str,
    environ: Mapping[str, str],
    problems: Problems,
    args: tuple[str, ...],
) -> str:
    import select
    import signal
    import subprocess
    import time

    reading, writing = os.pipe()
    command = [node, "-e", _PROGRAM, file, str(writing), *args]
    data = bytearray()
    deadline = time.monotonic() + LONGEST
    process = None
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=dict(environ),
            pass_fds=(writing,),
            start_new_session=True,
        )
        os.close(writing)
        writing = -1
        while len(data) <= MOST_BYTES:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([reading], [], [], left)[0]:
                raise problems.stop(None, "", f"was not evaluated within {LONGEST:g} s")
            part = os.read(reading, 1 << 16)
            if not part:
                break
            data += part
        else:
            raise problems.stop(None, "", f"exports more than {MOST_BYTES // 1024} KiB")
    except OSError as error:
        raise problems.stop(None, "", f"node cannot be started: {error.strerror}") from None
    finally:
        os.close(reading)
        if writing >= 0:
            os.close(writing)
        if process is not None:
            # Processes that the file started must not outlive it.
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            process.wait()
    return data.decode("utf-8", "replace")


def _failure(text: str, file: str, problems: Problems) -> Exception:
    import json

    try:
        problem = json.loads(text)
        message, stack = str(problem["message"]), str(problem["stack"])
    except (ValueError, KeyError, TypeError):
        return problems.stop(None, "", "node ended without an answer")
    location = None
    at = stack.find(f"{file}:")
    if at >= 0:
        numbers = stack[at + len(file) + 1 :].split("\n", 1)[0].split(":")
        digits = [part.rstrip(")") for part in numbers[:2]]
        if digits and digits[0].isascii() and digits[0].isdigit():
            column = int(digits[1][:9]) if len(digits) > 1 and digits[1].isdigit() else 1
            location = Node("scalar", int(digits[0][:9]), column)
    first = message.strip().split("\n", 1)[0][:300]
    return problems.stop(location, "", f"JavaScript: {first}")
