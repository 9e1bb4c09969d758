"""A whole file → Plan, or all of its errors."""

# ruff: noqa: E501, ISC004, PT017  tables and messages stay on one line
from __future__ import annotations

import json
import os
import re
import signal

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from entrypoint.config import keys
from entrypoint.config.errors import MOST_ERRORS, ConfigErrors
from entrypoint.config.load import Loaded, find, load
from entrypoint.core.spec import DependsSpec, Plan, pack, unpack

REACT = """\
apps:
  - name: react-app
    script: serve -s build -l 5000     # npm's static file server, four processes on one port
    exec_mode: cluster
    instances: 4
    watch: true
    ignore_watch: [src, README.md, node_modules, public]
    wait_ready: true
    listen_timeout: 5000
    kill_timeout: 4000
"""


def test_pm2s_file_loads_as_it_stands(folder):
    loaded = folder.load(REACT)
    [app] = loaded.plan.apps
    assert loaded.warnings == ()
    assert (app.name, app.instances, app.exec_mode, app.share) == (
        "react-app",
        4,
        "cluster",
        "slots",
    )
    assert (app.listen_timeout, app.kill_timeout, app.wait_ready) == (5.0, 4.0, True)
    assert app.watch == (str(folder.path),)
    assert app.ignore_watch == ("src", "README.md", "node_modules", "public")
    assert app.node
    assert app.kill_signal is None


def test_a_plan_travels_from_the_loaders_process(folder):
    plan = folder.load(REACT + "probes: 9400\n").plan
    assert unpack(pack(plan)) == plan


def test_defaults(folder):
    app = folder.app("script: app.js")
    assert (app.kill_timeout, app.listen_timeout, app.max_restarts, app.min_uptime) == (8, 3, 16, 1)
    assert (app.share, app.handoff, app.on_errored, app.instances) == ("none", "auto", "exit", 1)
    assert app.env == (("PATH", folder.environ["PATH"]),)
    assert app.uid is None
    assert app.groups is None


def test_every_key_has_a_place_in_the_plan(folder):
    app = folder.app("""
name: x
script: app.js
exec_mode: cluster
instances: 3
instance_var: N
increment_var: PORT
autorestart: false
max_restarts: 5
min_uptime: 2s
restart_delay: 100
exp_backoff_restart_delay: 200
stop_exit_codes: [0, 3]
max_memory_restart: 200M
cron_restart: 0 3 * * *
watch: [src, /tmp]
watch_delay: 1s
wait_ready: true
listen_timeout: 9s
on_listen_timeout: abort
kill_timeout: 10s
kill_signal: SIGQUIT
shutdown_with_message: true
treekill: false
namespace: n
time: true
listen: [5000, {address: "unix:/run/a.sock", mode: 0660, name: a, backlog: 7}]
share: one
retire_delay: 1s
handoff: fds
health: {exec: "tool -x 'a b'", interval: 2s, timeout: 1s, failures: 2, start_period: 3s}
on_errored: keep
reload_parallel: 2
""")
    assert app.stop_exit_codes == (0, 3)
    assert app.max_memory_restart == 200 * 1024**2
    assert app.watch == (str(folder.path / "src"), "/tmp")
    assert app.kill_signal == 3
    assert app.listen[1].mode == 0o660
    assert (app.listen[1].path, app.listen[1].name, app.listen[1].backlog) == (
        "/run/a.sock",
        "a",
        7,
    )
    assert app.health.command == ("tool", "-x", "a b")
    assert (app.health.interval, app.health.start_period) == (2.0, 3.0)
    assert (app.share, app.handoff, app.retire_delay, app.on_errored) == ("one", "fds", 1.0, "keep")
    assert (app.cron_restart, app.restart_delay, app.reload_parallel) == ("0 3 * * *", 0.1, 2)


def test_pm2s_other_spellings(folder):
    app = folder.app(
        "exec: app.js\nexecMode: cluster\nmaxMemoryRestart: 1K\ncron: '@daily'\nnodeArgs: -v"
    )
    assert (app.exec_mode, app.max_memory_restart, app.cron_restart) == (
        "cluster",
        1024,
        "0 0 * * *",
    )


def test_the_same_key_by_two_names(folder):
    [error] = folder.app_errors("script: app.js\nexec: app.js")
    assert "apps[0].exec: duplicates apps[0].script" in error


def test_numbers_in_quotes_are_numbers_as_in_pm2(folder):
    app = folder.app("script: app.js\ninstances: '2'\nkill_timeout: '3000'\nmax_restarts: '4'")
    assert (app.instances, app.kill_timeout, app.max_restarts) == (2, 3.0, 4)


def test_zero_times_are_the_defaults_as_in_pm2(folder):
    app = folder.app("script: app.js\nkill_timeout: 0\nlisten_timeout: 0")
    assert (app.kill_timeout, app.listen_timeout) == (8.0, 3.0)


@pytest.mark.parametrize(
    ("written", "workers"), [("max", 6), ("0", 6), ("-1", 5), ("-9", 1), ("'max'", 6), ("3", 3)]
)
def test_instances_by_the_cpus(folder, monkeypatch, written, workers):
    monkeypatch.setattr("entrypoint.kernel.cgroup.usable_cpus", lambda: 6)
    assert folder.app(f"script: app.js\ninstances: {written}").instances == workers


def test_null_is_as_if_the_key_were_not_there(folder):
    assert folder.app("script: app.js\ninstances:\nenv: ~\nwatch: null").instances == 1


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.yaml", "script: app.js\n"),
        ("a.yaml", "- script: app.js\n"),
        ("a.yaml", "apps: {script: app.js}\n"),
        ("a.yaml", "pm2: [{script: app.js}]\n"),
        ("a.json", '{"apps": [{"script": "app.js"}]}'),
        ("a.json", '[{script: "app.js",},] // PM2 takes this'),
        ("a.json", '{"script": "app.js"}'),
    ],
)
def test_every_form_of_file_that_pm2_takes(folder, name, text):
    assert folder.load(text, name=name).plan.apps[0].name == "app"


def test_top_level(folder):
    plan = folder.load(
        "apps: [{script: app.js}]\nx-anchors: {a: 1}\nprobes: {listen: '0.0.0.0:9400', ready_when: 50%}\n"
        "log: {format: raw, level: debug}\ncontrol: {path: /run/p.sock}\n"
        "shutdown: {drain_delay: 5s, timeout: 25s}\nwatch_config: true\n"
    ).plan
    assert plan.probes.listen[0].text == "0.0.0.0:9400"
    assert plan.probes.ready_when == "50%"
    assert (plan.log.format, plan.log.level) == ("raw", "debug")
    assert plan.control.path == "/run/p.sock"
    assert (plan.shutdown.drain_delay, plan.shutdown.timeout) == (5.0, 25.0)
    assert plan.watch_config


def test_short_forms_of_the_top_level(folder):
    plan = folder.load(
        "apps: [{script: app.js}]\nprobes: '127.0.0.1:1'\nlog: raw\ncontrol: false\n"
    ).plan
    assert (plan.probes.listen[0].text, plan.log.format) == ("127.0.0.1:1", "raw")
    assert not plan.control.enabled
    assert folder.load("apps: [{script: app.js}]\nprobes: false\n").plan.probes.listen == ()


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("exec_mode: fork", "none"),
        ("exec_mode: cluster", "slots"),
        ("listen: 5000", "slots"),
        ("listen: 5000\nshare: one", "one"),
        ("exec_mode: cluster\nhandoff: none", "none"),
    ],
)
def test_share_by_default(folder, text, share):
    assert folder.app(f"script: app.js\n{text}").share == share


# -- environments ---------------------------------------------------------------


def env_of(folder, text, extra=None, **options):
    environ = {**folder.environ, **(extra or {})}
    env = dict(folder.app(f"script: tool\n{text}", environ=environ, **options).env)
    del env["PATH"]
    return env


def test_values_of_env_are_what_is_written(folder):
    env = env_of(
        folder,
        "env: {A: 1, B: 1.10, C: true, D: no, E: 007, F: {x: [1, true, null, é]}, G: '', H: ~, I: TRUE}",
    )
    assert env == {
        "A": "1", "B": "1.10", "C": "true", "D": "no", "E": "007", "F": '{"x":[1,true,null,"é"]}',
        "G": "", "I": "true",
    }  # fmt: skip


def test_env_name_is_laid_over_env(folder):
    text = "env: {A: 1, B: 2}\nenv_production: {B: 3, C: 4}\nenv_other: {D: '${UNSET}'}"
    assert env_of(folder, text) == {"A": "1", "B": "2"}
    assert env_of(folder, text, env_name="production") == {"A": "1", "B": "3", "C": "4"}


def test_an_env_name_that_no_app_has(folder):
    loaded = folder.load("script: app.js\n", env_name="prod")
    assert "no app has `env_prod`" in loaded.warnings[0]


def test_append_env_to_name(folder):
    app = folder.app("script: app.js\nappend_env_to_name: true\nenv_x: {}", env_name="x")
    assert app.name == "app-x"


def test_filter_env(folder):
    extra = {"SECRET_A": "1", "SECRET_B": "2", "C": "3"}
    assert env_of(folder, "filter_env: [SECRET]", extra) == {"C": "3"}
    assert env_of(folder, "filter_env: SECRET_A", extra) == {"SECRET_B": "2", "C": "3"}
    assert dict(folder.app("script: tool\nfilter_env: true\nenv: {A: 1}").env) == {"A": "1"}


def test_what_pyinit_was_told_is_not_inherited(folder):
    extra = {"LISTEN_FDS": "1", "NOTIFY_SOCKET": "/x", "NODE_CHANNEL_FD": "3", "A": "b"}
    assert env_of(folder, "port: 80", extra) == {"A": "b", "PORT": "80"}


def test_variables_are_replaced_and_typed(folder):
    extra = {"N": "3", "W": "true", "P": "a: b\n- c", "EMPTY": ""}
    app = folder.app(
        'script: app.js\ninstances: ${N}\nwatch: "${W}"\nnamespace: ${P}\nmax_restarts: ${X:-7}\n'
        "min_uptime: ${EMPTY}\nenv: {A: '${N}', B: $$N, C: $N, D: '${EMPTY}'}\nargs: ['${N}x']",
        environ={**folder.environ, **extra},
    )
    assert (app.instances, app.namespace, app.max_restarts, app.min_uptime) == (
        3,
        extra["P"],
        7,
        1.0,
    )
    assert app.watch == (str(folder.path),)
    assert app.command[-1] == "3x"
    env = dict(app.env)
    assert (env["A"], env["B"], env["C"], env["D"]) == ("3", "$N", "$N", "")


def test_secrets_are_never_told(folder):
    secret = "hunter2"
    errors = folder.app_errors(
        "script: app.js\ninstances: ${S}\nkill_timeout: ${S}\nexec_mode: ${S}\nwatch_delay: '${S}'\n"
        "listen: ${S}\nport: ${S}\nautorestart: ${S}\nmax_memory_restart: ${S}\nlisten_timeout: ${S}\n"
        "share: ${S}\nstop_exit_codes: ['${S}']\nenv: {A: '${NOPE}', B: hunter2}",
        environ={**folder.environ, "S": secret},
    )
    assert len(errors) == 12
    assert secret not in "\n".join(errors)


# -- users ------------------------------------------------------------------------


def test_users_by_name_and_number(folder):
    if os.geteuid() != 0:
        pytest.skip("only root may change who it is")
    by_name = folder.app("script: app.js\nuser: nobody")
    by_number = folder.app(f"script: app.js\nuid: {by_name.uid}")
    assert (by_name.uid, by_name.gid, by_name.groups) == (
        by_number.uid,
        by_number.gid,
        by_number.groups,
    )
    assert by_name.uid > 0
    assert dict(by_name.env)["HOME"]
    unknown = folder.app("script: app.js\nuid: 54321\ngid: 54321")
    assert (unknown.uid, unknown.gid, unknown.groups) == (54321, 54321, (54321,))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("user: nosuchuser", "apps[0].user: there is no user 'nosuchuser'"),
        ("gid: nosuchgroup", "apps[0].gid: there is no group 'nosuchgroup'"),
        ("uid: 54321", "apps[0].uid: 54321 is not in /etc/passwd"),
    ],
)
def test_users_that_are_not_there(folder, text, said):
    [error] = folder.app_errors(f"script: app.js\n{text}")
    assert said in error


def test_only_root_may_change_users(folder, not_root):
    [error] = folder.app_errors("script: app.js\nuser: root")
    assert "pyinit runs as uid 1000; only root may change it" in error
    assert folder.app("script: app.js\nuid: 1000\ngid: 1000").uid is None


# -- seen together ----------------------------------------------------------------


def test_only_some_apps(folder):
    text = "apps: [{name: a, script: app.js, depends_on: [b]}, {name: b, script: app.js}]"
    loaded = folder.load(text, only=("a",))
    assert [app.name for app in loaded.plan.apps] == ["a"]
    assert loaded.plan.apps[0].depends_on == ()
    assert "left out by --only" in loaded.warnings[0]
    [error] = folder.errors(text, only=("aa",))
    assert "there is no app 'aa'" in error


def test_depends_on(folder):
    plan = folder.load(
        "apps:\n- {name: a, script: app.js, depends_on: {b: {condition: service_healthy}, c: }}\n"
        "- {name: b, script: app.js, depends_on: [c]}\n- {name: c, script: app.js}\n"
    ).plan
    assert plan.apps[0].depends_on == (DependsSpec("b", "service_healthy"), DependsSpec("c"))


@pytest.mark.parametrize("app", ["script:", "script: null", "exec: ~", "name: web"])
def test_an_app_without_a_script_is_an_error_also_when_the_key_is_empty(folder, app):
    assert folder.errors(f"apps:\n  - {app}\n") == [
        "ecosystem.yaml:2:5: apps[0]: needs a `script`: what to run"
    ]
    two = f"apps:\n  - {{name: a, script: sleep 1}}\n  - {app}\n"
    assert folder.errors(two) == ["ecosystem.yaml:3:5: apps[1]: needs a `script`: what to run"]


def test_all_errors_at_once_sorted_with_their_locations(folder):
    errors = folder.errors("""\
apps:
  - name: web
    scirpt: app.js
    instances: none
    watch: yes
    env: {A: "${NOPE}"}
  - name: web
    script: ./nope.js
    kill_signal: SIGTREM
    depends_on: [wev]
probs: {}
""")
    assert errors == [
        "ecosystem.yaml:2:5: apps[0]: needs a `script`: what to run",
        "ecosystem.yaml:3:5: apps[0].scirpt: is not a known key; did you mean 'script'?",
        'ecosystem.yaml:4:16: apps[0].instances: cannot be \'none\'; use a positive number or "max"',
        "ecosystem.yaml:5:12: apps[0].watch: must be true or false, not 'yes' "
        "(in YAML 1.2 this is a text)",
        "ecosystem.yaml:6:14: apps[0].env.A: the environment has no NOPE; set it, or write "
        "${NOPE:-default}",
        "ecosystem.yaml:7:11: apps[1].name: the name 'web' is taken by the app in line 2",
        f"ecosystem.yaml:8:13: apps[1].script: no file './nope.js' in {folder.path}",
        "ecosystem.yaml:9:18: apps[1].kill_signal: cannot be 'SIGTREM'; there is no signal of that "
        "name; did you mean 'SIGTERM'?",
        "ecosystem.yaml:10:17: apps[1].depends_on: there is no app 'wev'; did you mean 'web'?",
        "ecosystem.yaml:11:1: probs: is not a known key; did you mean 'probes'?",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("script: app.js\ninstances: 1.5", "apps[0].instances: cannot be '1.5'"),
        ("script: app.js\ninstances: [1]", "apps[0].instances: must be a number"),
        ("script: app.js\ninstances: 99999", "cannot be more than"),
        ("script: app.js\nautorestart: on", "in YAML 1.2 this is a text"),
        ("script: app.js\nmax_restarts: -1", "between 0 and"),
        ("script: app.js\nexec_mode: clutser", "did you mean 'cluster'?"),
        ("script: app.js\nenv: [A=b]", "apps[0].env: must be a mapping"),
        ("script: app.js\nenv_x: 5", "apps[0].env_x: must be a mapping"),
        ("script: app.js\nenv: {'A=': b}", 'holds no "="'),
        (
            "script: app.js\nstop_exit_codes: [1, 256]",
            "apps[0].stop_exit_codes[1]: cannot be '256'",
        ),
        ("script: app.js\nname: all", '"all" means every app'),
        ("script: app.js\nname: 'a,b'", "no comma"),
        ("script: app.js\nname: ''", "1 to 128"),
        ("script: app.js\nlisten: [80, '80']", "is listed twice"),
        ("script: app.js\nlisten: {name: x}", "needs an `address`"),
        ("script: app.js\nlisten: {address: 80, mode: 660}", "for a unix socket only"),
        ("script: app.js\nlisten: {address: 'unix:/x', mode: 9}", "octal"),
        ("script: app.js\nlisten: {address: 80, name: 'a:b'}", "colon"),
        ("script: app.js\nlisten: {adress: 80}", "did you mean 'address'?"),
        ("script: app.js\nlisten: 80\nshare: none", "together with"),
        ("script: app.js\nlisten: 80\nhandoff: none", "nobody would accept"),
        ("script: app.js\nhandoff: fds", "hands over the addresses of `listen`"),
        ("script: tool --fd {fd}", "{fd} needs the app's `listen`"),
        ("script: app.js\nenv: {P: '{port}'}", "{port} needs the app's `listen`"),
        ("script: app.js\nhealth: {http: /x}", "a path needs the app's `listen`"),
        ("script: app.js\nhealth: {http: 'http://example.org/x'}", "the host is numeric"),
        ("script: app.js\nhealth: {http: 'http://127.0.0.1:99999/'}", "between 1 and 65535"),
        ("script: app.js\nhealth: {http: 'http://u:p@127.0.0.1/'}", "without user"),
        ('script: app.js\nlisten: 80\nhealth: {http: "/x\\r\\nA: b"}', "control characters"),
        ("script: app.js\nhealth: {http: x}", "must be a path"),
        ("script: app.js\nhealth: {http: /x, tcp: 5}", "exactly one of"),
        ("script: app.js\nhealth: {tcp: x}", "an address is"),
        ("script: app.js\nhealth: 5", "must be a mapping"),
        ("script: app.js\ndepends_on: {app: sometime}", "use one of service_started"),
        ("script: app.js\ndepends_on: [app]", "waits for itself: app → app"),
        ('script: app.js\nargs: "\'x"', "not closed"),
        ("script: app.js\ninstance_var: A-B", "name of an environment variable"),
        ("script: app.js\ncron_restart: often", "cron pattern has"),
        ("script: [app.js]", "apps[0].script: must be a text, not a list"),
        ("script: true", "must be a text"),
        ("foo", "apps[0]: must be a mapping"),
        ("script: ${", "only ${NAME}"),
    ],
)
def test_bad_values(folder, text, said):
    errors = folder.app_errors(text)
    assert any(said in error for error in errors), errors


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "ecosystem.yaml: is empty"),
        ("# nothing\n", "is empty"),
        ("~\n", "is empty"),
        ("just words", "must be a mapping with `apps`"),
        ("apps:\n", "has no app"),
        ("apps: []\n", "has no app"),
        ("[]\n", "has no app"),
        ("apps: 5\n", "must be a list"),
        ("foo: 1\n", "has no `apps`"),
        ("apps: [{script: app.js}]\nstatic: [{port: 1}]\n", "serves no files itself"),
        ("apps: [{script: app.js}]\nlog: loud\n", "log: cannot be 'loud'"),
        ("apps: [{script: app.js}]\nlog: {level: loud}\n", "log.level: cannot be 'loud'"),
        ("apps: [{script: app.js}]\ncontrol: {path: run}\n", "must be absolute"),
        ("apps: [{script: app.js}]\nshutdown: 5\n", "must be a mapping"),
        ("apps: [{script: app.js}]\nprobes: {listen: x}\n", "probes.listen: cannot be 'x'"),
        ("apps: [{script: app.js}]\nprobes: {ready_when: 200%}\n", "probes.ready_when"),
        ("apps: [{script: app.js, listen: 80}]\nprobes: 80\n", "already used by app 'app'"),
        (
            "apps: [{name: a, script: app.js, listen: 80}, {name: b, script: app.js, listen: '0.0.0.0:80'}]",
            "apps[1].listen: ",
        ),
        ("apps: [{script: app.js}, {script: app.js}]", "give this one a `name`"),
        (
            "apps:\n- {name: a, script: app.js, depends_on: {b: service_completed_successfully}}\n"
            "- {name: b, script: app.js}",
            "give it `autorestart: false`",
        ),
        (
            "apps:\n- {name: a, script: app.js, depends_on: [b]}\n"
            "- {name: b, script: app.js, depends_on: [c]}\n- {name: c, script: app.js, depends_on: [a]}",
            "apps[0].depends_on: waits for itself: a → b → c → a",
        ),
    ],
)
def test_bad_files(folder, text, said):
    errors = folder.errors(text)
    assert any(said in error for error in errors), errors


def test_keys_without_meaning_are_warned_of_once_each(folder):
    loaded = folder.load(
        "apps: [{script: app.js, out_file: x, pmx: true, merge_logs: 1}]\ndeploy: {a: '${X}'}\n"
    )
    assert len(loaded.warnings) == 4
    assert loaded.warnings[0].startswith("ecosystem.yaml:1:25: apps[0].out_file: is ignored: ")


DB_AND_WEB = """\
apps:
  - {name: db, script: app.js, kill_timeout: 4s}
  - {name: migrate, script: app.js, autorestart: false, depends_on: [db]}
  - name: web
    script: app.js
    exec_mode: cluster
    retire_delay: 1s
    kill_timeout: 2s
    depends_on: {migrate: service_completed_successfully}
  - {name: other, script: app.js, kill_timeout: 6s}
"""


@pytest.mark.parametrize(
    ("shutdown", "needed"),
    [
        # web 1 + 2, then db 4; migrate has ended by then. Or migrate 8, then db 4.
        ("{drain_delay: 5s, grace: 16s}", "17 s"),
        ("{drain_delay: 5s, grace: 17s}", "17 s"),  # a second is for the last log lines
        ("{drain_delay: 5s, grace: 18s}", ""),
        ("{drain_delay: 5s, timeout: 16s}", "17 s"),
        ("{drain_delay: 5s, timeout: 17s, grace: 16s}", "17 s"),
        ("{timeout: 11s, grace: 10s}", "12 s"),
        ("{timeout: 20s, grace: 30s}", ""),
        ("{}", ""),
    ],
)
def test_times_that_do_not_fit_into_each_other(folder, shutdown, needed):
    warnings = folder.load(f"{DB_AND_WEB}shutdown: {shutdown}\n").warnings
    assert bool(warnings) == bool(needed)
    assert all("ecosystem.yaml:11:11: shutdown: " in warning for warning in warnings)
    assert needed in "".join(warnings)


def test_a_kill_timeout_alone_may_be_too_long(folder):
    loaded = folder.load("apps: [{script: app.js}]\nshutdown: {drain_delay: 5s, grace: 10s}\n")
    assert "13 s" in loaded.warnings[0]
    assert "the drain gets 4.5 s and the workers 4.5 s" in loaded.warnings[0]
    assert loaded.plan.shutdown.drain_delay == 4.5


@pytest.mark.parametrize(
    ("grace", "shutdown", "warned"),
    [
        ("5s", "", True),
        ("5000", "", True),
        ("30s", "", False),
        ("5s", "shutdown: {grace: 30s}", False),
        ("", "", False),
        ("soon", "", True),
    ],
)
def test_the_environment_may_tell_the_grace(folder, grace, shutdown, warned):
    environ = {**folder.environ, "PYINIT_GRACE": grace}
    loaded = folder.load(f"apps: [{{script: app.js}}]\n{shutdown}", environ=environ)
    assert bool(loaded.warnings) == warned
    assert "soon" not in "".join(loaded.warnings)


def test_a_grace_of_seconds_that_was_written_without_its_unit(folder):
    """30 would be 30 ms, and a stop would kill everything at once."""
    text = "apps: [{script: app.js}]\n"
    loaded = folder.load(text, environ={**folder.environ, "PYINIT_GRACE": "30"})
    assert "seconds are written 30s" in loaded.warnings[0]
    assert loaded.plan.shutdown == folder.load(text).plan.shutdown
    assert "seconds are written 30s" in folder.errors(f"{text}shutdown: {{grace: 30}}\n")[0]
    assert not folder.load(f"{text}shutdown: {{grace: 0}}\n").warnings


def test_very_many_errors_are_bounded(folder):
    text = "apps:\n  - script: app.js\n" + "".join(
        f"    key{n}: 1\n" for n in range(3 * MOST_ERRORS)
    )
    errors = folder.errors(text)
    assert len(errors) == MOST_ERRORS + 1
    assert errors[-1] == f"ecosystem.yaml: and {2 * MOST_ERRORS} more errors"


def test_a_file_may_be_a_link_as_in_a_configmap(folder):
    folder.file("..data/ecosystem.yaml", REACT)
    (folder.path / "ecosystem.yaml").symlink_to("..data/ecosystem.yaml")
    assert load(None, environ=folder.environ).plan.apps


def test_search_order(folder):
    with pytest.raises(ConfigErrors, match="no configuration"):
        find(None, {})
    folder.file("ecosystem.json", "{}")
    assert find(None, {}) == "ecosystem.json"
    folder.file("ecosystem.yaml", "")
    assert find(None, {}) == "ecosystem.yaml"
    assert find(None, {"PYINIT_CONFIG": "x.yaml"}) == "x.yaml"
    assert find("y.yaml", {"PYINIT_CONFIG": "x.yaml"}) == "y.yaml"


@pytest.mark.parametrize(
    ("path", "said"),
    [("nope.yaml", "No such file"), (".", "Is a directory"), ("a\0b", "no name of a file")],
)
def test_files_that_cannot_be_read(folder, path, said):
    with pytest.raises(ConfigErrors, match=said):
        load(path, environ={})


def test_a_fifo_does_not_hold_anyone_up(folder):
    os.mkfifo("f.yaml")
    with pytest.raises(ConfigErrors, match="is empty"):
        load("f.yaml", environ={})


def test_a_thousand_apps(folder):
    text = "apps:\n" + "".join(
        f"  - {{name: a{n}, script: app.js, env: {{N: {n}}}}}\n" for n in range(1000)
    )
    assert len(folder.load(text).plan.apps) == 1000


def test_error_paths_name_the_place_in_every_form(folder):
    [error] = folder.errors("autorestart: 5\nscript: app.js")
    assert error.startswith("ecosystem.yaml:1:14: autorestart: must be true or false")
    [error] = folder.errors("- {script: app.js, autorestart: 5}")
    assert error.startswith("ecosystem.yaml:1:33: [0].autorestart: ")


# -- whatever comes in --------------------------------------------------------------

_WORDS = st.sampled_from(
    sorted(
        {key.name for table in (keys.APP_KEYS, keys.TOP_KEYS, keys.LISTEN_KEYS) for key in table}
        | {
            "env_x",
            "<<",
            "out_file",
            "app.js",
            "${A}",
            "${A:-b}",
            "$$",
            "max",
            "5s",
            "[::]:80",
            "-1",
        }
    )
)
_LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | _WORDS | st.text(max_size=8)
_TREES = st.recursive(
    _LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_WORDS, inner, max_size=5),
    max_leaves=25,
)
_SETTINGS = settings(
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def loads_or_errors(folder, data, name):
    folder.file(name, data)
    try:
        loaded = load(name, environ=folder.environ, env_name="x")
    except ConfigErrors as errors:
        assert errors.errors
        for error in errors.errors:
            assert re.match(rf"{re.escape(name)}(:\d+:\d+)?: ", str(error))
    else:
        assert isinstance(loaded, Loaded)
        assert isinstance(loaded.plan, Plan)
        assert unpack(pack(loaded.plan)) == loaded.plan


@_SETTINGS
@given(data=st.binary(max_size=200), name=st.sampled_from(["f.yaml", "f.json"]))
@example(data=b"\xef\xbb\xbf", name="f.yaml")
@example(data=b"{a: &a {<<: *a}}", name="f.yaml")
@example(data=b"--- !<tag:yaml.org,2002:str> {}", name="f.yaml")
@example(data=b"<<: {script: app.js}", name="f.yaml")
@example(data=b"%YAML 9.9\n---\na", name="f.yaml")
def test_any_bytes_are_a_plan_or_errors(folder, data, name):
    loads_or_errors(folder, data, name)


@_SETTINGS
@given(text=st.text("abc:-[]{},&*!?|>'\"%@` \n\t#0123${}.~<", max_size=80))
def test_any_yaml_like_text_is_a_plan_or_errors(folder, text):
    loads_or_errors(folder, text.encode(), "f.yaml")


@_SETTINGS
@given(tree=_TREES)
def test_any_tree_is_a_plan_or_errors(folder, tree):
    loads_or_errors(folder, json.dumps(tree).encode(), "f.json")
    loads_or_errors(folder, json.dumps({"apps": [tree], "probes": tree}).encode(), "f.json")


@_SETTINGS
@given(values=st.dictionaries(_WORDS, _TREES, max_size=8))
def test_any_app_is_a_plan_or_errors(folder, values):
    app = {**values, "script": "app.js"}
    loads_or_errors(folder, json.dumps([app]).encode(), "f.json")


@pytest.mark.parametrize(
    ("written", "numbers"),
    [
        ("SIGUSR1", (10,)),
        ("[SIGUSR1, winch, 'RTMIN+3', 10]", (10, 28, signal.SIGRTMIN + 3)),
        ("[HUP]", (1,)),
        ("[]", ()),
    ],
)
def test_further_signals_that_stop_the_container(folder, written, numbers):
    plan = folder.load(f"apps: [{{script: app.js}}]\nshutdown: {{signals: {written}}}\n").plan
    assert plan.shutdown.signals == numbers


@pytest.mark.parametrize("name", ["SIGKILL", "SIGSTOP", "SIGCHLD", "SIGCONT", "SIGTSTP", "SIGSEGV"])
def test_a_signal_that_cannot_mean_a_stop_is_an_error(folder, name):
    text = f"apps: [{{script: app.js}}]\nshutdown: {{signals: [USR1, {name}, NOPE]}}\n"
    cannot, unknown = folder.errors(text)
    assert f"shutdown.signals[1]: cannot be '{name}'" in cannot
    assert "shutdown.signals[2]: cannot be 'NOPE'" in unknown


@pytest.mark.parametrize(
    ("written", "restarts"),
    [("main: true", False), ("main: true, autorestart: true", True), ("main: false", True)],
)
def test_the_main_app_is_not_restarted_unless_that_is_written(folder, written, restarts):
    app = folder.load(f"apps: [{{script: app.js, {written}}}]").plan.apps[0]
    assert app.main == ("main: true" in written)
    assert app.autorestart == restarts


@pytest.mark.parametrize(("written", "meant"), [("SIGUSR2", 12), ("12", 12), ("message", -1)])
def test_how_the_drain_is_announced(folder, written, meant):
    plan = folder.load(f"apps: [{{script: app.js}}]\nshutdown: {{notify: {written}}}\n").plan
    assert plan.shutdown.notify == meant


@pytest.mark.parametrize("written", ["KILL", "nonsense", "[USR2]"])
def test_the_drain_cannot_be_announced_so(folder, written):
    text = f"apps: [{{script: app.js}}]\nshutdown: {{notify: {written}}}\n"
    assert "shutdown.notify: " in folder.errors(text)[0]


@pytest.mark.parametrize(
    ("written", "meant"),
    [("max", 0), ("MAX", 0), ("0", 0), ("-1", -1), ("2", None), ("'max'", 0), ("'${N}'", 0)],
)
def test_instances_that_follow_the_cpus(folder, written, meant):
    environ = {**folder.environ, "N": "max"}
    text = f"apps: [{{script: app.js, instances: {written}}}]\n"
    assert folder.load(text, environ=environ).plan.apps[0].by_cpus == meant


def test_by_default_there_is_one_instance_whatever_the_cpus(folder):
    assert folder.load("apps: [{script: app.js}]\n").plan.apps[0].by_cpus is None
