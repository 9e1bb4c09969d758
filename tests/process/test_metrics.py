"""`/metrics` of a real pyinit, read by the field's own parser."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import sys

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from entrypoint.core import reasons
from entrypoint.core.view import STATES
from entrypoint.metrics.families import COUNTER, FAMILIES, HISTOGRAM
from tests.support.ports import free_port
from tests.support.run import DEADLINE, Run, get

pytestmark = pytest.mark.process

OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
SECRET = "hunter2-never-to-be-seen"

# Prints, forks a child of its own, accepts one connection, and dies when it is told to.
SERVER = """
import os, signal, socket, sys, time
sys.stdout.write("one\\ntwo\\nthree\\n"); sys.stdout.flush()
sys.stderr.write("four"); sys.stderr.flush()
if os.fork() == 0:
    time.sleep(1000)
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
signal.signal(signal.SIGUSR1, lambda *_: os._exit(7))
server.accept()[0].close()  # the connection by which it is seen to serve
while True:
    time.sleep(1000)
"""


def scrape(port: int, accept: str = OPENMETRICS, method: str = "GET"):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE)
    try:
        connection.request(method, "/metrics", headers={"Accept": accept})
        answer = connection.getresponse()
        return answer, answer.read().decode()
    finally:
        connection.close()


class Samples:
    """One scrape: families by name, and values by sample and labels."""

    def __init__(self, port: int) -> None:
        answer, self.text = scrape(port)
        assert answer.status == 200
        assert answer.headers["Content-Type"] == OPENMETRICS
        self.families = {f.name: f for f in text_string_to_metric_families(self.text)}
        self.values = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in self.families.values()
            for sample in family.samples
        }

    def __call__(self, name: str, **labels: object) -> float | None:
        return self.values.get((name, frozenset((k, str(v)) for k, v in labels.items())))

    def counters(self) -> dict[tuple[str, frozenset], float]:
        endings = ("_total", "_bucket", "_count", "_sum")
        return {key: value for key, value in self.values.items() if key[0].endswith(endings)}


def server(port: int, **keys):
    words = {"script": sys.executable, "args": ["server.py", str(port)], "exec_mode": "cluster"}
    return {"name": "web", "instances": 2, **words, **keys}


@pytest.fixture
def ports():
    return free_port(), free_port()


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "server.py").write_text(SERVER)
    return tmp_path


def test_all_of_it_is_what_openmetrics_and_our_table_say(folder, ports):
    probes, port = ports
    apps = [
        server(port, max_memory_restart="1G", env={"TOKEN": SECRET}, health={"tcp": f"{port}"}),
        {"name": 'o"dd\\', "script": "sleep 1000", "args": [], "namespace": "back"},
    ]
    top = {"probes": {"listen": f"127.0.0.1:{probes}"}}
    with Run(folder, apps, env={"PASSWORD": SECRET}, **top) as run:
        run.event("app ready", app="web")
        run.until(lambda: get(probes, "/readyz")[0] == 200)
        checked = {"app": "web", "worker": 1}
        run.until(lambda: Samples(probes)("pyinit_worker_healthy", **checked) == 1)
        seen = Samples(probes)
        # Those of jobs are there where the file has one.
        known = {family.name: family for family in FAMILIES}
        assert {name for name in known if "_job_" not in name} == set(seen.families)
        for family in map(known.__getitem__, seen.families):
            found = seen.families[family.name]
            assert (found.type, found.unit) == (family.kind, family.unit)
            for sample in found.samples:
                assert set(sample.labels) - {"le"} == set(family.labels)
        assert SECRET not in seen.text
        assert "server.py" not in seen.text

        assert seen("pyinit_app_info", app='o"dd\\', exec_mode="fork", namespace="back") == 1
        assert seen("pyinit_app_workers_wanted", app="web") == 2
        assert seen("pyinit_app_workers_ready", app="web") == 2
        assert seen("pyinit_app_max_memory_restart_bytes", app="web") == 1 << 30
        assert seen("pyinit_app_workers", app="web", state="online") == 2
        assert {
            sample.labels["state"] for sample in seen.families["pyinit_app_workers"].samples
        } == set(STATES)
        assert seen("pyinit_probe_passed", probe="readyz") == 1
        assert seen("pyinit_phase", phase="running") == 1
        assert seen("pyinit_config_revision") == 1
        for instance in (0, 1):
            own = {"app": "web", "worker": instance}
            assert seen("pyinit_worker_up", **own) == 1
            assert seen("pyinit_worker_processes", **own) == 2
            pss = seen("pyinit_worker_proportional_memory_bytes", **own)
            assert 1 << 20 < pss < seen("pyinit_worker_resident_memory_bytes", **own)
            assert seen("pyinit_worker_open_fds", **own) >= 6
        assert seen("pyinit_worker_ready_duration_seconds_count", app="web") == 2
        assert seen(
            "pyinit_listener_queue_limit_connections", app="web", address=f"127.0.0.1:{port}"
        )
        for reason in reasons.RESTARTS:
            assert seen("pyinit_worker_restarts_total", app="web", reason=reason) == 0
        assert run.stop() == 0


def test_counters_go_up_and_never_down(folder, ports):
    probes, port = ports
    with Run(folder, [server(port)], probes=f"127.0.0.1:{probes}") as run:
        run.event("app ready", app="web")
        before = Samples(probes)
        assert before("pyinit_log_lines_total", app="web", stream="stdout") == 6
        assert before("pyinit_log_bytes_total", app="web", stream="stdout") == 2 * 14
        series = set(before.values)
        crashed = run.events("worker started")[0]["pid"]
        os.kill(run.outer_pid(crashed), signal.SIGUSR1)
        run.event("worker ready", 3, app="web")
        run.signal(signal.SIGHUP)
        run.event("reload finished", app="web")
        get(probes, "/nonsense")
        after = Samples(probes)
        assert after("pyinit_worker_restarts_total", app="web", reason="crash") == 1
        assert after("pyinit_worker_restarts_total", app="web", reason="asked") == 2
        assert after("pyinit_app_reloads_total", app="web", result="finished") == 1
        assert after("pyinit_app_reload_duration_seconds_count", app="web") == 1
        assert after("pyinit_config_reloads_total", result="accepted") == 1
        assert after("pyinit_worker_ready_duration_seconds_count", app="web") == 5
        assert after("pyinit_log_lines_total", app="web", stream="stdout") == 15
        # Its last words had no newline, and are a line nevertheless.
        assert after("pyinit_log_lines_total", app="web", stream="stderr") >= 1
        assert after("pyinit_probe_requests_total", path="other", code="404") == 1
        assert after("pyinit_probe_requests_total", path="metrics", code="200") == 2
        later = after.counters()
        for key, value in before.counters().items():
            assert later[key] >= value, key
        # Five workers were there: the series are those of two.
        assert set(after.values) - series <= {
            key for key in after.values if key[0] == "pyinit_probe_requests_total"
        }
        assert run.stop() == 0


def test_the_queue_of_a_worker_that_does_not_accept(folder, ports):
    probes, port = ports
    app = server(port, instances=1, listen={"address": f"127.0.0.1:{port}", "backlog": 2})
    with Run(folder, [app], probes=f"127.0.0.1:{probes}") as run:
        run.event("app ready", app="web")
        clients = [socket.create_connection(("127.0.0.1", port), DEADLINE) for _ in range(2)]
        own = {"app": "web", "address": f"127.0.0.1:{port}"}
        seen = Samples(probes)
        assert seen("pyinit_listener_queued_connections", **own) == 2
        assert seen("pyinit_listener_longest_queue_connections", **own) == 2
        assert seen("pyinit_listener_queue_limit_connections", **own) == 2
        assert seen("pyinit_listener_drops_total", **own) == 0
        for _ in range(3):
            clients.append(socket.socket())
            clients[-1].setblocking(False)
            clients[-1].connect_ex(("127.0.0.1", port))
        run.until(lambda: Samples(probes)("pyinit_listener_drops_total", **own))
        for client in clients:
            client.close()


def test_the_older_format_and_head(folder, ports):
    probes, port = ports
    with Run(folder, [server(port)], probes=f"127.0.0.1:{probes}") as run:
        run.event("app ready", app="web")
        answer, output = scrape(probes, "*/*")
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        assert "# TYPE pyinit_worker_restarts_total counter\n" in output
        answer, output = scrape(probes, method="HEAD")
        assert (answer.status, output) == (200, "")
        assert int(answer.headers["Content-Length"]) > 1000


def test_switched_off_it_is_not_found(folder, ports):
    probes, port = ports
    top = {"probes": {"listen": f"127.0.0.1:{probes}", "metrics": False}}
    with Run(folder, [server(port)], **top) as run:
        run.event("app ready", app="web")
        assert get(probes, "/livez")[0] == 200
        assert get(probes, "/metrics") == (404, "not found: probes.metrics is false\n")


def test_only_counters_and_histograms_end_like_counters():
    for family in FAMILIES:
        assert (family.kind in (COUNTER, HISTOGRAM)) or not family.sample.endswith("_total")


def test_the_file_read_again_changes_the_probe_port(folder, ports):
    probes, port = ports
    other = free_port()
    with Run(folder, [server(port)], probes={"listen": f"127.0.0.1:{probes}"}) as run:
        run.event("app ready", app="web")
        run.write(json.dumps({"apps": [server(port)], "probes": {"listen": "unix:/no/such/sock"}}))
        run.signal(signal.SIGHUP)
        run.event("config rejected")
        seen = Samples(probes)
        assert seen("pyinit_config_last_reload_successful") == 0
        assert seen("pyinit_config_reloads_total", result="rejected") == 1
        top = {"listen": [f"127.0.0.1:{other}"], "ready_when": "any", "metrics": False}
        run.write(json.dumps({"apps": [server(port)], "probes": top}))
        run.signal(signal.SIGHUP)
        run.event("config accepted")
        assert get(other, "/readyz") == (200, "ok")
        assert get(other, "/metrics")[0] == 404
        with pytest.raises(ConnectionRefusedError):
            get(probes, "/readyz")
        assert not run.events("reload started")
        assert run.stop() == 0
