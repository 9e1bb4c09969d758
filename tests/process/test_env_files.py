"""Variables and secrets out of files, in real workers, from start to a changed secret."""

from __future__ import annotations

import signal
import subprocess

import pytest

from tests.support.commands import PYINIT, answering, pyinit
from tests.support.ports import free_port
from tests.support.run import Run, get

pytestmark = [pytest.mark.process, pytest.mark.pid1]

# Says which secret it has without saying it.
SAYS = r"""
printf 'user %s, password of %d letters\n' "$DB_USER" "${#DB_PASSWORD}"
exec sleep 1000
"""
SECRET = "hunter2-{port}-$x"
NEW_SECRET = "correct horse battery staple"


def files(folder):
    (folder / "says.sh").write_text(SAYS)
    (folder / "app.env").write_text("export DB_USER='app'  # of the database\n")
    (folder / "db_password").write_text(SECRET + "\n")


def app(name="web", **keys):
    secret = {"env_file": "app.env", "env_from_file": {"DB_PASSWORD": "db_password"}}
    return {"name": name, "script": "says.sh", **secret, **keys}


def nothing_shows(run, *secrets):
    shown = [run.story()]
    shown += [pyinit(run, *words).stdout for words in (("ls", "--json"), ("describe", "web"))]
    assert all("web" in each for each in shown)
    for secret in secrets:
        assert [each for each in shown if secret in each] == []


def test_workers_get_them_and_nothing_shows_them(tmp_path):
    files(tmp_path)
    port = free_port()
    with Run(tmp_path, [app()], probes={"listen": f"127.0.0.1:{port}"}) as run:
        run.said(f"user app, password of {len(SECRET)} letters", app="web")
        answering(run)
        nothing_shows(run, "hunter2")
        status, body = get(port, "/status")
        assert status == 200
        assert "hunter2" not in body
        assert run.stop() == 0


def test_a_changed_secret_is_a_changed_app(tmp_path):
    files(tmp_path)
    other = {"name": "other", "script": "says.sh", "env": {"DB_USER": "other"}}
    with Run(tmp_path, [app(), other]) as run:
        run.said("user app", app="web")
        run.said("user other", app="other")
        (tmp_path / "db_password").write_text(NEW_SECRET)
        answer = pyinit(run, "reload", "--config", "--dry-run").stdout
        assert "web: changed (env.DB_PASSWORD)" in answer
        run.signal(signal.SIGHUP)
        run.said(f"user app, password of {len(NEW_SECRET)} letters", app="web")
        nothing_shows(run, "hunter2", NEW_SECRET)
        assert len(run.events("worker started", app="other")) == 1
        assert run.stop() == 0


def test_a_secret_that_is_gone_changes_nothing(tmp_path):
    files(tmp_path)
    with Run(tmp_path, [app()]) as run:
        run.said("user app")
        (tmp_path / "db_password").unlink()
        run.signal(signal.SIGHUP)
        reason = run.event("config rejected")["reason"]
        assert f"{tmp_path}/ecosystem.yaml:1:" in reason
        assert "env_from_file.DB_PASSWORD" in reason
        assert len(run.events("worker started")) == 1
        assert run.stop() == 0


def test_watch_config_watches_the_files_too(tmp_path):
    """Also as Kubernetes mounts a Secret: a link to a folder, renamed over the old one."""
    files(tmp_path)
    mount = tmp_path / "secrets"
    for number, secret in (("1", "one"), ("2", "three")):
        (mount / f"..{number}").mkdir(parents=True)
        (mount / f"..{number}" / "db").write_text(secret)
    (mount / "..data").symlink_to("..1")
    (mount / "db").symlink_to("..data/db")
    keys = {"env_from_file": {"DB_PASSWORD": str(mount / "db")}}
    with Run(tmp_path, [app(**keys)], watch_config=True) as run:
        run.said("user app, password of 3")
        answering(run)
        (mount / "..new").symlink_to("..2")
        (mount / "..new").rename(mount / "..data")
        run.said("user app, password of 5")
        (tmp_path / "app.env").write_text("DB_USER=second")
        run.said("user second, password of 5")
        assert run.stop() == 0


def test_what_a_file_holds_is_no_template(tmp_path):
    """`{port}` is filled in where the file of pyinit writes it, and nowhere else."""
    files(tmp_path)
    port = free_port()
    script = 'echo "$DB_PASSWORD|$INHERITED|$OWN"; exec sleep 1000'
    keys = {"script": script, "listen": f"127.0.0.1:{port}", "env": {"OWN": "at {port}"}}
    with Run(tmp_path, [app(**keys)], env={"INHERITED": "{port}"}) as run:
        run.said(f"{SECRET}|{{port}}|at {port}")
        assert run.stop() == 0


def test_check_tells_mistakes_at_their_place(tmp_path):
    files(tmp_path)
    (tmp_path / "app.env").write_text("A=1\nDB_PASSWORD=pa$word\n")
    (tmp_path / "ecosystem.yaml").write_text("apps: [{script: says.sh, env_file: app.env}]")
    done = subprocess.run(
        [PYINIT, "check"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert f"{tmp_path}/app.env:2:15: error: apps[0].env_file: " in done.stdout + done.stderr
    assert "word" not in done.stdout + done.stderr.replace("DB_PASSWORD", "")
