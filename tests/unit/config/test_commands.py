"""check, schema, ecosystem, convert."""

# ruff: noqa: E501  tables and messages stay on one line
from __future__ import annotations

import json
import shutil

import pytest

from entrypoint.config import commands, keys
from entrypoint.config.findings import PAGES
from entrypoint.config.load import load
from entrypoint.config.schema import schema
from entrypoint.config.starter import starter
from entrypoint.watch.ignoring import ignorer

NODE = shutil.which("node")
needs_node = pytest.mark.skipif(NODE is None, reason="no node here")


@pytest.fixture
def here(folder, monkeypatch):
    monkeypatch.setenv("PATH", folder.environ["PATH"])
    monkeypatch.delenv("PYINIT_CONFIG", raising=False)
    return folder


@pytest.fixture
def real_node(here):
    (here.bin / "node").unlink()
    (here.bin / "node").symlink_to(NODE)
    return here


def test_check_of_a_good_file(here, capsys):
    here.file(
        "ecosystem.yaml", "apps: [{script: app.js, listen: '127.0.0.1:80', env: {A: hunter2}}]"
    )
    assert commands.check([]) == 0
    out, err = capsys.readouterr()
    app, stops, last = out.splitlines()
    assert app == "  app: fork, 1 worker, 127.0.0.1:80"
    assert "SIGTERM, SIGINT, SIGQUIT" in stops
    assert "STOPSIGNAL SIGTERM" in stops
    assert last == "ecosystem.yaml: ok, 1 note"
    assert "hunter2" not in out + err


def test_check_tells_warnings_and_every_error(here, capsys):
    here.file("f.yaml", 'apps: [{scirpt: app.js, pmx: true, "a\\e[2J": 1}]')
    assert commands.check(["-c", "f.yaml"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert lines[0].startswith("f.yaml:1:25: warning: apps[0].pmx: is ignored")
    assert "\x1b" not in err
    assert lines[1:3] == [
        "  1 |   … pmx …",
        "    |     ^^^",
    ]
    assert lines[-1] == "pyinit check: 3 errors, 1 warning"


def test_check_for_programs(here, capsys):
    here.file("f.yaml", "apps: [{script: app.js, pmx: true}]")
    assert commands.check(["-c", "f.yaml", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["ok"] is True
    assert answer["warnings"][0]["path"] == "apps[0].pmx"
    here.file("f.yaml", "apps: [{script: app.js, watch_delay: x}]")
    assert commands.check(["--config", "f.yaml", "--json"]) == 2
    answer = json.loads(capsys.readouterr().out)
    assert (answer["ok"], answer["file"]) == (False, "f.yaml")
    [error] = answer["errors"]
    assert (error["line"], error["column"], error["path"]) == (1, 38, "apps[0].watch_delay")


def test_strict_makes_warnings_errors(here, capsys):
    here.file("f.json", '[{"script": "app.js", "pmx": "x", "kill_timeout": 1}]')
    assert commands.check(["f.json"]) == 0
    assert commands.check(["f.json", "--strict"]) == 2
    assert "1 warning" in capsys.readouterr().err
    here.file("f.json", '[{"script": "app.js"}]')
    assert commands.check(["f.json", "--strict"]) == 0  # a note asks for nothing
    assert "PM2-020" in capsys.readouterr().err


def test_offline_nothing_beside_the_file_is_looked_at(here, capsys):
    here.file(
        "f.yaml",
        "apps: [{script: nope.js, cwd: /nope, user: nobody-here, env_file: nope.env, "
        "env: {A: '${NOPE}'}, namespace: '${NOPE}', args: ['${NOPE}']}]",
    )
    assert commands.check(["f.yaml"]) == 2
    capsys.readouterr()
    assert commands.check(["f.yaml", "--offline"]) == 0
    here.file("f.yaml", "apps: [{script: nope.js, instnaces: 2, namespace: '${a-b}'}]")
    assert commands.check(["f.yaml", "--offline"]) == 2
    err = capsys.readouterr().err
    assert "did you mean 'instances'" in err
    assert "${NAME:-default}" in err


def test_a_finding_shows_its_place_in_colour(here, capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    here.file("f.json", '[{"script": "app.js",\n\t"out_file": "x"}]')
    assert commands.check(["f.json"]) == 0
    err = capsys.readouterr().err
    assert "\x1b[33mwarning:\x1b[0m [0].out_file: is ignored" in err
    assert '  2 \x1b[2m|\x1b[0m  "out_file" …\n' in err
    assert "    \x1b[2m|\x1b[0m \x1b[33m ^^^^^^^^^^\x1b[0m\n" in err


def test_explain(capsys):
    assert commands.explain(["pm2-017", "PM2-002"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("PM2-017: ")
    assert "\nPM2-002: " in out
    assert commands.explain([]) == 0
    listed = capsys.readouterr().out
    assert all(page.code in listed for page in PAGES)
    assert "kill_timeout" in listed
    assert commands.explain(["PM2-999"]) == 2
    assert "pyinit explain" in capsys.readouterr().err


def test_explain_a_key(capsys):
    assert commands.explain(["killTimeout", "timeout"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("kill_timeout\n  From the stop signal")
    assert "shutdown.timeout\n" in out
    assert "health.timeout\n" in out
    assert commands.explain(["kill_timout"]) == 2
    assert "did you mean 'kill_timeout'" in capsys.readouterr().err


def test_check_without_any_file(here, capsys):
    assert commands.check([]) == 2
    assert "no configuration" in capsys.readouterr().err


def test_the_starter_passes_its_own_check(here, capsys):
    assert commands.ecosystem([]) == 0
    assert commands.check([]) == 0


def test_the_starter_takes_what_is_there(here):
    assert "script: app.js" in starter(str(here.path))
    here.file("x/package.json")
    assert "script: npm start" in starter(str(here.path / "x"))


def test_ecosystem_never_overwrites(here, capsys):
    path = here.file("ecosystem.yaml", "mine")
    assert commands.ecosystem([]) == 2
    assert path.read_text() == "mine"
    assert "already there" in capsys.readouterr().err
    assert commands.ecosystem(["no/such/folder.yaml"]) == 1


def test_the_schema_is_made_of_the_table(capsys):
    assert commands.schema([]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads(json.dumps(schema()))
    app = printed["definitions"]["app"]["properties"]
    for key in keys.APP_KEYS:
        assert key.doc.split("`")[0] in app[key.name]["description"]
    assert app["out_file"]["deprecated"]
    assert set(printed["properties"]) >= {key.name for key in keys.TOP_KEYS}


def test_the_schema_takes_what_check_takes(here):
    jsonschema = pytest.importorskip("jsonschema")
    validator = jsonschema.Draft7Validator(schema())
    jsonschema.Draft7Validator.check_schema(schema())
    good = {
        "apps": [{
            "script": "app.js", "instances": "max", "listen": [5000, {"address": "unix:/a"}],
            "env": {"A": 1}, "env_x": {}, "watch": ["a"], "kill_timeout": "5s", "health": {"http": "/"},
            "depends_on": {"b": {"condition": "service_healthy"}}, "pmx": False,
        }],
        "probes": 9400, "log": "raw", "x-y": 1,
    }  # fmt: skip
    assert not list(validator.iter_errors(good))
    for bad in ({"apps": [{"scirpt": "x"}]}, {"apps": [{"script": "x", "exec_mode": "y"}]}, {}):
        assert list(validator.iter_errors(bad))


# -- convert ------------------------------------------------------------------------


def test_convert_writes_pm2s_defaults_out(here, capsys):
    here.file(
        "p.json", '{"apps": [{"name": "a", "exec": "app.js", "out_file": "x"}], "deploy": {}}'
    )
    assert commands.convert(["p.json"]) == 0
    out, err = capsys.readouterr()
    assert "kill_timeout: 1600" in out
    assert "listen_timeout: 3000" in out
    assert "kill_signal: SIGINT" in out
    assert "p.json:1:" in err
    here.file("out.yaml", out)
    app = load("out.yaml", environ=here.environ).plan.apps[0]
    assert (app.kill_timeout, app.listen_timeout, app.kill_signal) == (1.6, 3.0, 2)


TRICKY = {
    "apps": [
        {
            "name": "no",
            "script": "app.js",
            "args": ["-a", "x y", "1e3", "0o17", "a: b", "#c", "", "é", "a,b", "[x]", "\t", "- d", "on"],
            "env": {"A": "007", "B": 7, "C": "true", "D": True, "E": "a\nb", "F": {"x": [1, "2", None]},
                    "G": "22:22", "H": "~", "on": "y", "I": "'", "J": "\\", "K": "{fd", "L": "!x",
                    "M": "*a", "N": "%", "O": "@x", "P": "a #b", "Q": " a ", "R": "\u2028"},
            "instances": 2,
            "watch": ["src"],
            "kill_timeout": "3000",
            "kill_signal": "SIGTERM",
            "listen_timeout": 4000,
            "max_memory_restart": "200M",
            "cron_restart": "*/5 * * * *",
            "listen": [{"address": "127.0.0.1:80", "name": "x"}, "unix:/a"],
        }
    ],
    "probes": {"listen": "127.0.0.1:9"},
}  # fmt: skip


@pytest.mark.parametrize("name", ["f.json", "f.yaml"])
def test_a_converted_file_is_the_same_plan(here, capsys, name):
    here.file(name, json.dumps(TRICKY))
    assert commands.convert([name]) == 0
    here.file("out.yaml", capsys.readouterr().out)
    before = load(name, environ=here.environ).plan
    after = load("out.yaml", environ=here.environ).plan
    assert after.replace(source=name) == before


def test_convert_keeps_variables(here, capsys):
    here.file(
        "f.yaml",
        "apps:\n- script: app.js\n  instances: '${N}'\n  max_restarts: ${N}\n  namespace: a$$b${N}\n",
    )
    assert commands.convert(["f.yaml"]) == 0
    here.file("out.yaml", capsys.readouterr().out)
    app = load("out.yaml", environ={**here.environ, "N": "3"}).plan.apps[0]
    assert (app.instances, app.max_restarts, app.namespace) == (3, 3, "a$b3")


def test_convert_of_broken_files(here, capsys):
    here.file("f.yaml", "apps: [{a: 1, a: 2}, 5]")
    assert commands.convert(["f.yaml"]) == 2
    assert capsys.readouterr().err.count(": error: ") == 2
    assert commands.convert(["nope.yaml"]) == 2


# -- JavaScript ---------------------------------------------------------------------

PM2_JS = """\
console.log('noise');
module.exports = {
  apps: [{
    name: 'api', script: 'app.js', instances: 2, env: { NODE_ENV: 'development', X: process.env.X },
    args: ['$${A}', '${HOME}'], watch: undefined, error_file: '/dev/null',
  }],
};
"""


@needs_node
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("ecosystem.config.js", PM2_JS),
        ("ecosystem.config.cjs", PM2_JS),
        ("ecosystem.config.mjs", PM2_JS.replace("module.exports =", "export default")),
    ],
)
def test_a_config_js_is_evaluated_by_node(real_node, capsys, name, text):
    real_node.file(name, text)
    loaded = load(None, environ={**real_node.environ, "X": "from outside"})
    app = loaded.plan.apps[0]
    assert (app.name, app.instances, app.exec_mode) == ("api", 2, "cluster")
    assert dict(app.env)["X"] == "from outside"
    assert app.command[-2:] == ("$${A}", "${HOME}")  # JavaScript has its own ways
    assert len(loaded.warnings) == 1
    assert commands.convert([name]) == 0
    here = capsys.readouterr().out
    real_node.file("out.yaml", here)
    assert load("out.yaml", environ=real_node.environ).plan.apps[0].command == app.command


@needs_node
def test_a_regexp_of_a_config_js_is_one_of_ignore_watch(real_node):
    text = (
        "module.exports = {apps: [{script: 'app.js', ignore_watch: "
        "[/node_modules/, /\\.(log|tmp)$/i, new RegExp('a/b'), 'src']}]}"
    )
    patterns = real_node.load(text, name="f.config.js").plan.apps[0].ignore_watch
    assert patterns == ("/(?:node_modules)/", "/\\.(log|tmp)$/i", "/a\\/b/", "src")
    ignored = ignorer(patterns, "/app")
    paths = (b"lib/node_modules/x", b"x.LOG", b"a/b", b"src/a.js")
    assert all(ignored(b"/app/" + path) for path in paths)
    assert not ignored(b"/app/lib/a.js")


@needs_node
@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "module.exports = {apps: [{script: 'nope.js', max_restarts: 'x'}]}",
            "f.config.js:1:60: apps[0].max_restarts",
        ),
        ("module.exports = {", "f.config.js:1:1: JavaScript: "),
        ("\n\nthrow new Error('oh')", "f.config.js:3:7: JavaScript: oh"),
        ("require('nosuch')", "JavaScript: Cannot find module 'nosuch'"),
        ("module.exports = () => 5", "exports a function"),
        ("module.exports = 5", "exports no configuration"),
        ("process.exit(3)", "without an answer"),
        ("module.exports = {a: 'x'.repeat(3000000)}", "exports more than 1024 KiB"),
        ("const a = {}; a.a = a; module.exports = a", "circular"),
    ],
)
def test_broken_javascript(real_node, text, said):
    errors = real_node.errors(text, name="f.config.js")
    assert any(said in error for error in errors), errors


@needs_node
def test_javascript_that_does_not_end(real_node, monkeypatch):
    monkeypatch.setattr("entrypoint.config.jsfile.LONGEST", 1.0)
    [error] = real_node.errors("for (;;);", name="f.config.js")
    assert error == "f.config.js: was not evaluated within 1 s"


def test_javascript_without_node(folder):
    [error] = folder.errors("module.exports = {}", name="f.config.js", environ={"PATH": "/nowhere"})
    assert "node is not in PATH" in error
