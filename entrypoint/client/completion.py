"""`pyinit completion bash|zsh|fish`: completion scripts, made from the table of commands.

Names of apps are asked from the running pyinit while a person presses Tab; without one there
are none.
"""

from __future__ import annotations

import signal as signals
import sys

from .command_table import APPS, COMMANDS, FILES, RUN_OPTIONS, SIGNALS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

USAGE = "usage: pyinit completion bash|zsh|fish"
# What the scripts ask for the names of apps.
ASKED = "--apps"
LEVELS = "debug info warning error critical"


def main(argv: Sequence[str]) -> int:
    """Print the script for a shell; exit code 2 for another word."""
    if list(argv) == [ASKED]:
        return _print_apps()
    makers = {"bash": bash, "zsh": zsh, "fish": fish}
    if any(word in {"-h", "--help"} for word in argv):
        print(f"{USAGE}\n\nPrint a script that completes commands, options and names of apps.")
        return 0
    if len(argv) != 1 or argv[0] not in makers:
        print(f"pyinit completion: which shell? {USAGE}", file=sys.stderr)
        return 2
    print(makers[argv[0]](), end="")
    return 0


def _print_apps() -> int:
    from .connection import Refusal
    from .frame import answered
    from .health import Unanswered

    try:
        found = answered("GET", "apps", [], "")
    except (OSError, Refusal, Unanswered, ValueError):
        return 1
    print("\n".join(app["name"] for app in found["apps"]))
    return 0


def _signals() -> str:
    return " ".join(sorted(each.name.removeprefix("SIG") for each in signals.Signals))


def _options(options: Sequence[str]) -> list[str]:
    return [option.partition("=")[0] for option in options]


def bash() -> str:
    """For bash, with or without the package bash-completion."""
    cases = []
    for name, command in COMMANDS.items():
        words = {
            APPS: "$(pyinit completion --apps 2>/dev/null) all",
            SIGNALS: _signals(),
            FILES: "",
        }.get(command.words, command.words)
        options = " ".join((*_options(command.options), "--help"))
        cases.append(f'    {name}) words="{words}" options="{options}" ;;')
    files = "|".join(name for name, command in COMMANDS.items() if command.words == FILES)
    return f"""\
# bash completion for pyinit: eval "$(pyinit completion bash)"
_pyinit() {{
  local current=${{COMP_WORDS[COMP_CWORD]}} previous=${{COMP_WORDS[COMP_CWORD-1]}}
  local command=${{COMP_WORDS[1]}} words="" options=""
  COMPREPLY=()
  case $previous in
    -c|--config|--socket) COMPREPLY=($(compgen -f -- "$current")); return ;;
    --level) COMPREPLY=($(compgen -W "{LEVELS}" -- "$current")); return ;;
  esac
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W "{" ".join(COMMANDS)} {" ".join(_options(RUN_OPTIONS))}" -- "$current"))
    COMPREPLY+=($(compgen -f -X '!*.@(js|py|json|yaml|yml)' -- "$current"))
    return
  fi
  case $command in
{chr(10).join(cases)}
    *) COMPREPLY=($(compgen -f -- "$current")); return ;;
  esac
  if [ "$command" = signal ] && [ "$COMP_CWORD" -gt 2 ]; then
    words="$(pyinit completion --apps 2>/dev/null) all"
  fi
  case $current in
    -*) COMPREPLY=($(compgen -W "$options" -- "$current")); return ;;
  esac
  case $command in
    {files}) COMPREPLY=($(compgen -f -- "$current")) ;;
    *) COMPREPLY=($(compgen -W "$words" -- "$current")) ;;
  esac
}}
complete -F _pyinit pyinit
"""


def zsh() -> str:
    """For zsh, with compinit loaded."""
    commands = "\n".join(
        f"    {_quoted(name + ':' + command.about)}" for name, command in COMMANDS.items()
    )
    cases = []
    for name, command in COMMANDS.items():
        words = {
            APPS: 'apps=(${(f)"$(pyinit completion --apps 2>/dev/null)"} all); compadd -a apps',
            SIGNALS: f"if (( CURRENT == 3 )); then compadd {_signals()}; else "
            'apps=(${(f)"$(pyinit completion --apps 2>/dev/null)"} all); compadd -a apps; fi',
            FILES: "_files",
            "": ":",
        }.get(command.words, f"compadd {command.words}")
        options = " ".join((*_options(command.options), "--help"))
        cases.append(
            f"    {name}) if [[ $PREFIX == -* ]]; then compadd -- {options}; else {words}; fi ;;"
        )
    return f"""\
#compdef pyinit
# zsh completion for pyinit: source <(pyinit completion zsh), after compinit
_pyinit() {{
  local -a commands apps
  commands=(
{commands}
  )
  if (( CURRENT == 2 )); then
    _describe command commands
    [[ $PREFIX == -* ]] && compadd -- {" ".join(_options(RUN_OPTIONS))}
    _files -g '*.(js|py|json|yaml|yml)'
    return
  fi
  case $words[CURRENT-1] in
    -c|--config|--socket) _files; return ;;
    --level) compadd {LEVELS}; return ;;
  esac
  case $words[2] in
{chr(10).join(cases)}
    *) _files ;;
  esac
}}
compdef _pyinit pyinit
"""


def fish() -> str:
    """For fish."""
    lines = [
        "# fish completion for pyinit: pyinit completion fish | source",
        "function __pyinit_apps; pyinit completion --apps 2>/dev/null; echo all; end",
        "complete -c pyinit -e",
    ]
    lines += [
        f"complete -c pyinit -n __fish_use_subcommand -a {name} -d {_quoted(command.about)}"
        for name, command in COMMANDS.items()
    ]
    for name, command in COMMANDS.items():
        seen = f"-n '__fish_seen_subcommand_from {name}'"
        words = {
            APPS: "'(__pyinit_apps)'",
            SIGNALS: f"'{_signals()} (__pyinit_apps)'",
        }.get(command.words, _quoted(command.words))
        if command.words != FILES:
            chosen = f" -a {words}" if command.words else ""
            lines.append(f"complete -c pyinit {seen} -f{chosen}")
        for each in command.options:
            option, takes, _ = each.partition("=")
            kind = "-l" if option.startswith("--") else "-s"
            values = f" -xa '{LEVELS}'" if option == "--level" else " -r" if takes else ""
            lines.append(f"complete -c pyinit {seen} {kind} {option.lstrip('-')}{values}")
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
