"""`pyinit convert`: references in place of values, comments, refusals; the YAML runs the same."""

from __future__ import annotations

import shutil

import pytest

from entrypoint.config import commands, findings
from entrypoint.config.convert import converted
from entrypoint.config.errors import ConfigErrors, Problems
from entrypoint.config.load import load
from entrypoint.config.references import Environment, looks_secret

NODE = shutil.which("node")
needs_node = pytest.mark.skipif(not NODE, reason="node is not installed")

SECRETS = """\
// The production setup.

module.exports = {
  apps: [
    // The API.
    {
      name: 'api', // short
      script: 'app.js',
      /* by
       * hand */
      instances: process.env.N || 2,
      port: +process.env.PORT || 3000,
      args: [`http://${process.env.HOST_NAME || 'localhost'}:${process.env.API_PORT || 80}/x`],
      env: {
        DB_PASSWORD: process.env.DB_PASSWORD,
        API: process.env.API_URL || 'http://dev',
        UNSET: process.env.NOT_SET_HERE,
        B64: Buffer.from(process.env.DB_PASSWORD || '').toString('base64'),
        MODE: process.env.NODE_ENV === 'production' ? 'p' : 'd',
        TEXT: '${NOT} {port} production',
        API_TOKEN: 'literal',
      },
      env_production: { NODE_ENV: 'production' },
    },
  ],
};
"""


@pytest.fixture
def here(folder):
    (folder.bin / "node").unlink()
    (folder.bin / "node").symlink_to(NODE or "/bin/false")

    def convert(text, *, name="ecosystem.config.js", env_name="", **variables):
        folder.file(name, text)
        problems = Problems(name)
        environ = {**folder.environ, **variables}
        text = converted(name, environ, problems, env_name)
        folder.file("made.yaml", text)
        return text, problems.warnings

    folder.convert = convert
    return folder


def lines(text):
    return [line.strip() for line in text.splitlines()]


@needs_node
def test_values_of_the_environment_are_references(here):
    secret = "hunter2-of-this-machine"
    text, warnings = here.convert(
        SECRETS, DB_PASSWORD=secret, NODE_ENV="production", N="3", PORT="4000", HOST_NAME="h"
    )
    assert secret not in text
    assert "aHVudGVy" not in text
    found = lines(text)
    for line in (
        'DB_PASSWORD: "${DB_PASSWORD}"',
        'API: "${API_URL:-http://dev}"',
        "UNSET: ${NOT_SET_HERE:-}",
        'B64: "${B64}"',
        "MODE: p",
        'PORT: "${PORT:-3000}"',
        "instances: ${N:-2}",
        '- "http://${HOST_NAME:-localhost}:${API_PORT:-80}/x"',
        'TEXT: "$${NOT} {port} production"',
        "NODE_ENV: production",
        'API_TOKEN: "${API_TOKEN}"',
        "kill_signal: SIGINT",
        "ipc: true",
        "placeholders: false",
    ):
        assert line in found, text
    by_code = {warning.code: warning for warning in warnings}
    assert "${DB_PASSWORD}" in by_code[findings.CONVERTED_VARIABLE].message
    assert by_code[findings.CONVERTED_LITERAL].path == "apps[0].env.API_TOKEN"
    assert "literal" not in text
    assert findings.CONVERTED_VALUE in by_code


@needs_node
def test_the_yaml_gives_the_same_app(here):
    variables = {"DB_PASSWORD": "x1", "N": "3", "PORT": "4000", "B64": "eDE=", "API_URL": "u"}
    here.convert(SECRETS, **variables)
    environ = {**here.environ, **variables, "API_TOKEN": "literal"}
    before = load("ecosystem.config.js", environ=environ).plan.apps[0]
    after = load("made.yaml", environ=environ).plan.apps[0]
    assert after.kill_timeout == 1.6
    left = before.replace(kill_timeout=1.6, env=())
    assert after.replace(env=()) == left
    assert {**dict(before.env), "UNSET": ""} == dict(after.env)


@needs_node
def test_comments_are_kept(here):
    text, _ = here.convert(SECRETS)
    found = lines(text)
    assert found[1] == "# The production setup."
    assert found[3:5] == ["# The API.", "- name: api  # short"]
    at = found.index("instances: 2")
    assert found[at - 2 : at] == ["# by", "# hand"]
    yaml = "# all\napps:\n  # one\n  - script: app.js  # here\n    # gone\n\n    name: a\n"
    text, _ = here.convert(yaml, name="process.yml")
    found = lines(text)
    assert "# one" in found
    assert "script: app.js  # here" in found
    assert "# gone" not in text


@needs_node
def test_what_the_file_puts_into_the_environment(here):
    here.file("local.env", "DATABASE_URL=postgres://u:pw@db/x\nLOG_LEVEL=debug\n")
    text, warnings = here.convert(
        "const fs = require('fs');\n"
        "for (const line of fs.readFileSync('local.env', 'utf8').split('\\n')) {\n"
        "  const [name, value] = line.split('=');\n"
        "  if (value) process.env[name] = value;\n"
        "}\n"
        "process.env.TZ = 'UTC';\n"
        "process.env.SESSION_SECRET = 'abc';\n"
        "module.exports = { apps: [{ name: 'a', script: 'app.js' }] };\n"
    )
    assert "postgres" not in text
    found = lines(text)
    assert found[found.index("env_file:") + 1] == "- local.env"
    assert "TZ: UTC" in found
    assert 'SESSION_SECRET: "${SESSION_SECRET}"' in found
    assert [w.code for w in warnings].count(findings.CONVERTED_DIFFERENCE) == 1


@needs_node
def test_the_whole_environment_is_not_written(here):
    many = {f"VARIABLE_{number}": "value" for number in range(20)}
    text, _ = here.convert(
        "module.exports = [{ script: 'app.js', env: { ...process.env, A: 1 } }]", **many
    )
    assert "VARIABLE" not in text
    assert 'A: "1"' in text


@needs_node
def test_a_file_that_fails_without_its_variables_gives_no_secret_away(here):
    text, _ = here.convert(
        "if (process.env.MODE !== 'live') throw new Error('no');\n"
        "module.exports = [{ script: 'app.js', env: {\n"
        "  API_KEY: process.env.API_KEY, URL: 'x://' + process.env.API_KEY } }]",
        MODE="live",
        API_KEY="k-12345678",
    )
    assert "k-12345678" not in text
    assert 'API_KEY: "${API_KEY}"' in text


@needs_node
def test_a_secret_outside_of_the_environment_is_refused(here):
    with pytest.raises(ConfigErrors) as caught:
        here.convert(
            "const key = Buffer.from(process.env.KEY).toString('hex');\n"
            "module.exports = [{ script: 'app.js', args: ['--key', key] }]",
            KEY="topsecret",
        )
    assert "may hold a secret" in str(caught.value)


@needs_node
def test_options_of_an_environment_need_env(here):
    source = (
        "module.exports = { apps: [{ name: 'a', script: 'app.js',"
        " env_production: { args: '--x' } }], deploy: { production: { env: { D: 1 } } } }"
    )
    text, warnings = here.convert(source)
    assert "--x" in text
    assert [w.code for w in warnings].count(findings.CONVERTED_DIFFERENCE) == 2
    here.convert(source, env_name="production")
    app = load("made.yaml", environ=here.environ, env_name="production").plan.apps[0]
    assert app.command[-1] == "--x"
    assert dict(app.env)["D"] == "1"


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("Makefile", "all:\n\techo\n", "no file that can be converted"),
        ("supervisord.conf", "[program:a]\n", "needs a `command`"),
        ("process.json", '[{"name": "a"}]', "needs a `script`"),
        ("process.json", '[{"script": "app.js", "min_uptime": "never"}]', "min_uptime"),
        ("compose.yml", "services: {a: {image: x}}", "has no command"),
        ("values.yml", "image: {repository: x}", "apps"),
    ],
)
def test_what_cannot_be_converted_is_refused(here, capsys, name, text, said):
    here.file(name, text)
    assert commands.convert([name]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("DB_PASSWORD", True),
        ("JWT_SECRET", True),
        ("STRIPE_API_KEY", True),
        ("SENTRY_DSN", True),
        ("KEY", True),
        ("NODE_ENV", False),
        ("KEYBOARD", False),
        ("PORT", False),
    ],
)
def test_names_of_secrets(name, answer):
    assert looks_secret(name) is answer


def test_variables_that_node_needs_are_not_replaced():
    environment = Environment(("PATH", "A"), {"PATH": "/bin", "A": "x"})
    assert environment.marked["PATH"] == "/bin"
    assert environment.marked["A"] != "x"
    assert environment.without == {"PATH": "/bin"}
