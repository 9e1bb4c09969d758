"""PM2's own formats: what the file's keys and values become."""

from __future__ import annotations

import json
import signal

import pytest

from entrypoint.config import findings
from entrypoint.config.load import load
from entrypoint.config.pm2.formats import is_config_file, is_pm2
from entrypoint.config.pm2.values import scalar_text, split
from entrypoint.config.tree import Node, scalar


@pytest.fixture
def pm2(folder):
    """`pm2({keys of one app})` loads a PM2 JSON file with it."""

    def run(app, *, top=None, **options):
        text = json.dumps({"apps": [{"name": "a", "script": "app.js", **app}], **(top or {})})
        return folder.load(text, name="ecosystem.json", **options)

    run.folder = folder
    return run


def spec(loaded):
    return loaded.plan.apps[0]


def env(loaded):
    return dict(spec(loaded).env)


def codes(loaded):
    return [warning.code for warning in loaded.details]


# -- which files ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("ecosystem.config.js", True),
        ("pm2.config.cjs", True),
        ("a.config.mjs", True),
        ("ecosystem.json", True),
        ("process.json", True),
        ("process.yml", True),
        ("process.yaml", True),
        ("pm2.yml", True),
        ("ecosystem.config.yml", True),
        ("ecosystem.yaml", False),
        ("ecosystem.yml", False),
        ("apps.yaml", False),
    ],
)
def test_which_files_are_pm2s(name, answer):
    tree = Node("map")
    assert is_pm2(f"/app/{name}", tree) is answer
    version = scalar("1", plain=True)
    tree.entries["pyinit"] = (version, version)
    assert not is_pm2(f"/app/{name}", tree)


def test_what_pm2_takes_for_a_file_of_apps():
    assert is_config_file("ecosystem.config.js")
    assert is_config_file("conf.d/process.yml")
    assert not is_config_file("server.js")
    assert not is_config_file("web")


def test_a_json_file_of_pyinit(folder):
    text = json.dumps({"pyinit": 1, "apps": [{"name": "a", "script": "app.js", "args": "{slot}"}]})
    app = spec(folder.load(text, name="ecosystem.json"))
    assert (app.kill_signal, app.ipc, app.placeholders) == (None, False, True)
    [error] = folder.errors(text.replace('"name"', '"nmae"'), name="ecosystem.json")
    assert "did you mean 'name'" in error
    [error] = folder.errors(text.replace('"pyinit": 1', '"pyinit": 2'), name="process.json")
    assert "must be 1" in error or "pyinit" in error


# -- what PM2 does for every app ------------------------------------------------------


def test_the_defaults_of_pm2(pm2):
    app = spec(pm2({}))
    assert app.kill_signal == signal.SIGINT
    assert app.ipc and app.pm2_env and not app.placeholders
    found = dict(app.env)
    assert found["pm_exec_path"] == str(pm2.folder.path / "app.js")
    assert found["exec_interpreter"] == "node"
    assert found["PM2_HOME"].endswith("/.pm2")


@pytest.mark.parametrize(
    ("variables", "key", "value"),
    [
        ({"PM2_KILL_SIGNAL": "SIGTERM"}, "kill_signal", signal.SIGTERM),
        ({"PM2_KILL_TIMEOUT": "2500"}, "kill_timeout", 2.5),
        ({"PM2_GRACEFUL_LISTEN_TIMEOUT": "700"}, "listen_timeout", 0.7),
        ({"PM2_KILL_USE_MESSAGE": "true"}, "shutdown_with_message", True),
        ({"PM2_PROCESS_INSTANCE_VAR": "NUMBER"}, "instance_var", "NUMBER"),
    ],
)
def test_variables_that_set_pm2s_defaults(pm2, variables, key, value):
    environ = {**pm2.folder.environ, **variables}
    assert getattr(spec(pm2({}, environ=environ)), key) == value


def test_a_kill_signal_of_the_file_wins_and_a_wrong_variable_is_told(pm2):
    environ = {**pm2.folder.environ, "PM2_KILL_SIGNAL": "SIGNOPE"}
    assert spec(pm2({"kill_signal": "SIGQUIT"}, environ=environ)).kill_signal == signal.SIGQUIT
    loaded = pm2({}, environ=environ)
    assert spec(loaded).kill_signal == signal.SIGINT
    assert codes(loaded) == [findings.KILL_SIGNAL_VARIABLE]


def test_own_variables_have_precedence_over_pm2s(pm2):
    found = env(pm2({"env": {"PM2_HOME": "/x", "pm_exec_path": "y"}}))
    assert (found["PM2_HOME"], found["pm_exec_path"]) == ("/x", "y")


def test_source_maps_are_on_unless_switched_off(pm2):
    with_maps = {**pm2.folder.environ, "NODE_VERSION": "20.1.0"}
    assert env(pm2({}, environ=with_maps))["NODE_OPTIONS"] == "--enable-source-maps"
    more = env(pm2({"env": {"NODE_OPTIONS": "--no-warnings"}}, environ=with_maps))
    assert more["NODE_OPTIONS"] == "--no-warnings --enable-source-maps"
    off = pm2({"disable_source_map_support": True}, environ=with_maps)
    assert "NODE_OPTIONS" not in env(off)
    old = pm2({}, environ={**pm2.folder.environ, "NODE_VERSION": "10.24.1"})
    assert "NODE_OPTIONS" not in env(old)


# -- keys -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "code"),
    [
        ({"health_check_grace_period": 3000}, findings.UNKNOWN_KEY),
        ({"mergeLogs": True}, findings.FILES_OF_LOGS),
        ({"err_log": "x"}, findings.FILES_OF_LOGS),
        ({"logDateFormat": "HH"}, findings.LOG_FORMAT),
        ({"trace": True}, findings.MONITORING),
        ({"env_file": ".env"}, findings.ENV_FILE),
        ({"watchOptions": {"usePolling": True}}, findings.WATCH_OPTIONS),
        ({"autorestart": "true"}, findings.REFUSED_VALUE),
        ({"max_memory_restart": "300MB"}, findings.REFUSED_VALUE),
        ({"cron": "0 0 * * *", "cron_restart": "1 0 * * *"}, findings.TWO_SPELLINGS),
    ],
)
def test_findings_of_keys(pm2, keys, code):
    assert codes(pm2(keys)) == [code]
    assert code in findings.BY_CODE


def test_an_unknown_key_is_told_with_what_may_be_meant(pm2):
    [warning] = pm2({"max_memory_restarts": "1G"}).warnings
    assert "did you mean 'max_memory_restart'" in warning


def test_the_first_spelling_with_a_value_counts(pm2):
    assert spec(pm2({"exec_interpreter": "", "interpreter": "tool"})).command[0] == "tool"
    loaded = pm2({"script": "app.js", "cmd": "nope"})
    assert spec(loaded).command == ("node", str(pm2.folder.path / "app.js"))


def test_every_key_in_camel_case(pm2):
    app = spec(
        pm2(
            {
                "maxMemoryRestart": "300M",
                "killTimeout": 1000,
                "execMode": "cluster",
                "waitReady": True,
                "ignoreWatch": [".git"],
                "interpreterArgs": "--a --b",
                "minUptime": "10s",
                "stopExitCodes": [0],
            }
        )
    )
    assert (app.max_memory_restart, app.kill_timeout) == (300 * 1024**2, 1.0)
    assert (app.exec_mode, app.wait_ready, app.ignore_watch) == ("cluster", True, (".git",))
    assert app.command[1:3] == ("--a", "--b")
    assert (app.min_uptime, app.stop_exit_codes) == (10.0, (0,))


def test_pyinits_own_keys_count_in_a_pm2_file(pm2):
    loaded = pm2({"listen": 3000, "instances": 2}, top={"probes": 9400, "version": 2})
    assert spec(loaded).listen[0].port == 3000
    assert loaded.plan.probes.listen[0].port == 9400
    assert codes(loaded) == [findings.TOP_LEVEL_KEY]


# -- the command ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("--a  --b", ["--a", "--b"]),
        ('--q "one two"', ["--q", "one two"]),
        ("--q 'one two'", ["--q", "one two"]),
        ("--title it's --n 1", ["--title", "it's", "--n", "1"]),
        (r"--re ^\d+$", ["--re", r"^\d+$"]),
        ('--json {"a":1}', ["--json", '{"a":1}']),
        ('a="b c" d', ['a="b c"', "d"]),
        ("--x=''", ["--x=''"]),
        ('"" x', ["x"]),
        ("* #x $HOME ~", ["*", "#x", "$HOME", "~"]),
    ],
)
def test_args_are_split_as_pm2_splits_them(text, words):
    assert split(text) == words


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.10, "1.1"),
        (1e21, "1e+21"),
        (1e20, "100000000000000000000"),
        (1e-7, "1e-7"),
        (0.0000015, "0.0000015"),
        (2**53 + 1, "9007199254740992"),
        (-0.0, "0"),
        (True, "true"),
        (None, "null"),
    ],
)
def test_numbers_are_written_as_javascript_writes_them(value, text):
    assert scalar_text(value) == text


def test_arguments_that_are_no_texts(pm2):
    app = spec(pm2({"args": ["a b", 3000, True, 1.50, None]}))
    assert app.command[2:] == ("a b", "3000", "true", "1.5", "null")


def test_a_command_line_drops_the_args(pm2):
    loaded = pm2({"script": "npm start", "args": "-- --port 1"})
    assert spec(loaded).command == ("npm", "start")
    assert codes(loaded) == [findings.ARGS_DROPPED]


@pytest.mark.parametrize(
    ("script", "name"),
    [
        ("./dist/main.js", "main"),
        ("npm start", "npm start"),
        ("node dist/main.js --port 1", "main"),
        ("bin/www", "www"),
        ("src/", "src"),
    ],
)
def test_the_name_of_an_app_without_one(pm2, script, name):
    for file in ("dist/main.js", "bin/www", "src/index.js"):
        pm2.folder.file(file)
    assert spec(pm2({"name": "", "script": script})).name == name


def test_a_folder_and_a_plain_text_are_run_by_node(pm2):
    pm2.folder.file("src/index.js")
    pm2.folder.file("bin/www", "require('x')\n")
    for script in ("src", "./src/", ".", "bin/www"):
        app = spec(pm2({"script": script, "exec_mode": "fork"}))
        assert app.command[0] == "node"
        assert app.command[1] == str((pm2.folder.path / script).resolve())


def test_python_is_pm2s(pm2):
    pm2.folder.file("job.py")
    assert spec(pm2({"script": "job.py"})).command[0] == "python3"
    pm2.folder.program("bin/python")
    assert spec(pm2({"script": "job.py"})).command[0] == "python"


@pytest.mark.parametrize(
    ("value", "instances", "mode"),
    [
        ("max", 5, "cluster"),
        (0, 5, "cluster"),
        ("auto", 5, "cluster"),
        ("", 5, "cluster"),
        (-1, 4, "cluster"),
        (-2, 3, "fork"),
        ("3", 3, "cluster"),
        ("3 workers", 3, "cluster"),
        (1, 1, "cluster"),
        (None, 1, "fork"),
    ],
)
def test_instances_as_pm2_reads_them(pm2, monkeypatch, value, instances, mode):
    monkeypatch.setattr("entrypoint.kernel.cgroup.usable_cpus", lambda: 5)
    app = spec(pm2({"instances": value}))
    assert (app.instances, app.exec_mode) == (instances, mode)


def test_programs_that_end_hard_on_sigint_are_told(pm2):
    pm2.folder.program("bin/gunicorn")
    pm2.folder.program("bin/php-fpm8.2")
    pm2.folder.program("bin/php")
    pm2.folder.file("artisan", "<?php\n")
    for app in (
        {"script": "gunicorn", "args": "app:app"},
        {"script": "gunicorn app:app -w 2"},
        {"script": "php-fpm8.2"},
        {"script": "artisan", "interpreter": "php", "args": ["queue:work"]},
    ):
        assert findings.HARD_ON_SIGINT in codes(pm2(app))
        assert findings.HARD_ON_SIGINT not in codes(pm2({**app, "kill_signal": "SIGTERM"}))


# -- the environment ------------------------------------------------------------------


def test_variables_are_written_as_pm2_writes_them(pm2):
    found = env(pm2({"env": {"N": None, "B": True, "F": 1.10, "O": {"a": [1]}, "E": ""}}))
    assert (found["N"], found["B"], found["F"]) == ("null", "true", "1.1")
    assert (found["O"], found["E"]) == ('{"a":[1]}', "")


def test_texts_are_literal(pm2):
    texts = {"T": "{port} {fd} {slot}", "P": "a${b}c", "C": "$$ $HOME"}
    loaded = pm2({"env": texts, "args": ["http://{host}:{port}/${x}"]})
    found = env(loaded)
    assert {name: found[name] for name in texts} == texts
    assert spec(loaded).command[-1] == "http://{host}:{port}/${x}"
    assert spec(loaded).filled_env == ()


def test_the_order_of_the_environment(pm2):
    app = {
        "env": {"A": "env", "B": "env", "PORT": "1"},
        "port": 2,
        "env_production": {"B": "production", "PORT": "3"},
    }
    top = {"deploy": {"production": {"env": {"A": "deploy", "B": "deploy", "D": "deploy"}}}}
    found = env(pm2(app, top=top))
    assert (found["A"], found["B"], found["PORT"]) == ("env", "env", "2")
    assert "D" not in found
    found = env(pm2(app, top=top, env_name="production"))
    assert (found["A"], found["B"], found["D"], found["PORT"]) == (
        *("deploy", "production", "deploy"),
        "3",
    )


def test_options_among_the_variables_of_an_environment(pm2):
    app = {
        "kill_timeout": 1000,
        "env_production": {
            "args": "--x --y",
            "node_args": ["--a"],
            "kill_timeout": 4000,
            "instances": 4,
        },
    }
    loaded = pm2(app, env_name="production")
    app = spec(loaded)
    assert app.command[1] == "--a"
    assert app.command[-1] == "--x --y"  # one argument: PM2 does not split it there
    assert (app.kill_timeout, app.instances) == (4.0, 1)
    assert dict(app.env)["kill_timeout"] == "4000"
    assert codes(loaded).count(findings.OPTION_IN_ENV) == 3
    assert codes(loaded).count(findings.NO_OPTION_IN_ENV) == 1


def test_pwd_is_the_folder_that_the_file_names(pm2):
    pm2.folder.file("sub/app.js")
    assert env(pm2({"cwd": "sub"}))["PWD"] == str(pm2.folder.path / "sub")


# -- several apps ---------------------------------------------------------------------


def test_two_apps_of_one_name(folder):
    apps = [{"name": "a", "script": "app.js"} for _ in range(3)]
    loaded = folder.load(json.dumps(apps), name="process.json")
    assert [app.name for app in loaded.plan.apps] == ["a", "a-2", "a-3"]
    assert [dict(app.env).get("name") for app in loaded.plan.apps] == [None, "a", "a"]
    assert codes(loaded) == [findings.SAME_NAME] * 2


def test_pm2s_static_server_is_npms_serve(folder):
    text = json.dumps(
        {
            "apps": [
                {
                    "script": "serve",
                    "env": {"PM2_SERVE_PATH": "build", "PM2_SERVE_PORT": 81},
                    "env_production": {"PM2_SERVE_SPA": "true"},
                }
            ],
            "static": [{"name": "docs", "path": "./docs", "port": 82, "spa": True}],
        }
    )
    loaded = folder.load(text, name="process.json", env_name="production")
    front, docs = loaded.plan.apps
    assert front.command[-5:] == ("serve", "-l", "tcp://0.0.0.0:81", "-s", "build")
    assert docs.command[-5:] == ("serve", "-l", "tcp://0.0.0.0:82", "-s", "./docs")
    assert codes(loaded).count(findings.SERVE) == 2
    (folder.path / "bin/serve").unlink()
    errors = folder.errors(text, name="process.json")
    assert len(errors) == 2
    assert "PM2_SERVE" in errors[0]


def test_a_password_of_pm2s_static_server_is_not_forgotten(folder):
    app = {"script": "serve", "env": {"PM2_SERVE_BASIC_AUTH": "true"}}
    [error] = folder.errors(json.dumps(app), name="process.json")
    assert "password" in error


def test_every_finding_has_a_page():
    named = {
        value for name, value in vars(findings).items() if name.isupper() and isinstance(value, str)
    }
    assert named == set(findings.BY_CODE)
    for page in findings.PAGES:
        text = findings.rendered(page)
        assert text.startswith(f"{page.code}: ")
        assert max(map(len, text.splitlines())) <= 78


def test_a_file_is_read_with_others(folder):
    folder.file("process.json", json.dumps([{"name": "old", "script": "app.js"}]))
    folder.file("more.yaml", "apps: [{name: new, script: app.js, args: '{instance}'}]")
    plan = load(("process.json", "more.yaml"), environ=folder.environ).plan
    assert [(app.name, app.ipc, app.placeholders) for app in plan.apps] == [
        ("old", True, False),
        ("new", False, True),
    ]
