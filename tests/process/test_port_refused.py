"""Where the filter is refused: whoever can have the port has it, and the others are told."""

from __future__ import annotations

import shutil
import signal
import sys
from pathlib import Path

import pytest

from tests.process.test_run_port import SERVER
from tests.support.ports import free_port
from tests.support.run import Run, get

WRAP = (sys.executable, str(Path(__file__).parents[1] / "support" / "refuse_seccomp.py"))
NODE = """
require('http').createServer((q, r) => r.end(String(require('cluster').isWorker)))
  .listen(+process.argv[2], '127.0.0.1');
"""


def refused(folder, app: dict) -> Run:
    (folder / "server.py").write_text(SERVER)
    (folder / "app.js").write_text(NODE)
    return Run(folder, [{"name": "web", **app}], wrap=WRAP)


@pytest.mark.parametrize("mode", ["fork", "cluster"])
@pytest.mark.parametrize("where", ["{port}", "{number}"])
def test_a_single_worker_binds_the_declared_address_itself(tmp_path, mode, where) -> None:
    port = free_port()
    script = f"{sys.executable} server.py {where}".replace("{number}", str(port))
    app = {"script": script, "exec_mode": mode, "listen": f"127.0.0.1:{port}"}
    with refused(tmp_path, app) as run:
        run.until(lambda: answers(port), "the worker answers")
        warning = run.event("config warning")
        assert f"127.0.0.1:{port}" in warning["reason"]
        run.signal(signal.SIGHUP)
        run.event("reload finished")
        run.until(lambda: answers(port), "the next worker answers")
        assert len(run.events("worker exited")) == 1
        assert run.stop() == 0


@pytest.mark.parametrize("mode", ["fork", "cluster"])
def test_a_node_program_has_it_over_nodes_protocol(tmp_path, mode) -> None:
    if not shutil.which("node"):
        pytest.skip("node is not installed")
    port = free_port()
    app = {"script": f"app.js {port}", "exec_mode": mode, "listen": f"127.0.0.1:{port}"}
    with refused(tmp_path, {**app, "instances": 2}) as run:
        run.event("app ready")
        assert get(port) == (200, "true")
        assert not run.events("worker exited")
        assert run.stop() == 0


def test_several_that_bind_it_themselves_are_told_what_to_do(tmp_path) -> None:
    port = free_port()
    app = {"script": f"{sys.executable} server.py {port}", "exec_mode": "cluster"}
    app |= {"listen": f"127.0.0.1:{port}", "instances": 2, "max_restarts": 1}
    with refused(tmp_path, app) as run:
        assert run.wait() == 1
        warning = run.event("config warning")
        assert "{fd}" in warning["reason"]


def answers(port: int) -> bool:
    try:
        return get(port)[0] == 200
    except OSError:
        return False
