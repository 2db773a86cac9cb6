"""Print by how many megabytes a process with the modules of the service grows when it begins to follow a hub: a thread
syncs the gallery, and another connection sends events, as in the service.

hub_sync.py runs it, as ``hub_memory.py ADDRESS FOLDER [console]``, because what it measures must not be loaded before.
It prints the whole growth, and the growth without files of libraries, which the kernel can read again.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import rkface.runtime.service.service  # noqa: F401 - what the service loads anyway
from rkface.runtime.gallery.gallery import Gallery
from rkface.runtime.hub.client import HubClient
from rkface.runtime.hub.push import HubEvents

IDENTITY, PATIENCE = "1" * 32, 60.0  # seconds


def main(address: str, folder: str, console: str = "") -> int:
    if console:
        import rkface.runtime.web.serve  # noqa: F401 - it has some of what psycopg needs
    assert "psycopg" not in sys.modules
    with Gallery(Path(folder) / "memory.sqlite", IDENTITY, create=True) as gallery:
        before = measure()
        events = HubEvents(address)
        client = HubClient(
            address,
            gallery,
            before_erasing=lambda person: None,
            on_erased=lambda: (),
            describe=lambda: {"version": "bench"},
        )
        with client:
            until = time.perf_counter() + PATIENCE
            events.maintain(lambda: None)
            while not client.state().connected:
                assert time.perf_counter() < until, client.state().error
                time.sleep(0.01)
            time.sleep(2)  # a round that finds nothing new
            print(*(now - then for now, then in zip(measure(), before, strict=True)))
        events.close()
    return 0


def measure() -> tuple[float, float]:
    """Megabytes of this process in memory: all, and without files."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    return tuple(int(fields[name].split()[0]) * 1024 / 1e6 for name in ("VmRSS", "RssAnon"))


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
