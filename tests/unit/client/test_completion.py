"""The table of commands, what is made of it, and that it says what the parsers take."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from entrypoint import cli
from entrypoint.client import completion, pm2_names, slips
from entrypoint.client.command_table import COMMANDS

ROOT = Path(__file__).resolve().parents[3]
OWN = {*cli._commands()} - {*pm2_names.NAMES}


def run(capfd, *words: str) -> tuple[int, str, str]:
    code = cli.main(list(words), starts_run=False)
    out, err = capfd.readouterr()
    return code, out, err


def test_the_table_has_every_command() -> None:
    assert set(COMMANDS) == OWN - {"jlist", "prettylist", "ping", "pid", "id"}


@pytest.mark.parametrize("name", COMMANDS)
def test_the_table_has_every_option_of_the_parser(name, capfd) -> None:
    code, shown, _ = run(capfd, name, "--help")
    assert code == 0
    before, _, examples = shown.partition("\nexamples:\n")
    assert examples.count("\n") == len(COMMANDS[name].examples) >= 1
    for line, what in COMMANDS[name].examples:
        assert line in examples
        assert what in examples
    found = set(re.findall(r"(?<![\w'`-])(--?[a-z][a-z-]*)", before)) - {"-h", "--help"}
    assert found == {option.partition("=")[0] for option in COMMANDS[name].options}
    assert run(capfd, "help", name) == (0, shown, "")


def test_the_help_names_every_command() -> None:
    for name in COMMANDS:
        assert re.search(rf"pyinit \S*\b{name}\b", cli.HELP), name


@pytest.mark.parametrize(
    ("shell", "check"), [("bash", ["bash", "-n"]), ("zsh", ["zsh", "-n"]), ("fish", ["fish", "-n"])]
)
def test_the_shell_takes_its_script(shell, check, capfd, tmp_path) -> None:
    if not shutil.which(shell):
        pytest.skip(f"no {shell}: `make setup` installs it")
    code, script, _ = run(capfd, "completion", shell)
    assert code == 0
    path = tmp_path / "script"
    path.write_text(script)
    done = subprocess.run([*check, path], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


FAKE = "pyinit() { [ \"$*\" = 'completion --apps' ] && printf 'web\\napi\\n'; }\n"


def completed(*words: str) -> set[str]:
    """What bash offers for the last word."""
    listed = " ".join(f"'{word}'" for word in words)
    script = (
        f"{completion.bash()}{FAKE}COMP_WORDS=({listed}); COMP_CWORD={len(words) - 1}\n"
        'complete() { :; }; shopt -s extglob; _pyinit; printf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, cwd=ROOT, check=True
    )
    return set(done.stdout.split())


def test_what_bash_offers() -> None:
    assert {"reload", "restart", "replay"} == completed("pyinit", "re")
    assert completed("pyinit", "stop", "") == {"web", "api", "all"}
    assert completed("pyinit", "stop", "w") == {"web"}
    assert completed("pyinit", "signal", "USR") == {"USR1", "USR2"}
    assert completed("pyinit", "signal", "USR1", "a") == {"api", "all"}
    assert completed("pyinit", "reload", "--d") == {"--dry-run"}
    assert completed("pyinit", "logs", "--level", "w") == {"warning"}
    assert completed("pyinit", "check", "README") == {"README.md"}
    assert completed("pyinit", "health", "l") == {"live"}


def test_what_fish_offers() -> None:
    if not shutil.which("fish"):
        pytest.skip("no fish: `make setup` installs it")

    def offered(line: str) -> set[str]:
        fake = "function pyinit; printf 'web\\napi\\n'; end\n"
        script = f"{completion.fish()}{fake}complete -C '{line}'"
        done = subprocess.run(["fish", "-c", script], capture_output=True, text=True, check=True)
        return {row.partition("\t")[0] for row in done.stdout.splitlines()}

    assert offered("pyinit rel") == {"reload"}
    assert offered("pyinit stop w") == {"web"}
    assert "--dry-run" in offered("pyinit reload --d")


def test_another_word_is_no_shell(capfd) -> None:
    assert run(capfd, "completion", "tcsh")[0] == 2
    # Without a running pyinit there are no names, and nothing is said about it.
    code, out, err = run(capfd, "completion", "--apps")
    assert (code in (0, 1), err) == (True, "")
    assert out == "" or code == 0


@pytest.mark.parametrize("page", ["pyinit.1", "pyinit.5"])
def test_the_manual_pages_are_well_formed(page) -> None:
    if not shutil.which("mandoc"):
        pytest.skip("no mandoc: `make setup` installs it")
    path = ROOT / "docs/man" / page
    done = subprocess.run(
        ["mandoc", "-T", "lint", "-W", "warning", path], capture_output=True, text=True
    )
    assert [line for line in done.stdout.splitlines() if "missing date" not in line] == []


# -- slips ------------------------------------------------------------------------------


@pytest.mark.parametrize("word", slips.WORDS)
def test_a_word_of_another_tool_is_answered(word, monkeypatch) -> None:
    assert word not in cli._commands()
    # A program of that name would be run.
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(cli.UsageError, match="unknown command") as raised:
        cli.parse_run([word])
    assert slips.WORDS[word] in str(raised.value)
    for named in re.findall(r"`pyinit ([a-z]+)", slips.WORDS[word]):
        assert named in COMMANDS, named


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("ls", "web"), "`pyinit describe web`"),
        (("status", "web"), "`pyinit describe web`"),
        (("ls", "-o", "json"), "write `--json`"),
        (("logs", "--tail", "5"), "write `--lines N`"),
        (("scale", "web=4"), "`pyinit scale web 4`"),
        (("restrat", "web"), "did you mean 'restart'?"),
    ],
)
def test_a_slip_gets_the_right_hint(words, hint, capfd, monkeypatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    code, _, err = run(capfd, *words)
    assert code == 2
    assert hint in err
