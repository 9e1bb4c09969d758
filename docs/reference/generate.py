"""Write the generated pages from the tables in the code: `make reference`.

A test holds them together.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

from entrypoint.config import keys
from entrypoint.core import reasons
from entrypoint.metrics import families

HERE = Path(__file__).resolve().parent

KINDS = {
    "time": "ms, or `5s`, `1m30s`",
    "size": "bytes, or `200M`, `1G`",
    "memory_limit": "bytes, or `200M`, `1G`, `auto`",
    "bool": "true, false",
    "count": "number",
    "positive": "number",
    "instances": "number, `max`",
    "words": "list, text",
    "strings": "list, text",
    "codes": "list, number",
    "env": "mapping",
    "env_file": "path, list",
    "env_from_file": "mapping",
    "names": "true, list",
    "signal": "`SIGTERM`, 15",
    "mode": "octal",
}
SECTIONS = (
    ("The file", keys.TOP_KEYS, ""),
    ("An app", keys.APP_KEYS, "PM2's keys are also taken in camel case (`maxMemoryRestart`)."),
    ("A mapping of `listen`", keys.LISTEN_KEYS, ""),
    ("A limit of `rlimits`", keys.RLIMIT_KEYS, ""),
    ("An entry of `env_file`", keys.ENV_FILE_KEYS, ""),
    ("`health`", keys.HEALTH_KEYS, "Exactly one of `http`, `tcp` and `exec`."),
    ("An entry of `depends_on`", keys.DEPENDS_KEYS, ""),
    ("`probes`", keys.PROBES_KEYS, ""),
    ("`log`", keys.LOG_KEYS, "[What records look like](logs.md)."),
    (
        "A mapping of `multiline`",
        keys.MULTILINE_KEYS,
        "[Which lines are one record](logs.md#records-of-many-lines).",
    ),
    ("A mapping of `log.keys`", keys.LOG_NAME_KEYS, ""),
    ("`control`", keys.CONTROL_KEYS, ""),
    ("`shutdown`", keys.SHUTDOWN_KEYS, ""),
)
HEAD = """\
# The file

YAML is the native form; JSON and PM2's `.config.js` are read too. Without `-c` it is
`$PYINIT_CONFIG`, else `ecosystem.yaml`, `.yml`, `.json` or `.config.js` in the working
directory.

- Times are milliseconds, or a text with a unit: `5s`, `1m30s`. Sizes are bytes, or `200M`,
  `1G`.
- `${VAR}` and `${VAR:-default}` are replaced from the environment; `{fd}`, `{port}`,
  `{instance}` and `{slot}` in `script`, `args` and `env` for each worker.
- `{slot}`, also `PYINIT_SLOT` in the environment, is a small number that no other living worker
  of the app has: use it for pid files, locks and data folders. `{instance}` is the instance
  number, but while a rolling reload runs two workers of one instance, the new one gets the next
  free number. `NODE_APP_INSTANCE` is the instance number, the same for both, as in PM2.
- YAML is read strictly, by 1.2's core types: `no`, `on`, `22:22` and `1_600` stay text. A key
  that is given twice is an error.
- `pyinit check` reports every mistake at once, with file, line and column.
- With `pyinit --env NAME` the variables of `env_NAME` are added to `env` and win over it.

<!-- Below: written by `make reference` from entrypoint/config/keys.py. -->
"""


METRICS_HEAD = """\
# Metrics

`GET /metrics` on `probes.listen` (and on the private socket of `pyinit health`) answers in
[OpenMetrics](https://prometheus.io/docs/specs/om/open_metrics_spec/) 1.0 to clients that ask
for it, as Prometheus does, else in Prometheus' text format 0.0.4. `probes.metrics: false` switches
it off. [How to scrape it, a dashboard and alerts](../how-to/monitor.md).

- Labels are names of apps and numbers of instances, never pids, so the number of series depends on
  the file alone. In a reload, when an instance has two workers, the ready one is shown.
- Counters never go down while pyinit runs. The series of an app end with the app.
- pyinit builds a page in pieces of 2 ms between the other work of PID 1, and reuses it for nine
  times as long as that took. However often it is scraped, it takes a tenth of PID 1's time at most.
- Environments and command lines are never exposed.
- A metric without a value is left out: limits that the file does not set, descriptors and PSS
  of another user's processes without CAP_SYS_PTRACE, unix sockets' drops.

<!-- Below: written by `make reference` from entrypoint/metrics/families.py. -->
"""


def row(key: keys.Key) -> str:
    """One line of a table."""
    names = ", ".join(f"`{name}`" for name in (key.name, *key.aliases))
    values = ", ".join(f"`{choice}`" for choice in key.choices) or KINDS.get(key.kind, "")
    cells = (names, values, key.doc, key.default)
    # The pages are tables, so a bar in the text needs its backslash.
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def page() -> str:
    """The text of file.md."""
    parts = [HEAD]
    for title, table, note in SECTIONS:
        parts.append(f"\n## {title}\n")
        if note:
            parts.append(f"\n{note}\n")
        parts.append("\n| key | values | meaning | default |\n|---|---|---|---|\n")
        parts.extend(f"{row(key)}\n" for key in table)
    parts.append("\n## Accepted and ignored\n")
    parts.append("\nKeys of PM2 that mean nothing in a container: one warning each.\n")
    parts.append("\n| key | why |\n|---|---|\n")
    for name, why in {**keys.IGNORED_APP_KEYS, **keys.IGNORED_TOP_KEYS}.items():
        parts.append(f"| `{name}` | {why} |\n")
    return "".join(parts)


def metrics_page() -> str:
    """The text of metrics.md."""
    parts = [METRICS_HEAD]
    for title, group in families.GROUPS:
        parts.append(f"\n## {title}\n\n| metric | kind | labels | meaning |\n|---|---|---|---|\n")
        for family in group:
            labels = ", ".join(f"`{label}`" for label in family.labels)
            parts.append(f"| `{family.sample}` | {family.kind} | {labels} | {family.help} |\n")
        if group is families.APPS:
            words = ", ".join(f"`{reason}`" for reason in reasons.RESTARTS)
            parts.append(f"\nReasons of a restart: {words}.\n")
    return "".join(parts)


def pm2() -> ModuleType:
    """The tables of PM2's page."""
    return _beside("pm2")


def events() -> ModuleType:
    """The table of the log's events."""
    return _beside("events")


def manual() -> ModuleType:
    """The manual pages."""
    return _beside("manual")


def _beside(name: str) -> ModuleType:
    """A module of this folder, which is no package."""
    spec = importlib.util.spec_from_file_location(f"{name}_pages", HERE / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    (HERE / "pm2.md").write_text(pm2().page(), encoding="utf-8")
    (HERE / "findings.md").write_text(pm2().findings_page(), encoding="utf-8")
    (HERE / "events.md").write_text(events().page(), encoding="utf-8")
    (HERE / "file.md").write_text(page(), encoding="utf-8")
    (HERE / "metrics.md").write_text(metrics_page(), encoding="utf-8")
    (HERE.parent / "man/pyinit.1").write_text(manual().commands(), encoding="utf-8")
    (HERE.parent / "man/pyinit.5").write_text(manual().file(), encoding="utf-8")
