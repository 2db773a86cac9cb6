"""``rkface access``: users of the console and tokens of programs. Imports nothing heavy before it runs."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.arguments import positive_integer
from ..core.errors import InputError
from ..core.text import in_a_line
from ..web.scopes import EXPLAINED, ROLES, SCOPES
from .gallery_options import add_gallery_path, format_time, gallery_path
from .options import add_json, print_json
from .parser import add_actions

if TYPE_CHECKING:
    from ..web.accounts import Accounts


def access(parser: ArgumentParser) -> None:
    """Manage who may use the web console and its API: users with a role, and tokens for programs.

    They are stored beside the gallery, and a running service notices every change at once. The owner of the password
    file (`rkface web-password`) may always do everything. --accounts names the file of `rkface hub serve` instead.

    roles of a user:
      viewer     read
      operator   read, identify and enroll
      admin      everything

    examples:
      rkface access create-token "door controller" --scope identify
      rkface access revoke-token 3f9c2a71b0de
      rkface access set-user ada --role operator
      rkface access log
    """
    scopes = "\n".join(f"  {scope:10} {meaning}" for scope, meaning in EXPLAINED.items())
    parser.description = f"{parser.description}\n\nscopes of a token:\n{scopes}"
    add_actions(parser, (create_token, tokens, revoke_token, set_user, users, remove_user, log))


def create_token(parser: ArgumentParser) -> None:
    """Create a token for a program, and print it. It is shown only now: only a hash is stored.

    A program sends it as the header "Authorization: Bearer TOKEN".

    examples:
      rkface access create-token "door controller" --scope identify
      rkface access create-token backup --scope read --scope enroll --json
    """
    parser.add_argument("name", metavar="NAME", help="which program uses it")
    parser.add_argument("--scope", action="append", choices=SCOPES, required=True, help="what it may do; repeatable")
    _add_file(parser)
    add_json(parser, "one object: the token, with its secret")
    parser.set_defaults(run=_create_token)


def tokens(parser: ArgumentParser) -> None:
    """List the tokens, newest first, with their scopes and when they were used last.

    examples:
      rkface access tokens
      rkface access tokens --json
    """
    _add_file(parser)
    add_json(parser, "one object per line")
    parser.set_defaults(run=_tokens)


def revoke_token(parser: ArgumentParser) -> None:
    """Delete a token: the next request with it is refused.

    examples:
      rkface access revoke-token 3f9c2a71b0de
    """
    parser.add_argument("id", metavar="ID", help="from `rkface access tokens`; it is also the beginning of the token")
    _add_file(parser)
    parser.set_defaults(run=_revoke_token)


def set_user(parser: ArgumentParser) -> None:
    """Add a user, or change a user's role and password.

    Asks for the password twice, or reads one line if stdin is not a terminal.

    examples:
      rkface access set-user ada --role operator
      rkface access set-user ada --role viewer --keep-password
    """
    parser.add_argument("name", metavar="NAME", help="name of the user")
    parser.add_argument("--role", choices=tuple(ROLES), required=True, help="what the user may do")
    parser.add_argument("--keep-password", action="store_true", help="change only the role")
    _add_file(parser)
    parser.set_defaults(run=_set_user)


def users(parser: ArgumentParser) -> None:
    """List the users and their roles.

    examples:
      rkface access users
    """
    _add_file(parser)
    add_json(parser, "one object per line")
    parser.set_defaults(run=_users)


def remove_user(parser: ArgumentParser) -> None:
    """Remove a user, which ends the user's sessions.

    examples:
      rkface access remove-user ada
    """
    parser.add_argument("name", metavar="NAME", help="name of the user")
    _add_file(parser)
    parser.set_defaults(run=_remove_user)


def log(parser: ArgumentParser) -> None:
    """Show who signed in and changed what, newest first. It names no person of the gallery.

    examples:
      rkface access log --limit 20
    """
    parser.add_argument(
        "--limit", type=positive_integer, default=100, metavar="N", help="how many lines (default: %(default)s)"
    )
    _add_file(parser)
    add_json(parser, "one object per line")
    parser.set_defaults(run=_log)


def _add_file(parser: ArgumentParser) -> None:
    add_gallery_path(parser)
    parser.add_argument(
        "--accounts",
        type=Path,
        metavar="FILE",
        help="the file of `rkface hub serve`, instead of a gallery's",
    )


def _create_token(options: Namespace) -> int:
    with _open(options, create=True) as accounts:
        token, secret = accounts.create_token(options.name, options.scope)
        accounts.note("command line", "create_token")
    if options.json:
        print_json({**asdict(token), "secret": secret})
    else:
        print(secret)
        print("rkface: keep it now: it cannot be shown again", file=sys.stderr)
    return 0


def _tokens(options: Namespace) -> int:
    with _open(options) as accounts:
        for token in accounts.tokens():
            if options.json:
                print_json(asdict(token))
            else:
                used = f"used {format_time(token.used)}" if token.used else "never used"
                print(in_a_line(f"{token.id}  {token.name}: {', '.join(token.scopes)}; {used}"))
    return 0


def _revoke_token(options: Namespace) -> int:
    with _open(options) as accounts:
        token = accounts.revoke_token(options.id)
        accounts.note("command line", "revoke_token")
    print(f"revoked: {in_a_line(token.name)}")
    return 0


def _set_user(options: Namespace) -> int:
    from ..web.password import ask_password

    password = None if options.keep_password else ask_password()
    with _open(options, create=True) as accounts:
        accounts.set_user(options.name, options.role, password)
        accounts.note("command line", "set_user")
    print(f"{options.name}: {options.role}")
    return 0


def _users(options: Namespace) -> int:
    with _open(options) as accounts:
        for user in accounts.users():
            print_json(asdict(user)) if options.json else print(f"{in_a_line(user.name)}: {user.role}")
    return 0


def _remove_user(options: Namespace) -> int:
    with _open(options) as accounts:
        accounts.remove_user(options.name)
        accounts.note("command line", "remove_user")
    print(f"removed: {in_a_line(options.name)}")
    return 0


def _log(options: Namespace) -> int:
    with _open(options) as accounts:
        for one in accounts.notes(options.limit):
            if options.json:
                print_json(asdict(one))
            else:
                client = f" from {one.client}" if one.client else ""
                print(in_a_line(f"{format_time(one.time)}  {one.who}{client}: {one.what.replace('_', ' ')}"))
    return 0


def _open(options: Namespace, *, create: bool = False) -> Accounts:
    """The accounts that the options name. Only with ``create``, a missing file is made."""
    from ..web.accounts import Accounts, accounts_path

    if options.accounts is not None:
        if options.gallery is not None:
            raise InputError("--gallery and --accounts contradict each other: use one of them")
        if not create and not options.accounts.exists():
            raise InputError(
                f"{options.accounts}: there is no such file: name that of `rkface hub serve --accounts`; "
                "create-token and set-user make a new one"
            )
        return Accounts(options.accounts, create=create)
    gallery = gallery_path(options)
    if not gallery.exists():
        raise InputError(f"{gallery}: there is no gallery: name the one of the service with --gallery")
    return Accounts(accounts_path(gallery), create=create)
