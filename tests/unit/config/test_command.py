"""`script`, `args` and `interpreter` → what is executed."""

from __future__ import annotations

import pytest


def command(folder, text, **options):
    return folder.app(text, **options).command


def test_a_command_line_of_path_is_the_program_itself(folder):
    app = folder.app("script: serve -s build -l 5000")
    assert app.command == ("serve", "-s", "build", "-l", "5000")
    assert app.node
    assert app.name == "serve"
    assert app.exec_mode == "fork"


def test_the_projects_own_programs_are_found_after_path(folder):
    folder.program("node_modules/.bin/vite", "#!/usr/bin/env node\n")
    app = folder.app("script: vite preview")
    assert app.command == (str(folder.path / "node_modules/.bin/vite"), "preview")
    assert app.node


@pytest.mark.parametrize(
    ("script", "interpreter"),
    [
        ("app.js", "node"),
        ("x.mjs", "node"),
        ("x.cjs", "node"),
        ("x.py", "python3"),
        ("x.sh", "bash"),
    ],
)
def test_interpreters_by_extension(folder, script, interpreter):
    folder.file(script, "#\n")
    assert command(folder, f"script: {script}\nargs: -p 1") == (
        interpreter, str(folder.path / script), "-p", "1",
    )  # fmt: skip


def test_python_writes_its_lines_at_once(folder):
    folder.file("x.py")
    assert dict(folder.app("script: x.py").env)["PYTHONUNBUFFERED"] == "1"


def test_interpreter_args_come_before_the_script(folder):
    app = folder.app(
        "script: app.js\nnode_args: --inspect --max-old-space-size=100\nargs: [a b, 1]"
    )
    path = str(folder.path / "app.js")
    assert app.command == ("node", "--inspect", "--max-old-space-size=100", path, "a b", "1")
    assert app.node


def test_node_args_for_a_script_of_path(folder):
    found = command(folder, "script: serve\nnode_args: --inspect")
    assert found == ("node", "--inspect", str(folder.bin / "serve"))


def test_an_interpreter_that_is_named(folder):
    folder.file("main.rb")
    found = command(folder, "script: main.rb\ninterpreter: tool\nargs: [x]")
    assert found == ("tool", str(folder.path / "main.rb"), "x")


def test_interpreter_with_arguments_in_one_text(folder):
    found = command(folder, "script: app.js\ninterpreter: tool -x")
    assert found == ("tool", "-x", str(folder.path / "app.js"))


def test_interpreter_none_executes_the_script(folder):
    folder.program("run.py", "#!/usr/bin/env python3\n")
    assert command(folder, "script: ./run.py\ninterpreter: none") == (str(folder.path / "run.py"),)


def test_a_path_with_a_blank(folder):
    folder.file("my app.js")
    assert command(folder, "script: my app.js") == ("node", str(folder.path / "my app.js"))


def test_a_file_of_the_folder_wins_over_path_unless_it_cannot_run(folder):
    folder.program("tool", "#!/bin/sh\n")
    assert command(folder, "script: tool") == (str(folder.path / "tool"),)
    folder.file("serve", "data")
    assert command(folder, "script: serve") == ("serve",)


def test_a_shell_only_where_one_is_needed(folder):
    assert command(folder, "script: tool -c 'a; b | c'") == ("tool", "-c", "a; b | c")
    assert command(folder, "script: tool $PORT") == ("bash", "-c", "exec tool $PORT")
    assert command(folder, "script: A=1 tool x") == ("bash", "-c", "A=1 exec tool x")
    assert command(folder, "script: cd /tmp && tool") == ("bash", "-c", "cd /tmp && tool")
    assert command(folder, "script: tool > log\nargs: [a b]") == (
        "bash",
        "-c",
        "exec tool > log 'a b'",
    )


@pytest.mark.parametrize(
    ("text", "node"),
    [
        ("script: npm start", True),
        ("script: npm\nargs: start", True),
        ("script: env A=1 node app.js", True),
        ("script: cd /tmp && npm start", True),
        ("script: serve $X", True),
        ("script: tool", False),
        ("script: python3 x", False),
        ("script: tool && tool", False),
    ],
)
def test_node_programs_are_recognised(folder, text, node):
    assert folder.app(text).node is node


def test_node_by_a_link_and_by_pnpms_shell_scripts(folder):
    folder.program("lib/main.js", "#!/usr/bin/env -S node --no-warnings\n")
    (folder.bin / "linked").symlink_to(folder.path / "lib/main.js")
    assert folder.app("script: linked").node
    folder.program("node_modules/.bin/p", '#!/bin/sh\nexec node "$basedir/x.js" "$@"\n')
    assert folder.app("script: p").node


@pytest.mark.parametrize(
    ("text", "mode"),
    [
        ("script: app.js", "fork"),
        ("script: app.js\ninstances: 2", "cluster"),
        ("script: app.js\ninstances: 1", "cluster"),
        ("script: app.js\ninstances: 2\nexec_mode: fork", "fork"),
        ("script: app.js\nexec_mode: cluster_mode", "cluster"),
        ("script: serve\ninstances: 2", "cluster"),
        ("script: serve -l 5000\ninstances: 2", "fork"),  # PM2 runs it by `bash -c`
        ("script: tool\ninstances: 2", "fork"),
    ],
)
def test_exec_mode_by_default_is_pm2s(folder, text, mode):
    assert folder.app(text).exec_mode == mode


def test_path_is_the_apps_own(folder):
    folder.program("other/special")
    found = folder.app(f"script: special\nenv: {{PATH: {folder.path}/other:/usr/bin:/bin}}")
    assert found.command == ("special",)


def test_without_path_the_command_is_found_by_pyinits_own(folder):
    app = folder.app("script: tool\nfilter_env: true")
    assert app.command == (str(folder.bin / "tool"),)
    assert app.env == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("script: ./nope.js", "apps[0].script: no file './nope.js'"),
        ("script: nope", "neither a file"),
        ("script: nope $X", "neither a file"),
        ("script: 'tool \"x'", "no command line"),
        ("script: bin", "is a folder"),
        ("script: ''", "is empty"),
        ("script: ./plain", "may not be executed (chmod +x)"),
        ("script: ./textual", "without a #! line"),
        ("script: ./broken", "'/no/such' is not found"),
        ("script: ./broken2", "'nosuch' is not found"),
        ("script: x.rb", "needs ruby"),
        ("script: app.js\ninterpreter: nosuch", "apps[0].interpreter: 'nosuch' is not found"),
        ("script: app.js\ninterpreter: node@18", "installs no node"),
        ("script: tool | tool\nargs: x", "apps[0].args: cannot be added"),
        ("script: tool | tool\ninterpreter: node", "cannot have an `interpreter`"),
        ("script: tool\ninterpreter_args: -x", "apps[0].interpreter_args: there is no interpreter"),
        ("script: app.js\ncwd: nowhere", "apps[0].cwd: there is no folder"),
    ],
)
def test_commands_that_cannot_run(folder, text, said):
    folder.file("plain", "#!/bin/sh\n")
    folder.program("textual", "hello\n")
    folder.program("broken", "#!/no/such x\n")
    folder.program("broken2", "#!/usr/bin/env nosuch\n")
    folder.file("x.rb")
    path = str(folder.bin)
    errors = folder.app_errors(text, environ={"PATH": path})
    assert any(said in error for error in errors), errors


def test_a_node_script_without_the_run_bit_is_run_by_node_as_pm2_does(folder):
    path = folder.file("www", "#!/usr/bin/env node\n")
    assert command(folder, "script: ./www") == ("node", str(path))
