"""The command lines of pm2-runtime: what is run, with which app."""

from __future__ import annotations

import pytest

from entrypoint import cli
from entrypoint.client import pm2_command_line, pm2_names
from entrypoint.client.pm2_command_line import (
    UsageError,
    begins_a_run,
    parse,
    without_pm2s,
)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin")
    (tmp_path / "bin").mkdir()
    for name in ("npm", "sleep", "top"):
        (tmp_path / "bin" / name).write_text("#!/bin/sh\n")
        (tmp_path / "bin" / name).chmod(0o755)
    for name in ("ecosystem.config.js", "process.json", "server.js", "app.py"):
        (tmp_path / name).write_text("")
    monkeypatch.setattr(pm2_command_line, "running", lambda: None)
    return tmp_path


def app(line):
    return dict(parse(line.split()).app)


@pytest.mark.parametrize(
    ("line", "paths", "env_name", "only"),
    [
        ("-c a.yaml", ("a.yaml",), "", ()),
        ("ecosystem.config.js", ("ecosystem.config.js",), "", ()),
        ("start ecosystem.config.js --env production", ("ecosystem.config.js",), "production", ()),
        ("start --env production process.json", ("process.json",), "production", ()),
        ("runtime process.json --only a,b", ("process.json",), "", ("a", "b")),
        ("start process.json --only=a --only b --no-daemon", ("process.json",), "", ("a", "b")),
        ("process.json -c more.yaml", ("process.json", "more.yaml"), "", ()),
        ("startOrReload process.json", ("process.json",), "", ()),
        ("", (), "", ()),
    ],
)
def test_files(line, paths, env_name, only):
    found = parse(line.split())
    assert (found.paths, found.env_name, found.only) == (paths, env_name, only)
    assert found.app == ()
    assert found.remarks == ()


@pytest.mark.parametrize(
    ("line", "keys"),
    [
        ("server.js", {"script": "server.js"}),
        ("start server.js", {"script": "server.js"}),
        ("-i max server.js", {"script": "server.js", "instances": "max"}),
        ("start server.js -i4", {"script": "server.js", "instances": "4"}),
        ("server.js --instances=2", {"script": "server.js", "instances": "2"}),
        ("npm -- start", {"script": "npm", "args": ("start",)}),
        (
            "start npm --name web -- run start -- --port 1",
            {"script": "npm", "name": "web", "args": ("run", "start", "--", "--port", "1")},
        ),
        ("app.py --interpreter python3", {"script": "app.py", "exec_interpreter": "python3"}),
        ("server.js --no-autorestart", {"script": "server.js", "autorestart": "false"}),
        ("server.js --watch", {"script": "server.js", "watch": "true"}),
        ("server.js --watch-delay 4", {"script": "server.js", "watch_delay": "4000"}),
        ("server.js --watch-delay 400ms", {"script": "server.js", "watch_delay": "400"}),
        ("server.js --cron 5", {"script": "server.js", "cron_restart": "5"}),
        ("server.js -c @daily", {"script": "server.js", "cron_restart": "@daily"}),
        (
            "server.js --stop-exit-codes 0 3 --time",
            {"script": "server.js", "stop_exit_codes": ("0", "3"), "time": "true"},
        ),
        (
            "server.js --filter-env AWS --filter-env NPM",
            {"script": "server.js", "filter_env": ("AWS", "NPM")},
        ),
    ],
)
def test_programs(line, keys):
    assert app(line) == keys


def test_serve(folder, monkeypatch):
    found = app("serve build 5000 --spa")
    assert found["script"] == "serve"
    assert found["name"] == "static-page-server-5000"
    assert dict(found["env"]) == {
        "PM2_SERVE_PATH": str(folder / "build"),
        "PM2_SERVE_PORT": "5000",
        "PM2_SERVE_SPA": "true",
    }
    assert dict(app("serve --port 81")["env"])["PM2_SERVE_PORT"] == "81"
    monkeypatch.setenv("PM2_SERVE_PORT", "82")
    assert dict(app("serve . 81")["env"])["PM2_SERVE_PORT"] == "82"


@pytest.mark.parametrize(
    ("line", "log_format", "remark"),
    [
        ("server.js --raw", "raw", ""),
        ("process.json --json", "json", ""),
        ("server.js --formatted", "console", ""),
        ("server.js --format", "console", "key=value"),
        ("server.js --output /dev/null", "", "stdout"),
        ("server.js --web 9615", "", "/metrics"),
        ("server.js --web", "", "/metrics"),
        ("process.json --name x", "", "write it into the file"),
        ("process.json --no-color --update-env -f", "", ""),
    ],
)
def test_options_without_an_app(line, log_format, remark):
    found = parse(line.split())
    assert found.log_format == log_format
    assert remark in " ".join(found.remarks)
    assert bool(found.remarks) == bool(remark)


def test_options_that_pm2_lays_over_the_apps_of_a_file():
    found = parse(["process.json", "--watch", "--uid", "web", "--cwd", "/srv", "--no-auto-exit"])
    assert dict(found.options) == {
        "watch": "true",
        "uid": "web",
        "cwd": "/srv",
        "on_errored": "keep",
    }


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("sleep 1", "pyinit -- sleep 1"),
        ("start npm start", "pyinit npm -- start"),
        ("nope.js", "no file 'nope.js'"),
        ("nope.json", "no file 'nope.json'"),
        ("server.js --instance 2", "did you mean '--instances'"),
        ("server.js -i", "needs a value"),
        ("process.json server.js", "server.js"),
        ("server.js -c process.json", "not both"),
        ("server.js --watch-delay soon", "seconds"),
        ("-i 2 -- server.js", "pyinit -- CMD"),
    ],
)
def test_wrong_command_lines(line, said):
    with pytest.raises(UsageError) as caught:
        parse(line.split())
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("server.js", True),
        ("ecosystem.config.js", True),
        ("gone.json", True),
        ("./x", True),
        ("npm -- start", True),
        ("start server.js", True),
        ("start -i 2 --name x server.js", True),
        ("start npm -- start", True),
        ("start npm", True),
        ("start web", False),
        ("start all", False),
        ("start --name x", True),
        ("serve", True),
        ("web", False),
        ("statsu", False),
    ],
)
def test_what_begins_a_run(line, answer):
    assert begins_a_run(line.split()) is answer


def test_a_name_is_a_question_where_a_pyinit_answers(monkeypatch):
    monkeypatch.setattr(pm2_command_line, "running", lambda: 1)
    assert not begins_a_run(["start", "npm"])
    with pytest.raises(cli.UsageError, match="reload --config"):
        cli.parse_run(["start", "ecosystem.config.js"])
    with pytest.raises(cli.UsageError, match="runs in this container"):
        cli.parse_run(["server.js"])


@pytest.mark.parametrize(
    ("word", "said"),
    [("statsu", "'status'"), ("relaod", "'reload'"), ("xyzzy", "pyinit -- CMD")],
)
def test_unknown_words(word, said):
    with pytest.raises(cli.UsageError) as caught:
        cli.parse_run([word])
    assert said in str(caught.value)


def test_options_of_pm2s_commands():
    kept, remarks = without_pm2s(["web", "--update-env", "--parallel", "2", "--json", "--env=x"])
    assert kept == ["web", "--json"]
    assert len(remarks) == 2


def test_every_name_of_pm2_has_a_command_or_an_answer():
    known = cli._commands()
    for word, name in pm2_names.NAMES.items():
        assert word in known
        assert bool(name.command) != bool(name.answer)
        if name.command:
            assert name.command in known


@pytest.mark.parametrize(("word", "code"), [("flush", 0), ("save", 0), ("kill", 2), ("env", 2)])
def test_answers(word, code, capsys):
    assert cli._commands()[word](["x"]) == code
    captured = capsys.readouterr()
    said = captured.out if code == 0 else captured.err
    assert said.startswith(f"pyinit {word}: ")
