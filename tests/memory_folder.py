"""A folder in memory for the files of the tests: galleries and queues bring each change to the disk, and most tests of
them would only wait for it."""

import os
import re
import tempfile
from pathlib import Path

FOLDER = Path("/dev/shm")
ROOM = 3_000_000_000  # bytes: what all tests write, twice
AVAILABLE = 6_000_000_000  # bytes of memory that must be available, because conversions need some, too


def use_memory():
    """Make FOLDER the folder for temporary files of this process and of those that it starts. Not if $TMPDIR names
    another one, if there is not enough memory, or if programs cannot run there, as in many containers."""
    if "TMPDIR" in os.environ or not os.access(FOLDER, os.W_OK | os.X_OK):
        return
    there = os.statvfs(FOLDER)
    found = re.search(r"^MemAvailable: +(\d+) kB", Path("/proc/meminfo").read_text(encoding="ascii"), re.MULTILINE)
    enough = there.f_bavail * there.f_frsize >= ROOM and found and int(found[1]) * 1024 >= AVAILABLE
    if enough and not there.f_flag & os.ST_NOEXEC:
        os.environ["TMPDIR"], tempfile.tempdir = str(FOLDER), None
