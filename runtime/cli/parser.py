"""The parser of ``rkface``: commands grouped by task; for a typo, the error names the nearest command or option.

A command is a function that takes the command's parser, and whose docstring is the command's help (``commands.py``). It
is imported only when its parser is used.
"""

from __future__ import annotations

import argparse
import re
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from inspect import getdoc
from pathlib import Path
from typing import Any, NoReturn

from ..core.errors import InputError
from ..core.text import nearest
from .commands import TASKS, Command, installed_commands

# Spellings of rkface 0.1, which work and are not shown: `rkface enrol`.
OLD_COMMANDS = {"enrol": "enroll"}
OLD_OPTIONS = {"--licence": "--license", "--accept-licence": "--accept-license", "--live-colour": "--live-color"}
NEGATIVE_NUMBER = re.compile(r"-\d+|-\d*\.\d+")  # as argparse recognizes them
EPILOG = """\
`rkface COMMAND --help` explains a command with examples. Every command takes --quiet and --verbose.

With --json, stdout has nothing but JSON; messages and errors are text on stderr.
Exit codes: 0 done, 1 the work failed or a part of it, 2 wrong use or input, 130 interrupted."""


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Usage lines that name the arguments and the required options; the help below lists all options."""

    def _format_usage(
        self,
        usage: str | None,
        actions: Iterable[argparse.Action],
        groups: Iterable[argparse._MutuallyExclusiveGroup],
        prefix: str | None,
    ) -> str:
        needed = {id(one) for group in groups if group.required for one in group._group_actions}
        shown = [one for one in actions if not one.option_strings or one.required or id(one) in needed]
        command = self._prog
        self._prog = f"{command} [options]"
        text = super()._format_usage(usage, shown, [group for group in groups if group.required], prefix)
        self._prog = command
        return text


class CommandParser(argparse.ArgumentParser):
    """An ``ArgumentParser`` without abbreviations. For an unknown command or option, it names the nearest one.

    ``command`` is the command that it parses. It is imported on first use of this parser, and then adds its arguments.
    """

    def __init__(self, *, command: Command | None = None, **settings: Any) -> None:
        super().__init__(**{"allow_abbrev": False, "formatter_class": HelpFormatter, **settings})
        self._positionals.title = "arguments"
        self._command = command

    def fill(self) -> None:
        """Import the command, and let it add its arguments; once."""
        if self._command is None:
            return
        declare, self._command = self._command.load(), None
        self.description = getdoc(declare) or ""
        declare(self)
        for parser in all_parsers(self):
            _add_detail(parser)

    @property
    def summary(self) -> str:
        """The first line of the help."""
        found = _find_summary(self._command) if self._command is not None else ""
        if not found:
            self.fill()
        return found or (self.description or "").partition("\n")[0]

    @property
    def commands(self) -> Mapping[str, CommandParser]:
        """The parsers of the commands or actions below this one; empty for a command without actions."""
        self.fill()
        found = (one for one in self._actions if isinstance(one, argparse._SubParsersAction))
        return next((one.choices for one in found), {})

    @property
    def options(self) -> list[argparse.Action]:
        """The options that --help lists."""
        self.fill()
        return [one for one in self._actions if one.option_strings and one.help != argparse.SUPPRESS]

    @property
    def arguments(self) -> list[argparse.Action]:
        """The positional arguments, without COMMAND or ACTION."""
        self.fill()
        return [
            one for one in self._actions if not one.option_strings and not isinstance(one, argparse._SubParsersAction)
        ]

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        self.fill()
        words = list(sys.argv[1:] if args is None else args)
        if self.commands and not words:
            self.print_help(sys.stderr)
            self.exit(InputError.exit_code)
        found, left = super().parse_known_args(self._checked(words), namespace)
        if left and not self.commands:
            self.error(f"unexpected argument {left[0]!r}")
        return found, left

    def format_help(self) -> str:
        self.fill()
        return super().format_help()

    def _get_value(self, action: argparse.Action, arg_string: str) -> Any:
        if action.type is Path and not arg_string:  # Path("") is the working folder
            raise argparse.ArgumentError(action, "a path must not be empty (is a variable of the shell unset?)")
        return super()._get_value(action, arg_string)

    def _checked(self, words: list[str]) -> list[str]:
        """``words`` with old spellings replaced. Exits with an error for an unknown option, command or action."""
        known = self._option_string_actions
        for place, word in enumerate(words):
            if word == "--":
                break
            if not word.startswith("-") or word == "-" or " " in word or NEGATIVE_NUMBER.fullmatch(word):
                if not self.commands:
                    continue
                words[place] = OLD_COMMANDS.get(word, word)
                if words[place] not in self.commands:
                    self._refuse_command(word)
                break  # what follows is for that command's own parser
            name, sign, value = word.partition("=")
            name = OLD_OPTIONS.get(name, name)
            if name in known:
                words[place] = f"{name}{sign}{value}"
            elif word.startswith("--") or word[:2] not in known:
                self._refuse_option(name)
        return words

    def _refuse_command(self, word: str) -> NoReturn:
        what = "command" if self.prog == "rkface" else "action"
        near = nearest(word, self.commands)
        hint = f"did you mean {near}?" if near else f"choose one of {', '.join(self.commands)}"
        self.exit(InputError.exit_code, f"{self.prog}: unknown {what} {word!r}: {hint}\n")

    def _refuse_option(self, name: str) -> NoReturn:
        long = {option.removeprefix("--"): option for one in self.options for option in one.option_strings[-1:]}
        near = long.get(nearest(name.strip("-"), long) or "")
        if self.commands and any(name in parser._option_string_actions for parser in all_parsers(self)):
            hint = "write it after the command"
        else:
            hint = f"did you mean {near}?" if near else f"`{self.prog} --help` lists the options"
        self.exit(InputError.exit_code, f"{self.prog}: unknown option {name}: {hint}\n")


def add_actions(parser: argparse.ArgumentParser, declarations: Iterable[Callable[..., None]]) -> None:
    """Give the command of ``parser`` an action for each function, named as the function: ``revoke_token`` becomes
    revoke-token, and an underscore at the end, as in ``import_``, is left out.

    As for a command, the function takes the action's parser, and its docstring is the help.
    """
    actions = parser.add_subparsers(prog=parser.prog, title="actions", metavar="ACTION", required=True)
    for declare in declarations:
        text = getdoc(declare) or ""
        name = declare.__name__.rstrip("_").replace("_", "-")
        declare(actions.add_parser(name, help=text.splitlines()[0], description=text, formatter_class=HelpFormatter))


def _find_summary(command: Command) -> str:
    """The first line of a command's docstring, from the text of its module: importing all commands would take as long
    as everything else that `rkface --help` does. "" if it is not found."""
    read = getattr(getattr(find_spec(command.module), "loader", None), "get_source", None)
    source = read(command.module) if read else None
    found = re.search(rf'^def {command.function}\(.*\n    """(.+)$', source or "", re.MULTILINE)
    return found[1] if found else ""


class _TopParser(CommandParser):
    """The parser of ``rkface``, whose help lists the commands by task."""

    def format_help(self) -> str:
        self.epilog = f"{_by_task({name: parser.summary for name, parser in self.commands.items()})}\n\n{EPILOG}"
        return super().format_help()


class _PrintVersion(argparse.Action):
    """Prints the version. Looking it up takes longer than reading most command lines."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        from importlib.metadata import version

        print(f"rkface {version('rkface')}")
        parser.exit()


def build_parser() -> CommandParser:
    """The parser of ``rkface`` with all installed commands. The result has ``run``, a function of the options."""
    top = _TopParser(
        prog="rkface",
        usage="rkface [--version] [--quiet | --verbose] COMMAND ...",
        description="Face recognition on Rockchip NPUs: from ONNX models to a camera that knows who is there.",
    )
    top.add_argument("--version", action=_PrintVersion, nargs=0, help="print the version")
    commands = top.add_subparsers(
        prog="rkface", metavar="COMMAND", required=True, help=argparse.SUPPRESS, parser_class=CommandParser
    )
    for command in installed_commands():
        commands.add_parser(command.name, command=command)
    top.set_defaults(quiet=False, verbose=False)
    _add_detail(top)
    return top


def all_parsers(parser: CommandParser) -> Iterator[CommandParser]:
    """``parser`` and the parsers of all commands and actions below it."""
    parser.fill()
    yield parser
    for command in parser.commands.values():
        yield from all_parsers(command)


def _add_detail(parser: CommandParser) -> None:
    """--quiet and --verbose, which may stand before or after the command. The top parser alone sets the defaults."""
    either = parser.add_mutually_exclusive_group()
    either.add_argument(
        "-q", "--quiet", action="store_true", default=argparse.SUPPRESS, help="show no progress; errors are shown"
    )
    either.add_argument(
        "-v",
        "--verbose",
        action="store_true",
        default=argparse.SUPPRESS,
        help="show each step on a line of its own, log messages, and what caused an error",
    )


def _by_task(summaries: Mapping[str, str]) -> str:
    """The commands with their summaries, grouped by task."""
    import shutil  # only for the help

    width = min(shutil.get_terminal_size().columns - 2, 120)
    lines = []
    for task, names in TASKS.items():
        present = [name for name in names if name in summaries]
        lines += [f"{task}:"] if present else []
        for name in present:
            start = f"  {name:14}"
            lines += textwrap.wrap(summaries[name], width, initial_indent=start, subsequent_indent=" " * len(start))
    return "\n".join(lines)
