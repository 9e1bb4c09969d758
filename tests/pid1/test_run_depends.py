"""`depends_on` with real processes: starts in order, ends in the reverse order."""

from __future__ import annotations

import json
import signal
import socket
import sys

import pytest

from tests.support.commands import answering, listed, pyinit
from tests.support.run import Run

COMPLETED = "service_completed_successfully"

# Says when it starts and when it is told to stop.
SERVICE = """
import os, signal, sys, time
def say(word):
    os.write(1, f"{sys.argv[1]} {word}\\n".encode())
def stop(*_):
    time.sleep(float(os.environ.get("STOP_TAKES", "0")))
    say("stops")
    sys.exit(0)
for each in (signal.SIGTERM, signal.SIGINT):
    signal.signal(each, stop)
say("starts")
while True:
    signal.pause()
"""


def service(folder, name, **keys):
    (folder / "service.py").write_text(SERVICE)
    shape = {"script": "service.py", "interpreter": sys.executable, "args": [name]}
    return {"name": name, **shape, **keys}


def once(name="migrate", code=0, **keys):
    script = f"sh -c 'echo {name} done; exit {code}'"
    return {"name": name, "script": script, "autorestart": False, **keys}


def order(run, *apps):
    """What the apps said, in the order of the time stamps."""
    lines = [r for r in run.records if "stream" in r and r["app"] in apps]
    return [line["event"] for line in sorted(lines, key=lambda line: line["timestamp"])]


def test_a_database_its_migration_and_its_server(tmp_path) -> None:
    apps = [
        service(tmp_path, "web", depends_on={"migrate": COMPLETED}, env={"STOP_TAKES": "0.2"}),
        once(depends_on=["db"]),
        service(tmp_path, "db"),
    ]
    with Run(tmp_path, apps) as run:
        run.said("web starts")
        assert run.stop() == 0
        said = order(run, "db", "migrate", "web")
        # The signal reaches db only when web is gone.
        assert said.index("migrate done") < said.index("web starts")
        assert said[-2:] == ["web stops", "db stops"]


def test_a_failed_migration_ends_the_container_with_its_code(tmp_path) -> None:
    web = service(tmp_path, "web", depends_on={"migrate": COMPLETED})
    with Run(tmp_path, [web, once(code=3), service(tmp_path, "other")]) as run:
        assert run.wait() == 3
        output = run.event("app never starts", app="web")
        assert output["level"] == "error"
        assert "exit code 3" in output["because"]
        assert not run.events("worker started", app="web")


def test_a_migration_that_cannot_even_run(tmp_path) -> None:
    migrate = {"name": "migrate", "script": "./gone", "interpreter": "/bin/sh"}
    (tmp_path / "gone").write_text("exec /no/such/program\n")
    web = service(tmp_path, "web", depends_on={"migrate": COMPLETED})
    with Run(tmp_path, [web, {**migrate, "autorestart": False}]) as run:
        assert run.wait() == 127


def test_healthy_is_waited_for(tmp_path) -> None:
    # `db` listens only when it is allowed to.
    (tmp_path / "db.py").write_text(
        "import os, socket, time\n"
        "while not os.path.exists('go'): time.sleep(0.01)\n"
        "sock = socket.create_server(('127.0.0.1', int(os.environ['PORT'])))\n"
        "while True: sock.accept()[0].close()\n"
    )
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    db = {"name": "db", "script": "db.py", "interpreter": sys.executable, "port": port}
    db |= {"exec_mode": "cluster", "listen_timeout": "1h"}
    web = service(tmp_path, "web", depends_on={"db": "service_healthy"})
    with Run(tmp_path, [web, db, service(tmp_path, "other")]) as run:
        run.said("other starts")
        assert not run.events("worker started", app="web")
        (tmp_path / "go").touch()
        run.said("web starts")
        ready = run.event("app ready", app="db")["timestamp"]
        assert ready <= run.event("worker started", app="web")["timestamp"]
        assert run.stop() == 0


def test_only_leaves_a_dependency_out_and_says_so(tmp_path) -> None:
    apps = [once(code=3), service(tmp_path, "web", depends_on={"migrate": COMPLETED})]
    with Run(tmp_path, apps, args=("--only", "web")) as run:
        run.said("web starts")
        assert "--only" in run.event("config warning")["reason"]
        assert run.stop() == 0
        assert not run.events("worker started", app="migrate")


def test_a_new_graph_on_sighup(tmp_path) -> None:
    with Run(tmp_path, [service(tmp_path, "db")]) as run:
        run.said("db starts")
        apps = [
            service(tmp_path, "web", depends_on={"migrate": COMPLETED}),
            once(),
            service(tmp_path, "db"),
        ]
        run.write(json.dumps({"apps": apps}))
        run.signal(signal.SIGHUP)
        run.said("web starts")
        said = order(run, "migrate", "web")
        assert said.index("migrate done") < said.index("web starts")
        # A circle is refused, and nothing changes.
        apps[2]["depends_on"] = ["web"]
        apps[1]["depends_on"] = ["db"]
        run.write(json.dumps({"apps": apps}))
        run.signal(signal.SIGHUP)
        assert "waits for itself" in run.event("config rejected")["reason"]
        assert run.stop() == 0


def test_stop_and_start_concern_the_named_app_only(tmp_path) -> None:
    apps = [service(tmp_path, "web", depends_on=["db"]), service(tmp_path, "db")]
    with Run(tmp_path, apps) as run:
        run.event("worker ready", app="web")
        answering(run)
        assert pyinit(run, "stop", "db").returncode == 0
        states = {app["name"]: app["workers"][0]["status"] for app in listed(run)["apps"]}
        assert states == {"web": "online", "db": "stopped"}
        assert pyinit(run, "start", "db").returncode == 0
        run.said("db starts", 2)
        assert run.stop() == 0
        assert order(run, "web", "db")[-2:] == ["web stops", "db stops"]


def test_a_person_may_start_what_waits(tmp_path) -> None:
    web = service(tmp_path, "web", depends_on={"migrate": COMPLETED}, on_errored="keep")
    with Run(tmp_path, [web, once(code=3), service(tmp_path, "other")]) as run:
        run.event("app never starts", app="web")
        answering(run)
        assert pyinit(run, "start", "web").returncode == 0
        run.said("web starts")
        assert run.stop() == 0


@pytest.mark.parametrize("names", [("web", "db"), ("web",)])
def test_the_timeout_bounds_the_whole_order(tmp_path, names) -> None:
    """`web` hangs in its stop: after the timeout all is killed, also who was not told yet."""
    web = service(tmp_path, "web", depends_on=list(names[1:]), env={"STOP_TAKES": "1000"})
    apps = [{**web, "kill_timeout": "10m"}, service(tmp_path, "db")]
    with Run(tmp_path, apps, shutdown={"timeout": 500}) as run:
        run.said("web starts")
        run.said("db starts")
        assert run.stop() == 137
        forced = run.event("shutdown forced")
        assert forced["because"] == "shutdown.timeout"
        # Alone, it had its time; in the order, its turn never came.
        assert bool(run.events("worker exited", app="db", exit_code=0)) == (len(names) == 1)
