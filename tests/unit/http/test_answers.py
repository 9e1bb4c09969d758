"""What the endpoints say, as a function of the view."""

from __future__ import annotations

import json

import pytest

from entrypoint.api.probes import (
    Answer,
    answer,
    needed,
    status,
)
from entrypoint.core import view as states
from entrypoint.core.view import AppView, View, WorkerView
from entrypoint.http.http1 import Request


def worker(instance=0, *, ready=True, state=states.ONLINE, last_exit="", pid=7):
    return WorkerView("api", instance, 1, instance, pid, state, ready, 0, 10.0, last_exit)


def app(name="api", *, wanted=2, ready=2, **changes):
    values = {
        "was_ready": ready >= wanted,
        "errored": False,
        "finished": False,
        "stopped": False,
        "workers": (),
    } | changes
    return AppView(name, "fork", wanted, ready, **values)


def view(*apps, phase="running"):
    return View(apps, phase, 1)


def ask(target, seen, *, ready_when="all", method="GET", **changes):
    path, _, raw = target.partition("?")
    query = tuple((k, v) for k, _, v in (part.partition("=") for part in raw.split("&")) if k)
    request = Request(method, tuple(path[1:].split("/")), query, **changes)
    return answer(request, seen, ready_when, lambda: b"{}")


def text(target, seen, **how):
    return ask(target, seen, **how).body.decode()


GOOD = view(app("api"), app("web"))
HALF = view(app("api", ready=1), app("web"))
ENDPOINTS = ["livez", "readyz", "startupz", "healthz"]


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_good_is_ok(endpoint):
    assert ask(f"/{endpoint}", GOOD) == Answer(200, b"ok")


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_verbose_names_every_check(endpoint):
    lines = text(f"/{endpoint}?verbose", GOOD).splitlines()
    assert "[+]api ok" in lines
    assert "[+]web ok" in lines
    assert lines[-1] == f"{endpoint} check passed"


def test_a_failure_is_told_in_full():
    reply = ask("/readyz", HALF)
    assert reply.status == 503
    assert reply.body.decode().splitlines() == [
        "[-]api failed: 1 of 2 workers ready",
        "[+]web ok",
        "[+]shutdown ok",
        "readyz check failed",
    ]


def test_the_reason_names_the_workers_that_are_not_ready():
    workers = tuple(
        worker(n, ready=n == 0, state=states.WAITING_RESTART, last_exit="exit code 1")
        for n in range(6)
    )
    reply = text("/readyz/api", view(app(wanted=6, ready=1, workers=workers)))
    assert "1 of 6 workers ready (1: waiting restart, exit code 1; " in reply
    assert "and 2 more" in reply


def test_exclude_passes_over_a_check():
    assert ask("/readyz?exclude=api", HALF) == Answer(200, b"ok")
    lines = text("/readyz?exclude=api&verbose", HALF).splitlines()
    assert lines[0] == "[+]api excluded: ok"
    assert lines[-1] == "readyz check passed"


def test_exclude_of_nothing_is_warned_about_once_and_harmless():
    reply = ask("/readyz?exclude=db&exclude=db&exclude=x&verbose", GOOD)
    assert reply.status == 200
    warnings = [line for line in reply.body.decode().splitlines() if line.startswith("warn: ")]
    assert warnings == ['warn: some health checks cannot be excluded: no matches for "db", "x"']


def test_a_client_cannot_write_lines():
    reply = text("/readyz?verbose&exclude=a\n[-]api failed", GOOD)
    assert not [line for line in reply.splitlines() if line.startswith("[-]")]


def test_one_app_alone():
    assert ask("/readyz/web", HALF).status == 200
    assert ask("/readyz/api", HALF).status == 503
    assert ask("/livez/api", HALF).status == 200
    assert ask("/readyz/none", HALF).status == 404
    assert ask("/readyz/api/more", HALF).status == 404


@pytest.mark.parametrize(
    ("phase", "ready"), [("running", 200), ("draining", 503), ("stopping", 503)]
)
def test_a_shutdown_fails_readiness_and_nothing_else(phase, ready):
    seen = view(app(), phase=phase)
    assert ask("/readyz", seen).status == ready
    assert ask("/livez", seen).status == 200
    assert ask("/startupz", seen).status == 200
    if ready == 503:
        assert f"[-]shutdown failed: {phase}" in text("/readyz", seen)


def test_an_errored_app_is_neither_live_nor_ready():
    workers = (worker(state=states.ERRORED, ready=False, last_exit="exit code 3", pid=0),)
    seen = view(app(wanted=1, ready=0, errored=True, workers=workers))
    assert "[-]api failed: errored (0: errored, exit code 3)" in text("/livez", seen)
    for endpoint in ENDPOINTS:
        assert ask(f"/{endpoint}", seen).status == 503


def test_an_app_that_is_not_ready_is_live():
    assert ask("/livez", HALF).status == 200


def test_finished_apps_block_nothing():
    seen = view(app(wanted=1, ready=0, finished=True))
    for endpoint in ENDPOINTS:
        assert ask(f"/{endpoint}", seen).status == 200
    assert "[+]api finished: ok" in text("/readyz?verbose", seen)


def test_an_app_that_a_person_has_stopped_is_missed_and_one_never_started_is_not():
    stopped = view(app(wanted=1, ready=0, stopped=True))
    assert "[-]api failed: stopped: `pyinit start` starts it" in text("/readyz", stopped)
    assert ask("/readyz", stopped).status == 503
    assert ask("/livez", stopped).status == 200
    idle = view(app(wanted=1, ready=0, stopped=True, started=False))
    assert ask("/readyz", idle).status == 200
    assert "[+]api not started: ok" in text("/readyz?verbose", idle)


def test_an_app_scaled_to_nothing_is_not_ready():
    assert "[-]api failed: scaled to 0" in text("/readyz", view(app(wanted=0, ready=0)))


def test_startup_is_passed_once_and_for_all():
    seen = view(app(ready=0, was_ready=True))
    assert ask("/startupz", seen).status == 200
    assert ask("/readyz", seen).status == 503


@pytest.mark.parametrize(
    ("ready_when", "wanted", "workers"),
    [
        ("all", 4, 4),
        ("any", 4, 1),
        ("any", 0, 0),
        ("3", 4, 3),
        ("9", 4, 4),
        ("50%", 4, 2),
        ("50%", 5, 3),
        ("1%", 4, 1),
        ("100%", 4, 4),
        ("33%", 3, 1),
        ("34%", 3, 2),
        ("all", 0, 0),
        ("50%", 0, 0),
    ],
)
def test_ready_when(ready_when, wanted, workers):
    for was_ready in (False, True):
        assert needed(ready_when, wanted, was_ready=was_ready) == workers
    if wanted:
        enough = view(app(wanted=wanted, ready=workers))
        short = view(app(wanted=wanted, ready=workers - 1))
        assert ask("/readyz", enough, ready_when=ready_when).status == 200
        assert ask("/readyz", short, ready_when=ready_when).status == 503


@pytest.mark.parametrize(("wanted", "first", "later"), [(4, 4, 1), (1, 1, 1), (0, 0, 0)])
def test_by_default_an_app_that_was_ready_needs_one_worker(wanted, first, later):
    assert needed("auto", wanted, was_ready=False) == first
    assert needed("auto", wanted, was_ready=True) == later


def test_a_container_that_serves_stays_ready_after_its_start():
    starting = view(app(wanted=4, ready=3))
    assert "[-]api failed: 3 of 4 workers ready" in text("/readyz", starting, ready_when="auto")
    assert ask("/startupz", starting, ready_when="auto").status == 503
    crashed = worker(1, ready=False, state=states.WAITING_RESTART, last_exit="exit code 1")
    seen = view(app(wanted=4, ready=1, was_ready=True, workers=(worker(), crashed)))
    assert ask("/readyz", seen, ready_when="auto").status == 200
    # What is missing is told, and no failure.
    assert "[+]api 1 of 4 workers ready (1: waiting restart, exit code 1): ok" in text(
        "/readyz?verbose", seen, ready_when="auto"
    )
    gone = view(app(wanted=4, ready=0, was_ready=True))
    assert "[-]api failed: 0 of 4 workers ready" in text("/readyz", gone, ready_when="auto")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT"])
def test_other_methods(method):
    reply = ask("/livez", GOOD, method=method)
    assert reply.status == 405
    assert reply.allow == "GET, HEAD"


@pytest.mark.parametrize("path", ["/", "/metrics", "/livez/", "/status/x", "/LIVEZ", "/../livez"])
def test_other_paths(path):
    assert ask(path, GOOD).status == 404


def test_a_body_is_not_taken():
    assert ask("/livez", GOOD, has_body=True).status == 413


def test_status_is_plain_json_and_tells_everything_but_secrets():
    workers = (worker(pid=42), worker(1, ready=False, state=states.STOPPED, pid=0))
    reply = status(
        View((app(workers=workers),), "draining", 3, "x.yaml:1:1: broken"),
        now=12.5,
        version="1.2.3",
        ready_when="all",
    )
    assert json.loads(json.dumps(reply)) == reply
    assert reply["version"] == "1.2.3"
    assert (reply["live"], reply["ready"], reply["started"]) == (True, False, True)
    assert reply["config_error"] == "x.yaml:1:1: broken"
    first, second = reply["apps"][0]["workers"]
    assert (first["pid"], first["uptime"]) == (42, 2.5)
    assert (second["pid"], second["uptime"]) == (0, None)


def test_status_answers_200_and_json():
    reply = ask("/status", HALF)
    assert (reply.status, reply.content_type) == (200, "application/json")


def test_a_broken_config_fails_nothing():
    seen = View((app(),), "running", 1, "broken")
    for endpoint in ENDPOINTS:
        assert ask(f"/{endpoint}", seen).status == 200


def test_a_worker_that_cannot_be_ended_is_shown_and_no_failure():
    stuck = worker(ready=False, state=states.STOPPING).replace(stuck="lives after SIGKILL")
    seen = view(app("api", workers=(worker(1), stuck)), app("web"))
    for endpoint in ("livez", "readyz"):
        assert ask(f"/{endpoint}", seen).status == 200
        note = "[+]api with 1 worker that cannot be ended: ok"
        assert note in text(f"/{endpoint}?verbose", seen)
    waiting = view(app("api", ready=1, workers=(worker(1), stuck)))
    assert "0: stopping, lives after SIGKILL" in text("/readyz", waiting)
    shown = status(seen, now=20.0, version="1", ready_when="all")["apps"][0]["workers"]
    assert [each["stuck"] for each in shown] == ["", "lives after SIGKILL"]
