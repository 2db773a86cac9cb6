"""``rkface completion``: scripts that complete commands, options, choices and paths in bash, zsh and fish.

The scripts are generated from the parsers, so that they are never out of date, and contain everything they need. A
library such as argcomplete would start Python, which takes about a second on a board, at each press of the Tab key, and
would be one more package to install there.
"""

from __future__ import annotations

import argparse
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .parser import CommandParser, build_parser

HELP_WIDTH = 80  # of a description; longer ones are cut


def completion(parser: ArgumentParser) -> None:
    """Print a script that completes rkface's commands, options and paths in bash, zsh or fish.

    Write it to the place where the shell looks for it, then start a new shell. Write it again after an update.

    examples:
      rkface completion bash > ~/.local/share/bash-completion/completions/rkface
      rkface completion zsh > "${fpath[1]}/_rkface"
      rkface completion fish > ~/.config/fish/completions/rkface.fish
      source <(rkface completion bash)          # for this shell only; zsh likewise
    """
    parser.add_argument("shell", choices=tuple(SCRIPTS), metavar="SHELL", help="bash, zsh or fish")
    parser.set_defaults(run=_completion)


def _completion(options: Namespace) -> int:
    commands = list(read_commands(build_parser()))
    print(SCRIPTS[options.shell](commands), end="")
    return 0


@dataclass(frozen=True)
class ValueSpec:
    """What a value can be: a path, one of ``choices``, or a text that cannot be completed."""

    kind: Literal["file", "folder", "choice", "text"]
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class OptionSpec:
    """An option; ``value`` is None for a flag."""

    names: tuple[str, ...]
    help: str
    value: ValueSpec | None


@dataclass(frozen=True)
class CommandSpec:
    """A command or action. ``path`` is its words after "rkface", such as "gallery list"; "" for rkface itself.

    ``actions`` are the words that can come next, with their help; ``argument`` is what its positional arguments can be.
    """

    path: str
    actions: dict[str, str]
    options: tuple[OptionSpec, ...]
    argument: ValueSpec


def read_commands(parser: CommandParser, path: str = "") -> Iterator[CommandSpec]:
    """The command of ``parser`` and all below it."""
    arguments = [_value(one) for one in parser.arguments]
    useful = [one for one in arguments if one.kind != "text"]
    options = tuple(
        OptionSpec(tuple(one.option_strings), _help(one, parser), None if one.nargs == 0 else _value(one))
        for one in parser.options
    )
    actions = {name: _cut(command.summary) for name, command in parser.commands.items()}
    yield CommandSpec(path, actions, options, useful[0] if useful else ValueSpec("text"))
    for name, command in parser.commands.items():
        yield from read_commands(command, f"{path} {name}".strip())


def _value(action: argparse.Action) -> ValueSpec:
    if action.choices is not None:
        return ValueSpec("choice", tuple(map(str, action.choices)))
    if action.type is Path:
        return ValueSpec("folder" if action.metavar == "DIR" else "file")
    return ValueSpec("file" if action.metavar == "SPEC" else "text")  # a SPEC of a camera can be a device or a file


def _help(action: argparse.Action, parser: CommandParser) -> str:
    return _cut((action.help or "") % {**vars(action), "prog": parser.prog})


def _cut(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= HELP_WIDTH else f"{text[: HELP_WIDTH - 1]}…"


def _bash(commands: list[CommandSpec]) -> str:
    paths = {"file": "compopt -o default", "folder": "compopt -o dirnames"}  # readline's own, which quotes names
    values, words = [], []
    for command in commands:
        for option in command.options:
            labels = " | ".join(f'"{command.path}:{name}"' for name in option.names)
            if option.value is not None and option.value.kind == "choice":
                values.append(f'        {labels}) words="{" ".join(option.value.choices)}" ;;')
            elif option.value is not None:
                values.append(f"        {labels}) {paths.get(option.value.kind, ':')}; return ;;")
        names = [name for option in command.options for name in option.names]
        plain = [*command.actions, *command.argument.choices]
        rest = paths.get(command.argument.kind, ":")
        words.append(f'        "{command.path}:-"*) words="{" ".join(names)}" ;;')
        words.append(f'        "{command.path}:"*) words="{" ".join(plain)}"; {rest} ;;')
    return f"""\
# Completion of rkface in bash, written by `rkface completion bash`.
_rkface() {{
    local current="${{COMP_WORDS[COMP_CWORD]}}" previous="${{COMP_WORDS[COMP_CWORD - 1]}}" command="" words="" index
    if [[ $current == "=" ]]; then  # --option=VALUE is three words here
        current=""
    elif [[ $previous == "=" ]]; then
        previous="${{COMP_WORDS[COMP_CWORD - 2]}}"
    fi
    for ((index = 1; index < COMP_CWORD; index++)); do
        case "$command/${{COMP_WORDS[index]}}" in
{_steps(commands, '            "{0}/{1}") command="{2}" ;;')}
        esac
    done
    COMPREPLY=()
    case "$command:$previous" in
{chr(10).join(values)}
    esac
    [[ -n $words ]] || case "$command:$current" in
{chr(10).join(words)}
    esac
    COMPREPLY=($(compgen -W "$words" -- "$current"))
}}
complete -F _rkface rkface
"""


def _zsh(commands: list[CommandSpec]) -> str:
    paths = {"file": "_files", "folder": "_files -/", "text": "_message -e value 'value'"}
    values, words = [], []
    for command in commands:
        for option in command.options:
            labels = "|".join(f'"{command.path}:{name}"' for name in option.names)
            if option.value is not None:
                complete = paths.get(option.value.kind) or f"compadd -- {' '.join(option.value.choices)}"
                values.append(f"        {labels}) {complete}; return ;;")
        described = (_zsh_word(name, option.help) for option in command.options for name in option.names)
        words.append(f'        "{command.path}:-"*) found=({" ".join(described)}); _describe -o option found ;;')
        if command.actions:
            described = (_zsh_word(name, text) for name, text in command.actions.items())
            words.append(f'        "{command.path}:"*) found=({" ".join(described)}); _describe command found ;;')
        elif command.argument.kind == "choice":
            words.append(f'        "{command.path}:"*) compadd -- {" ".join(command.argument.choices)} ;;')
        elif command.argument.kind != "text":
            words.append(f'        "{command.path}:"*) {paths[command.argument.kind]} ;;')
    return f"""\
#compdef rkface
# Completion of rkface in zsh, written by `rkface completion zsh`.
_rkface() {{
    local command="" word previous="${{words[CURRENT - 1]}}"
    local -a found
    for word in "${{(@)words[2, CURRENT - 1]}}"; do
        case "$command/$word" in
{_steps(commands, '            "{0}/{1}") command="{2}" ;;')}
        esac
    done
    if [[ "${{words[CURRENT]}}" == --*=* ]]; then
        previous="${{words[CURRENT]%%=*}}"
        compset -P '*='
    fi
    case "$command:$previous" in
{chr(10).join(values)}
    esac
    case "$command:$PREFIX" in
{chr(10).join(words)}
    esac
}}
if [[ "$funcstack[1]" == _rkface ]]; then  # loaded from a folder of $fpath
    _rkface "$@"
else
    compdef _rkface rkface
fi
"""


def _zsh_word(name: str, text: str) -> str:
    return _single_quoted(f"{name.replace(':', chr(92) + ':')}:{text}")


def _fish(commands: list[CommandSpec]) -> str:
    paths = {"file": "-r -F", "folder": "-x -a '(__fish_complete_directories)'", "text": "-x"}
    lines = []
    for command in commands:
        start = f"complete -c rkface -n \"__rkface_at '{command.path}'\""
        lines += [f"{start} -a {name} -d {_single_quoted(text)}" for name, text in command.actions.items()]
        if command.argument.kind == "choice":
            lines.append(f"{start} -a '{' '.join(command.argument.choices)}'")
        elif command.argument.kind != "text":
            lines.append(f"{start} -F")
        for option in command.options:
            names = [f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in option.names]
            value = ""
            if option.value is not None:
                value = paths.get(option.value.kind) or f"-x -a '{' '.join(option.value.choices)}'"
            lines.append(" ".join(filter(None, [start, *names, value, f"-d {_single_quoted(option.help)}"])))
    return f"""\
# Completion of rkface in fish, written by `rkface completion fish`.
function __rkface_at
    set -l command ""
    for word in (commandline -opc)[2..-1]
        switch "$command/$word"
{_steps(commands, "            case '{0}/{1}'; set command '{2}'")}
        end
    end
    test "$command" = "$argv[1]"
end
complete -c rkface -f
{chr(10).join(lines)}
"""


def _steps(commands: list[CommandSpec], line: str) -> str:
    """``line`` for each action of each command, with the command's path, the action's name and its path."""
    return "\n".join(
        line.format(command.path, name, f"{command.path} {name}".strip())
        for command in commands
        for name in command.actions
    )


def _single_quoted(text: str) -> str:
    """``text`` in single quotes, as all three shells read it."""
    return "'" + text.replace("\\", "").replace("'", "’") + "'"


SCRIPTS = {"bash": _bash, "zsh": _zsh, "fish": _fish}
