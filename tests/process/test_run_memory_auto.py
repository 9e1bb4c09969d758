"""A leak in a container with a limit: replaced in time, and nobody is refused."""

from __future__ import annotations

import pytest

from tests.process.test_run_exits import memory_cgroup, remove
from tests.support.ports import free_port
from tests.support.run import Run, get

pytestmark = [pytest.mark.process, pytest.mark.pid1]

# It answers, and takes 30 MB more each second.
LEAKS = """
import os, socket, threading, time
held = []
def leak():
    while True:
        held.append(os.urandom(1 << 15) * 48)
        time.sleep(0.05)
threading.Thread(target=leak, daemon=True).start()
s = socket.create_server(("127.0.0.1", int(os.environ["PORT"])), backlog=100)
while True:
    c, _ = s.accept()
    with c:
        if c.recv(4096):
            c.sendall(b"HTTP/1.0 200 OK\\r\\n\\r\\n" + os.environ["GOMEMLIMIT"].encode())
"""


def test_workers_are_told_their_share_and_replaced_when_they_pass_it(tmp_path) -> None:
    group = memory_cgroup()
    if group is None:
        pytest.skip("no memory cgroup can be made here")
    limit = next(
        group / name for name in ("memory.max", "memory.limit_in_bytes") if (group / name).exists()
    )
    limit.write_text(str(256 << 20))
    port = free_port()
    (tmp_path / "leaks.py").write_text(LEAKS)
    app = {
        "name": "web",
        "script": f"python3 -S {tmp_path / 'leaks.py'}",
        "exec_mode": "cluster",
        "listen": f"127.0.0.1:{port}",
        "env": {"PORT": str(port)},
        "memory": "auto",
        "max_memory_restart": "auto",
    }
    enter = ("sh", "-c", f'echo $$ > "{group}/cgroup.procs"; exec "$@"', "sh")
    try:
        with Run(tmp_path, [app], wrap=enter) as run:
            run.event("app ready")

            def answers() -> bool:
                # (256 - 64) / 2, for a reload has two; nine tenths of that for Go.
                assert get(port) == (200, "86MiB")
                return bool(run.events("reload finished"))

            run.until(answers, "a replacement")
            over = run.event("memory limit exceeded")
            assert over["max_memory_restart"] == 96 << 20
            assert all(each["expected"] for each in run.events("worker exited"))
            assert run.stop() == 0
    finally:
        remove(group)
