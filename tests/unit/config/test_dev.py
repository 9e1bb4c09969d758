"""What apps get under `pyinit dev`, and that the file goes before it."""

from __future__ import annotations

from entrypoint.config.load import load

DEV = ((), (), "", True)


def plan(tmp_path, text, name="ecosystem.yaml"):
    path = tmp_path / name
    path.write_text(text)
    (tmp_path / "a.sh").write_text("#!/bin/sh\n")
    environ = {"PATH": "/bin:/usr/bin"}
    return load(str(path), environ=environ, look=False, command_line=DEV).plan


def test_defaults_of_a_laptop(tmp_path) -> None:
    found = plan(tmp_path, "apps: {name: web, script: sh a.sh}\nlog: json\n")
    (app,) = found.apps
    assert app.watch
    assert "**/node_modules" in app.ignore_watch
    assert app.tty
    assert app.on_errored == "wait"
    assert app.kill_timeout == 3.0
    assert found.log.format == "console"
    assert found.watch_config


def test_the_file_goes_before_them(tmp_path) -> None:
    text = """
apps:
  - {name: web, script: sh a.sh, watch: [src], ignore_watch: [x], tty: false, kill_timeout: 9s}
  - {name: off, script: sh a.sh, watch: false}
  - {name: job, script: sh a.sh, cron_restart: "0 0 * * *", autorestart: false}
"""
    web, off, job = plan(tmp_path, text).apps
    assert (web.tty, web.kill_timeout) == (False, 9.0)
    assert [path.rpartition("/")[2] for path in web.watch] == ["src"]
    assert len(web.ignore_watch) == 1
    assert not off.watch
    assert not job.watch


def test_a_file_of_pm2_too(tmp_path) -> None:
    text = '{"apps": [{"name": "web", "script": "./a.sh", "killTimeout": 9000}]}'
    (app,) = plan(tmp_path, text, "ecosystem.json").apps
    assert app.watch
    assert app.tty
    assert app.kill_timeout == 9.0
