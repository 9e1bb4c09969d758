"""Write dashboard.json, which Grafana imports: `make reference`. A test holds the two together."""

from __future__ import annotations

import json
from pathlib import Path

HERE = Path(__file__).resolve().parent
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
# Namespace and pod are labels of the PodMonitor; where there are none, "All" matches all the same.
WHERE = 'job=~"$job", namespace=~"$namespace", pod=~"$pod", instance=~"$instance"'
APP = WHERE + ', app=~"$app"'
WIDTH = 24


def own(metric: str) -> str:
    """The samples of the apps that are chosen."""
    return f"{metric}{{{APP}}}"


def host(metric: str) -> str:
    """The samples of the pods that are chosen."""
    return f"{metric}{{{WHERE}}}"


def rate(samples: str) -> str:
    """A second."""
    return f"rate({samples}[$__rate_interval])"


def increase(samples: str) -> str:
    """Between two points of the graph."""
    return f"increase({samples}[$__rate_interval])"


def total(by: str, samples: str) -> str:
    """The sum for each of these labels."""
    return f"sum by ({by}) ({samples})"


def quantile(share: float, by: str, histogram: str) -> str:
    """Of what a histogram saw within the hour."""
    return f"histogram_quantile({share}, {total(f'{by}, le', f'increase({histogram}[1h])')})"


WORKER = "{{app}} {{worker}} {{instance}}"
ADDRESS = "{{app}} {{address}} {{instance}}"
READY = own("pyinit_worker_ready_duration_seconds_bucket")
RELOAD = own("pyinit_app_reload_duration_seconds_bucket")
TURN = host("pyinit_loop_turn_seconds_bucket")
WORKERS = own("pyinit_app_workers")

# Rows of panels: title, unit, kind, width (of 24), then queries with their legends.
ROWS = {
    "Health": (
        ("Apps not ready", "none", "stat", 4, (f"sum(1 - {own('pyinit_app_ready')})", "")),
        ("Apps errored", "none", "stat", 4, (f"sum({own('pyinit_app_errored')})", "")),
        (
            *("Workers ready of wanted", "percentunit", "gauge", 4),
            (
                f"sum({own('pyinit_app_workers_ready')}) / sum({own('pyinit_app_workers_wanted')})",
                "",
            ),
        ),
        (
            *("Versions", "none", "stat", 12),
            (f"count by (version) ({host('pyinit_build_info')})", "{{version}}"),
        ),
        ("Workers by state", "none", "stacked", 12, (total("state", WORKERS), "{{state}}")),
        (
            *("Ready", "none", "timeline", 12),
            (f"min by (app, instance) ({own('pyinit_app_ready')})", "{{app}} {{instance}}"),
        ),
    ),
    "Restarts": (
        (
            *("Restarts by reason", "none", "bars", 12),
            (
                total("app, reason", increase(own("pyinit_worker_restarts_total"))) + " > 0",
                "{{app}} {{reason}}",
            ),
        ),
        (
            *("From start to ready", "s", "lines", 12),
            (quantile(0.5, "app", READY), "{{app}} p50"),
            (quantile(0.95, "app", READY), "{{app}} p95"),
        ),
    ),
    "Reloads": (
        (
            *("Reloads by result", "none", "bars", 8),
            (
                total("app, result", increase(own("pyinit_app_reloads_total"))) + " > 0",
                "{{app}} {{result}}",
            ),
        ),
        ("Duration of a reload, p95", "s", "lines", 8, (quantile(0.95, "app", RELOAD), "{{app}}")),
        (
            *("Revision of the file; 0: refused", "none", "lines", 8),
            (
                host("pyinit_config_revision")
                + " * "
                + host("pyinit_config_last_reload_successful"),
                "{{instance}}",
            ),
        ),
    ),
    "Resources": (
        ("CPUs", "none", "lines", 12, (rate(own("pyinit_worker_cpu_seconds_total")), WORKER)),
        (
            *("Resident memory and max_memory_restart", "bytes", "lines", 12),
            (own("pyinit_worker_resident_memory_bytes"), WORKER),
            (f"max by (app) ({own('pyinit_app_max_memory_restart_bytes')})", "{{app}} limit"),
        ),
        (
            *("Proportional memory (PSS)", "bytes", "stacked", 8),
            (own("pyinit_worker_proportional_memory_bytes"), WORKER),
        ),
        ("Open descriptors", "none", "lines", 8, (own("pyinit_worker_open_fds"), WORKER)),
        (
            *("Processes and threads", "none", "lines", 8),
            (total("app", own("pyinit_worker_processes")), "{{app}} processes"),
            (total("app", own("pyinit_worker_threads")), "{{app}} threads"),
        ),
    ),
    "Listeners": (
        (
            *("Connections that wait", "none", "lines", 8),
            (own("pyinit_listener_queued_connections"), ADDRESS),
        ),
        (
            *("How long they wait", "s", "lines", 8),
            (own("pyinit_listener_queue_age_seconds"), ADDRESS),
        ),
        (
            *("Fullest queue", "percentunit", "lines", 8),
            (
                own("pyinit_listener_longest_queue_connections")
                + " / "
                + own("pyinit_listener_queue_limit_connections"),
                ADDRESS,
            ),
        ),
        (
            *("Dropped attempts a second", "none", "lines", 8),
            (rate(own("pyinit_listener_drops_total")), ADDRESS),
        ),
        (
            *("Workers that accept nothing", "none", "bars", 8),
            (increase(own("pyinit_worker_stalls_total")) + " > 0", "{{app}} {{instance}}"),
        ),
    ),
    "Logs": (
        (
            *("Lines a second", "none", "lines", 8),
            (total("app, stream", rate(own("pyinit_log_lines_total"))), "{{app}} {{stream}}"),
        ),
        (
            *("Bytes a second", "Bps", "lines", 8),
            (total("app", rate(own("pyinit_log_bytes_total"))), "{{app}}"),
        ),
        (
            *("Waiting for the reader, and lost lines", "none", "lines", 8),
            (host("pyinit_log_pending_bytes"), "{{instance}} bytes"),
            (increase(host("pyinit_log_lost_lines_total")), "{{instance}} lost"),
        ),
    ),
    "Probes": (
        (
            *("Requests a second", "reqps", "lines", 12),
            (total("path, code", rate(host("pyinit_probe_requests_total"))), "{{path}} {{code}}"),
        ),
        (
            *("Clients, and those turned out", "none", "lines", 12),
            (host("pyinit_probe_clients"), "{{instance}}"),
            (increase(host("pyinit_probe_evicted_clients_total")), "{{instance}} turned out"),
        ),
    ),
    "PID 1": (
        ("CPUs", "none", "lines", 6, (rate(host("process_cpu_seconds_total")), "{{instance}}")),
        (
            *("Resident memory", "bytes", "lines", 6),
            (host("process_resident_memory_bytes"), "{{instance}}"),
        ),
        (
            "Turns of the loop, p99",
            "s",
            "lines",
            6,
            (quantile(0.99, "instance", TURN), "{{instance}}"),
        ),
        (
            *("Orphans a second, and internal errors", "none", "lines", 6),
            (rate(host("pyinit_orphans_reaped_total")), "{{instance}} orphans"),
            (increase(host("pyinit_internal_errors_total")), "{{instance}} errors"),
        ),
    ),
}

KINDS = {"stat": "stat", "gauge": "gauge", "timeline": "state-timeline"}
HEIGHTS = {"stat": 4, "gauge": 4}


def panel(number: int, title: str, unit: str, kind: str, queries: list[tuple[str, str]]) -> dict:
    """One panel, without its place."""
    defaults: dict[str, object] = {"unit": unit, "min": 0}
    options: dict[str, object] = {}
    custom: dict[str, object] = {}
    if kind in ("lines", "stacked", "bars"):
        custom = {
            "drawStyle": "bars" if kind == "bars" else "line",
            "fillOpacity": {"lines": 0, "stacked": 60, "bars": 80}[kind],
            "stacking": {"mode": "none" if kind == "lines" else "normal"},
        }
        options = {
            "legend": {"displayMode": "list", "placement": "bottom"},
            "tooltip": {"mode": "multi", "sort": "desc"},
        }
    elif kind == "timeline":
        colours = {"0": ("not ready", "red"), "1": ("ready", "green")}
        mapped = {key: {"text": text, "color": colour} for key, (text, colour) in colours.items()}
        defaults["mappings"] = [{"type": "value", "options": mapped}]
        options = {"showValue": "never", "legend": {"displayMode": "list"}}
    else:
        options = {"reduceOptions": {"calcs": ["lastNotNull"]}}
        if kind == "gauge":
            defaults["max"] = 1
            steps = [("red", None), ("yellow", 0.5), ("green", 1)]
        elif title == "Versions":
            options |= {"textMode": "value_and_name", "colorMode": "none"}
            steps = [("blue", None)]
        else:
            steps = [("green", None), ("red", 1)]
        defaults["thresholds"] = {
            "mode": "absolute",
            "steps": [{"color": colour, "value": value} for colour, value in steps],
        }
    if custom:
        defaults["custom"] = custom
    return {
        "id": number,
        "type": KINDS.get(kind, "timeseries"),
        "title": title,
        "datasource": SOURCE,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": options,
        "targets": [
            {"refId": chr(65 + n), "datasource": SOURCE, "expr": query, "legendFormat": legend}
            for n, (query, legend) in enumerate(queries)
        ],
    }


def panels() -> list[dict]:
    """All rows with their panels, each at its place in the grid."""
    made: list[dict] = []
    x = y = height = 0
    for row, inside in ROWS.items():
        x, y, height = 0, y + height, 1
        place = {"x": 0, "y": y, "w": WIDTH, "h": 1}
        made.append({"id": len(made) + 1, "type": "row", "title": row, "gridPos": place})
        y += 1
        for title, unit, kind, width, *queries in inside:
            if x + width > WIDTH:
                x, y = 0, y + height
            height = HEIGHTS.get(kind, 8) if x == 0 else height
            one = panel(len(made) + 1, title, unit, kind, queries)
            made.append({**one, "gridPos": {"x": x, "y": y, "w": width, "h": height}})
            x += width
    return made


def variable(name: str, query: str) -> dict:
    """A choice of label values, all by default."""
    return {
        "type": "query",
        "name": name,
        "datasource": SOURCE,
        "query": {"query": query, "refId": name},
        "definition": query,
        "refresh": 2,
        "includeAll": True,
        "allValue": ".*",
        "multi": True,
        "sort": 1,
        "current": {"text": "All", "value": "$__all"},
    }


def dashboard() -> dict:
    """The whole of dashboard.json."""
    return {
        "uid": "pyinit",
        "title": "pyinit",
        "description": "Apps and workers under pyinit, and PID 1 itself.",
        "tags": ["pyinit"],
        "schemaVersion": 39,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "annotations": {"list": []},
        "templating": {
            "list": [
                {
                    "type": "datasource",
                    "name": "datasource",
                    "label": "Data source",
                    "query": "prometheus",
                    "refresh": 1,
                },
                variable("job", "label_values(pyinit_build_info, job)"),
                variable("namespace", 'label_values(pyinit_build_info{job=~"$job"}, namespace)'),
                variable(
                    "pod",
                    'label_values(pyinit_build_info{job=~"$job", namespace=~"$namespace"}, pod)',
                ),
                variable("instance", 'label_values(pyinit_build_info{job=~"$job"}, instance)'),
                variable(
                    "app",
                    'label_values(pyinit_app_ready{job=~"$job", instance=~"$instance"}, app)',
                ),
            ]
        },
        "panels": panels(),
    }


def text() -> str:
    """The file."""
    return json.dumps(dashboard(), indent=1) + "\n"


if __name__ == "__main__":
    (HERE / "dashboard.json").write_text(text(), encoding="utf-8")
