"""``rkface alerts``: try whether alerts arrive. Imports nothing heavy before an action runs."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

from ..core.errors import InputError, RkfaceError
from ..core.messages import show_message
from .options import add_json, print_json
from .parser import add_actions
from .run import CONFIG


def alerts(parser: ArgumentParser) -> None:
    """Try whether alerts arrive at their receivers. The rules for alerts are in the configuration (docs/alerts.md).

    examples:
      rkface alerts test notify.phone
      rkface config check --days 7        # what each rule does, and what it would have sent
    """
    add_actions(parser, (test,))


def test(parser: ArgumentParser) -> None:
    """Send a test message to receivers: webhook, mqtt, file, or notify.NAME. Without a name, to all of them.

    The message says that alerts can arrive; it contains no person. A receiver that gets pictures with alerts gets a
    drawn one. Webhook, broker and file get an event of the kind rkface.test (docs/events.md). It is sent at once, also
    while the service runs, and not repeated. Secrets from environment variables (env:NAME) must be set here as they are
    for the service.

    With --json, prints one object for each receiver: {"receiver", "delivered", "problem"}. Exit code: 1 if a receiver
    did not get the message, 2 if its settings cannot be used.

    examples:
      rkface alerts test
      rkface alerts test notify.phone --config rkface.toml
    """
    parser.add_argument(
        "receivers", nargs="*", metavar="RECEIVER", help="as in the setting receivers of a rule (default: all)"
    )
    parser.add_argument(
        "--config", type=Path, default=CONFIG, metavar="FILE", help="a TOML file (default: %(default)s)"
    )
    add_json(parser, "one object a line")
    parser.set_defaults(run=_test)


def _test(options: Namespace) -> int:
    from ..service.config import read_settings
    from ..service.receiver_trial import send_test_message, testable_receivers

    settings = read_settings(options.config)
    receivers = options.receivers or testable_receivers(settings)
    if not receivers:
        raise InputError(f"{options.config}: no receiver is configured that could be tested: see docs/events.md")
    code = 0
    for name in receivers:
        problem = None
        if sys.stderr.isatty():
            print(f"rkface: sending to {name}…", file=sys.stderr)
        try:
            send_test_message(settings, name)
        except RkfaceError as error:
            problem, code = str(error), max(code, error.exit_code)
        if options.json:
            print_json({"receiver": name, "delivered": problem is None, "problem": problem})
        elif problem:
            show_message(problem)
        else:
            print(f"{name}: has the test message")
    return code
