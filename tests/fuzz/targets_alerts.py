"""Readers of alerts: the file of their pictures, links to them, and URLs of Apprise."""

from contextlib import suppress
from urllib.parse import parse_qs, urlsplit

from fuzz_target import Target, temporary_folder

from rkface.runtime.core.errors import InputError
from rkface.runtime.events import PictureLinks, PictureStore
from rkface.runtime.events.push import Push

FOLDER = temporary_folder()
LINKS = PictureLinks(b"key of the gallery", "http://board:8080/", 3600.0)
URLS = (
    b"ntfys://token@ntfy.example/topic", b"mailto://user:password@example.org?to=ada@example.org",
    b"tgram://123456789:abcdefg_hijklmnop/12315544/", b"jsons://user:password@host:8080/path?+X-Token=abc",
    b"matrix://user:password@host/#room", b"gotify://host/token",
)  # fmt: skip


def read_store(data: bytes) -> object:
    path = FOLDER / "pictures"
    for old in FOLDER.glob("pictures*"):
        old.unlink()
    path.write_bytes(data)
    with PictureStore(path) as store:
        store.prune(["p-1"], {"p-2": "p-1"})
        id = store.add(b"\xff\xd8\xff", "a-3", "p-1")
        store.erase({"p-2"})
        return id, store.jpeg(id or ""), store.count(), store.link_key()


def store_seeds() -> list[bytes]:
    path = FOLDER / "seed"
    with PictureStore(path) as store:
        for number in range(3):
            store.add(b"\xff\xd8\xff" + bytes(50), f"a-{number}", f"p-{number}" if number else None)
        store.link_key()
    content = path.read_bytes()
    path.unlink()
    return [content]


def read_link(data: bytes) -> object:
    with suppress(ValueError):
        url = urlsplit(data.decode(errors="surrogateescape"))
        query = parse_qs(url.query)
        expires = int(query.get("expires", ["0"])[0][:30])
        signature = query.get("signature", [""])[0]
        return LINKS.is_valid(url.path.rpartition("/")[2], expires, signature)
    return None


def read_url(data: bytes) -> object:
    with suppress(InputError):
        return Push(data.decode(errors="replace"))
    return None


TARGETS = [
    Target("picture-store", read_store, store_seeds, mutations=60),
    Target("picture-link", read_link, lambda: [str(LINKS.describe("ab" * 16)["url"]).encode()], mutations=200),
    Target("notify-url", read_url, lambda: list(URLS), seconds=2.0, mutations=60),
]
