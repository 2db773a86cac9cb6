"""The commands of ``rkface``: which there are, by task, and which function declares each."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

# By task, in the order of ``rkface --help``: the name of a command, and the module and the function that declare it.
# A table here and no entry points: to read those of all installed packages took a third of the time of `rkface --help`.
TASKS = {
    "convert": {
        "convert": "rkface.convert.convert_command:convert",
        "packs": "rkface.convert.packs_command:packs",
        "calibrate": "rkface.calibration.commands:calibrate",
        "evaluate": "rkface.convert.evaluate_command:evaluate",
        "cost": "rkface.convert.cost_command:cost",
    },
    "board": {
        "deploy": "rkface.boards.deploy.command:deploy",
        "doctor": "rkface.boards.doctor.command:doctor",
        "selftest": "rkface.runtime.cli.selftest:selftest",
        "bench": "rkface.runtime.cli.bench:bench",
        "verify": "rkface.runtime.cli.verify:verify",
        "twin": "rkface.convert.twin_command:twin",
    },
    "photos": {
        "detect": "rkface.runtime.cli.detect_embed:detect",
        "embed": "rkface.runtime.cli.detect_embed:embed",
        "compare": "rkface.runtime.cli.compare:compare",
    },
    "gallery": {
        "enroll": "rkface.runtime.cli.enroll:enroll",
        "gallery": "rkface.runtime.cli.gallery:gallery",
        "strangers": "rkface.runtime.cli.strangers:strangers",
    },
    "camera": {
        "run": "rkface.runtime.cli.run:run",
        "serve": "rkface.runtime.cli.run:serve",
        "config": "rkface.runtime.cli.config:config",
        "alerts": "rkface.runtime.cli.alerts:alerts",
        "web-password": "rkface.runtime.web.password:web_password",
        "access": "rkface.runtime.cli.access:access",
        "frigate": "rkface.runtime.cli.frigate:frigate",
        "hub": "rkface.runtime.cli.hub:hub",
    },
    "about": {
        "version": "rkface.runtime.cli.version:version",
        "completion": "rkface.runtime.cli.completion:completion",
    },
}


class Command(NamedTuple):
    """``function`` of ``module`` takes the command's parser and adds arguments. Its docstring is the help."""

    name: str
    module: str
    function: str

    def load(self) -> Callable[..., None]:
        """Import the module, and return the function."""
        declare: Callable[..., None] = getattr(import_module(self.module), self.function)
        return declare


def installed_commands() -> list[Command]:
    """The commands of the installed parts of rkface: a board has neither conversion nor calibration."""
    commands = [Command(name, *place.split(":")) for names in TASKS.values() for name, place in names.items()]
    parts = {part for part in {_part(command) for command in commands} if find_spec(part)}
    return [command for command in commands if _part(command) in parts]


def _part(command: Command) -> str:
    """The package of a command's part of rkface: "rkface.runtime"."""
    return ".".join(command.module.split(".")[:2])
