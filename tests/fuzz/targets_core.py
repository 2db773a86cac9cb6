"""Readers of runtime/core."""

import tempfile
from pathlib import Path

from fuzz_target import Target

from rkface.runtime.core.toml import read_toml

FOLDER = Path(tempfile.mkdtemp(prefix="fuzz-core-"))


def read_toml_file(data: bytes) -> object:
    path = FOLDER / "rkface.toml"
    path.write_bytes(data)
    return read_toml(path)


TARGETS = (
    Target("toml", read_toml_file, lambda: [b'[web]\nport = 8080\nhost = "::1"\n', b"a = [1, 2.5, 1979-05-27]\n"]),
)
