"""Print by how many megabytes a process with the modules of the service grows when it begins to follow a hub.

hub_sync.py runs it, as ``hub_memory.py ADDRESS FOLDER``, because what it measures must not be loaded before.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import rkface.runtime.service.service  # noqa: F401 - what the service loads anyway
from rkface.runtime.gallery.gallery import Gallery
from rkface.runtime.hub.client import HubClient

IDENTITY, PATIENCE = "1" * 32, 60.0  # seconds


def main(address: str, folder: str) -> int:
    assert "psycopg" not in sys.modules
    with Gallery(Path(folder) / "memory.sqlite", IDENTITY, create=True) as gallery:
        before = resident()
        client = HubClient(
            address,
            gallery,
            before_erasing=lambda person: None,
            on_erased=lambda: (),
            describe=lambda: {"version": "bench"},
        )
        with client:
            until = time.perf_counter() + PATIENCE
            while not client.state().connected:
                assert time.perf_counter() < until, client.state().error
                time.sleep(0.01)
            time.sleep(2)  # a round that finds nothing new
            print(resident() - before)
    return 0


def resident() -> float:
    """Megabytes of this process in memory: its own, and what it has read of libraries."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return int(dict(line.split(":", 1) for line in lines)["VmRSS"].split()[0]) * 1024 / 1e6


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
