"""Keys that set up a worker's process: limits, masks, priorities, standard input."""

from __future__ import annotations

import os
import pwd

import pytest


def test_limits_in_all_forms(folder) -> None:
    app = folder.app(
        "script: tool\n"
        "rlimits:\n"
        "  nofile: 65536\n"
        "  core: unlimited\n"
        "  RLIMIT_MEMLOCK: 64M\n"
        '  nproc: "100:200"\n'
        "  stack: {soft: 8M, hard: unlimited}\n"
        "  cpu: {hard: 60}\n"
    )
    assert app.rlimits == (
        ("core", -1, -1),
        ("cpu", 60, 60),
        ("memlock", 64 << 20, 64 << 20),
        ("nofile", 65536, 65536),
        ("nproc", 100, 200),
        ("stack", 8 << 20, -1),
    )


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("rlimits: 5", "must be a mapping"),
        ("rlimits: {nofiles: 5}", "did you mean 'nofile'?"),
        ("rlimits: {nofile: many}", 'a limit is a number, a size such as "64M", or unlimited'),
        ("rlimits: {nofile: -2}", "a limit is a number"),
        ("rlimits: {nofile: '9:5'}", "the soft limit is above the hard one"),
        ("rlimits: {nofile: {soft: unlimited, hard: 5}}", "the soft limit is above the hard one"),
        ("rlimits: {nofile: {}}", "needs `soft` or `hard`"),
        ("umask: 1777", "must be octal"),
        ("umask: 8", "must be octal"),
        ("nice: 20", "it is between -20 and 19"),
        ("nice: low", "must be a whole number"),
        ("oom_score_adj: 1001", "it is between -1000 and 1000"),
        ("stdin: closed", "use one of null, open"),
    ],
)
def test_errors(folder, text, error) -> None:
    assert error in folder.app_errors(f"script: tool\n{text}")[0]


def test_masks_and_priorities(folder) -> None:
    app = folder.app('script: tool\numask: "0027"\nnice: -5\noom_score_adj: 500\nstdin: open')
    assert (app.umask, app.nice, app.oom_score_adj, app.stdin) == (0o27, -5, 500, "open")
    # YAML has no octal numbers without 0o: what looks like one is meant as one.
    assert folder.app("script: tool\numask: 022").umask == 0o22


@pytest.mark.skipif(os.geteuid() != 0, reason="root may become another user")
def test_the_environment_follows_the_user(folder) -> None:
    folder.environ.update(USER="root", LOGNAME="root", HOME="/root")
    env = dict(folder.app("script: tool\nuser: nobody").env)
    home = pwd.getpwnam("nobody").pw_dir
    assert (env["USER"], env["LOGNAME"], env["HOME"]) == ("nobody", "nobody", home)
    # One without a name is not root either.
    env = dict(folder.app("script: tool\nuser: 12345\ngroup: 12345").env)
    assert "USER" not in env
    assert "LOGNAME" not in env
    env = dict(folder.app("script: tool\nuser: nobody\nenv: {USER: me}").env)
    assert env["USER"] == "me"
    assert dict(folder.app("script: tool").env)["USER"] == "root"


def test_commands_around_a_worker(folder) -> None:
    app = folder.app(
        "script: tool\n"
        "before_start:\n"
        "  - rm -f 'a b'\n"
        "  - npm run build && echo done\n"
        "  - [tool, '$X', '|']\n"
        "before_start_timeout: 5m\n"
        "after_stop: tool {instance}\n"
    )
    assert app.before_start == (
        ("rm", "-f", "a b"),
        ("/bin/sh", "-c", "npm run build && echo done"),
        ("tool", "$X", "|"),
    )
    assert app.before_start_timeout == 300
    assert app.after_stop == (("tool", "{instance}"),)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("before_start: ''", "is empty"),
        ("before_start: [a, []]", "before_start[1]: is empty"),
        ('before_start: "a \'b"', "is no command line"),
        ("after_stop: {a: b}", "must be a text"),
    ],
)
def test_commands_that_are_none(folder, text, error) -> None:
    assert error in folder.app_errors(f"script: tool\n{text}")[0]
