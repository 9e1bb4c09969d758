"""Variables out of files, and what a message may say of them."""

from __future__ import annotations

import os

import pytest

from entrypoint.config import keys
from entrypoint.config.errors import ConfigErrors

SECRET = "hunter2;!\x01"


def env(folder, text, **options):
    return dict(folder.app(f"script: app.js\n{text}", **options).env)


def environ(folder, **more):
    return {**folder.environ, **more}


def test_env_file_lies_between_the_inherited_environment_and_env(folder):
    folder.file("a.env", "A=file\nB=file\nC=file\nP=$INHERITED")
    folder.file("b.env", "B=later $A\nC=later")
    found = env(
        folder,
        "env_file: [a.env, {path: ./b.env}]\nenv: {C: env, D: env}\nenv_x: {D: name}",
        environ=environ(folder, A="inherited", E="inherited", INHERITED="i"),
        env_name="x",
    )
    assert {name: found[name] for name in "ABCDEP"} == {
        "A": "file",
        "B": "later file",
        "C": "env",
        "D": "name",
        "E": "inherited",
        "P": "i",
    }


def test_one_path_and_a_path_of_a_variable(folder):
    folder.file("sub/a.env", "A=1")
    more = environ(folder, WHERE=str(folder.path / "sub"))
    assert env(folder, "env_file: ${WHERE}/a.env", environ=more)["A"] == "1"


def test_a_relative_path_begins_beside_the_file(folder):
    folder.file("etc/a.env", "A=1")
    folder.file("etc/secret", "s")
    app = "script: app.js, env_file: a.env, env_from_file: {S: secret}"
    plan = folder.load(f"apps: [{{{app}}}]", name="etc/ecosystem.yaml").plan
    assert dict(plan.apps[0].env)["A"] == "1"
    assert dict(plan.apps[0].env)["S"] == "s"
    assert plan.files == (str(folder.path / "etc/a.env"), str(folder.path / "etc/secret"))


def test_a_raw_file(folder):
    folder.file("a.env", "A='$x' # y")
    assert env(folder, "env_file: {path: a.env, format: raw}")["A"] == "'$x' # y"


def test_a_file_that_need_not_be_there(folder):
    plan = folder.load(
        "apps: [{script: app.js, env_file: [{path: none.env, required: false}]}]"
    ).plan
    # It is watched for all the same.
    assert plan.files == (str(folder.path / "none.env"),)


def test_a_missing_file_is_an_error_at_its_location(folder):
    [error] = folder.app_errors("script: app.js\nenv_file:\n  - none.env")
    assert error.startswith("ecosystem.yaml:5:9: apps[0].env_file[0]: ")
    assert "No such file" in error


def test_a_mistake_in_the_file_is_told_at_its_place_there(folder):
    folder.file("a.env", "A=1\nB = '\n")
    [error] = folder.app_errors("script: app.js\nenv_file: a.env")
    assert error.startswith(f"{folder.path}/a.env:2:5: apps[0].env_file: ")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"A=1\nB=\xff", ":2:3: "),
        (b"A=" + b"x" * (1 << 20), "larger than 1024 KiB"),
        (b"A=" + b"x" * (128 << 10), "A is longer than a variable can be"),
    ],
)
def test_files_that_cannot_be(folder, content, said):
    folder.file("a.env", content)
    [error] = folder.app_errors("script: app.js\nenv_file: a.env")
    assert said in error


def test_a_folder_and_a_pipe_are_no_files(folder):
    [error] = folder.app_errors("script: app.js\nenv_file: bin")
    assert "Is a directory" in error
    os.mkfifo(folder.path / "pipe")
    assert "A" not in env(folder, "env_file: pipe")


@pytest.mark.parametrize(
    ("content", "meant"),
    [
        (b"s3cret", "s3cret"),
        (b"s3cret\n", "s3cret"),
        (b"s3cret\r\n\n", "s3cret"),
        (b" a $b 'c' #d \ne\n", " a $b 'c' #d \ne"),
        (b"", ""),
        (b"\xff\xfe", "\udcff\udcfe"),
    ],
)
def test_a_secret_is_the_files_content(folder, content, meant):
    folder.file("db", content)
    assert env(folder, "env_from_file: {DB: db}")["DB"] == meant


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("env_from_file: {DB: none}", "apps[0].env_from_file.DB: "),
        ("env_from_file: {DB: nul}", "holds a NUL"),
        ("env_from_file: {DB: big}", "larger than 128 KiB"),
        ("env_from_file: {DBX: long}", "longer than a variable can be"),
        ("env_from_file: {A B: db}", "must be the name"),
        ("env_from_file: [db]", "must be a mapping"),
        ("env_from_file: {DB: [db]}", "must be a text"),
        ("env_from_file: {DB: db}\nenv: {DB: x}", "DB is in `env` as well"),
        ("env_file: {required: false}", "needs a `path`"),
        ("env_file: {path: [a]}", "must be a text"),
        ("env_file: {path: db, format: json}", "use one of env, raw"),
        ("expand_file_env: [a b]", "must be the name"),
        ("expand_file_env: yes", "must be true or false"),
        ("env_flie: a.env", "did you mean 'env_file'?"),
    ],
)
def test_what_is_wrong_with_the_keys(folder, text, said):
    folder.file("db", "x")
    folder.file("nul", "a\0b")
    folder.file("big", "x" * (128 << 10))
    folder.file("long", "x" * ((128 << 10) - 4))
    [error] = folder.app_errors(f"script: app.js\n{text}")
    assert said in error


def test_the_longest_variable(folder):
    folder.file("long", "x" * ((128 << 10) - 5) + "\n")
    found = env(folder, "env_from_file: {ABC: long}")["ABC"]
    # With "ABC=" and the NUL it has 32 pages: execve(2).
    assert len(found) == 128 * 1024 - 5


def test_name_file_of_named_variables(folder):
    secret = folder.file("db", "s3cret\n")
    found = env(
        folder,
        "expand_file_env: [DB, OTHER]\nenv: {OTHER: x}",
        environ=environ(folder, DB_FILE=str(secret), MORE_FILE=str(secret)),
    )
    assert found["DB"] == "s3cret"
    assert "DB_FILE" not in found
    assert found["OTHER"] == "x"
    assert found["MORE_FILE"] == str(secret)
    assert "MORE" not in found


def test_name_file_of_every_variable(folder):
    secret = str(folder.file("db", "s3cret\n"))
    folder.file("a.env", f"FROM_FILE_FILE={secret}")
    found = env(
        folder,
        f"expand_file_env: true\nenv_file: a.env\nenv: {{OWN_FILE: {secret}}}",
        environ=environ(folder, DB_FILE=secret, REL_FILE="x", SSL_CERT_FILE=secret, _FILE=secret),
    )
    assert (found["DB"], found["FROM_FILE"], found["OWN"]) == ("s3cret",) * 3
    assert (found["REL_FILE"], found["SSL_CERT_FILE"], found["_FILE"]) == ("x", secret, secret)


def test_name_file_is_off_by_itself(folder):
    secret = str(folder.file("db", "s3cret\n"))
    assert "DB" not in env(folder, "", environ=environ(folder, DB_FILE=secret))


def test_name_and_name_file_exclude_each_other(folder):
    secret = str(folder.file("db", "s3cret\n"))
    more = environ(folder, DB_FILE=secret, DB=SECRET)
    [error] = folder.app_errors("script: app.js\nexpand_file_env: true", environ=more)
    assert "both DB and DB_FILE are set" in error
    assert "hunter2" not in error


def test_what_comes_out_of_files_is_no_template(folder):
    folder.file("db", "{port}{fd}")
    app = folder.app(
        "script: app.js\nlisten: 5000\nenv_from_file: {DB: db}\nenv: {A: 'x{port}'}",
        environ=environ(folder, B="{port}"),
    )
    assert app.filled_env == ("A",)


def test_an_app_that_is_left_out_reads_nothing(folder):
    text = "apps: [{script: app.js, name: a}, {script: app.js, name: b, env_file: none}]"
    assert folder.load(text, only=("a",)).plan.files == ()


def test_env_name_may_be_called_anything_else(folder):
    assert env(folder, "env_files: {A: 1}", env_name="files")["A"] == "1"


# -- secrets in messages ----------------------------------------------------------------


def everywhere(location):
    """A file with `${S}` as the value of each key in turn, in each shape."""
    tables = {
        "app": keys.APP_KEYS,
        "top": keys.TOP_KEYS,
        "probes": keys.PROBES_KEYS,
        "log": keys.LOG_KEYS,
        "control": keys.CONTROL_KEYS,
        "shutdown": keys.SHUTDOWN_KEYS,
        "listen": keys.LISTEN_KEYS,
        "health": keys.HEALTH_KEYS,
        "depends_on": keys.DEPENDS_KEYS,
        "env_file": keys.ENV_FILE_KEYS,
    }
    for key in tables[location]:
        for shape in ('"${S}"', '["${S}"]', '{x: "${S}"}', '{"${S}": x}'):
            said = f"{key.name}: {shape}"
            if location == "top":
                yield said if key.name == "apps" else f"apps: [{{script: app.js}}]\n{said}"
            elif location in ("probes", "log", "control", "shutdown"):
                yield f"apps: [{{script: app.js}}]\n{location}: {{{said}}}"
            elif location == "app":
                script = "" if key.name == "script" else "script: app.js, "
                yield f"apps: [{{{script}{said}}}]"
            elif location == "depends_on":
                yield f"apps: [{{script: app.js, name: a}}, {{script: app.js, name: b, depends_on: {{a: {{{said}}}}}}}]"  # noqa: E501
            else:
                yield f"apps: [{{script: app.js, {location}: {{{said}}}}}]"


PLACES = ("app", "top", "probes", "log", "control", "shutdown", "listen", "health", "env_file")


@pytest.mark.parametrize("secret", [SECRET, "hunter2", "/hunter2", "9hunter2", "a 'hunter2"])
@pytest.mark.parametrize("location", [*PLACES, "depends_on"])
def test_no_message_shows_what_the_environment_said(folder, location, secret):
    problems = []
    for text in everywhere(location):
        try:
            loaded = folder.load(text, environ=environ(folder, S=secret))
        except ConfigErrors as errors:
            problems += [str(problem) for problem in (*errors.errors, *errors.warnings)]
        else:
            problems += loaded.warnings
    assert problems
    assert [message for message in problems if "YAML syntax" in message] == []
    assert [message for message in problems if "hunter2" in message] == []
