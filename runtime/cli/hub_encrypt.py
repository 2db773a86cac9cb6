"""``rkface hub encrypt``. Imports nothing heavy before it runs."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from ..core.text import counted
from .hub_options import add_hub, open_hub


def encrypt(parser: ArgumentParser) -> None:
    """Encrypt the embeddings in the database, with a key that the database never gets. It cannot be undone.

    Boards have the key, and encrypt embeddings before they send them: copy the file to each board, mode 0600, and name
    it in its settings: [hub] key = "/etc/rkface/hub.key". A board without it does not sync; it names people until its
    lease ends. THE HUB CANNOT SEARCH ENCRYPTED EMBEDDINGS: `rkface hub search` and POST /v1/search stop. Names, sites
    and events stay readable. Who loses the key has to enroll everybody again from a board's gallery.

    The tables are rewritten, so that nothing readable stays in them. PostgreSQL's write-ahead log and older backups
    of the database are not changed.

    examples:
      rkface hub encrypt --key hub.key           makes the key, if there is no such file
    """
    parser.add_argument(
        "--key", type=Path, required=True, metavar="FILE", help="the key; a new one if it does not exist"
    )
    add_hub(parser)
    parser.set_defaults(run=_encrypt)


def _encrypt(options: Namespace) -> int:
    from ..core.progress import stage
    from ..gallery.encryption import make_key, read_key
    from ..hub.sealed import check_plain, encrypt_hub

    with open_hub(options) as hub:
        check_plain(hub)  # before a key is made that nobody needs
        key = read_key(options.key) if options.key.exists() else make_key(options.key)
        with stage("encrypting") as line:
            count = encrypt_hub(hub, key, line.advance)
            line.note = counted(count, "embedding")
    print(f"encrypted; next: copy {options.key} to each board, and name it there: [hub] key")
    return 0
