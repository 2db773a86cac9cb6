"""Downloads a file of a pack, from its addresses or from the package index that pip uses, and verifies it."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path

from rkface.runtime.core.bundle import sha256
from rkface.runtime.core.errors import WorkError
from rkface.runtime.core.progress import Stage, stage

from .pack import Download

CHUNK = 1 << 18
TIMEOUT = 30.0  # seconds without any data


class _DownloadError(Exception):
    """Why a file did not come from an address."""


def download(wanted: Download, target: Path) -> None:
    """Download ``wanted`` to ``target``.

    A download from an address that is interrupted stays as ``target``.part; the next call resumes it. Raises WorkError
    if no source has the file: the message says how to copy it there by hand.
    """
    with stage(f"download {wanted.file}") as shown:
        if wanted.requirement:
            _download_package(wanted, target)
        else:
            _download_from_addresses(wanted, target, shown)
        shown.note = f"{target.stat().st_size / 1e6:.1f} MB"


def _download_from_addresses(wanted: Download, target: Path, shown: Stage) -> None:
    reasons = []
    for url in wanted.urls:
        try:
            _download_from(url, wanted, target, shown)
            return
        except _DownloadError as error:
            reasons.append(f"{url}: {error}")
    raise WorkError(
        f"{'; '.join(reasons)}. Run the same command again to resume the download, or download the file on another "
        f"machine and copy it to {target}"
    )


def _download_from(url: str, wanted: Download, target: Path, shown: Stage) -> None:
    partial = target.with_name(f"{target.name}.part")
    try:
        _fetch(url, partial, wanted.bytes, shown)
    except (urllib.error.URLError, HTTPException, OSError) as error:
        raise _DownloadError(f"the download failed ({getattr(error, 'reason', None) or error})") from error
    if sha256(partial) != wanted.sha256:
        partial.unlink()
        raise _DownloadError(f"the downloaded file is not the known {wanted.file} (its SHA-256 differs)")
    partial.replace(target)


def _fetch(url: str, partial: Path, expected: int, shown: Stage) -> None:
    have = partial.stat().st_size if partial.is_file() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        answer = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if have and error.code == 416:  # the file is already complete: the checksum decides
            return
        raise
    with answer, partial.open("ab" if answer.status == 206 else "wb") as file:
        done = file.tell()
        total = done + int(answer.headers.get("Content-Length") or max(expected - done, 0))
        while chunk := answer.read(CHUNK):
            file.write(chunk)
            done += len(chunk)
            shown.advance(done >> 20, max(total, done) >> 20)
        if done < total:
            raise OSError(f"the connection ended after {done / 1e6:.1f} of {total / 1e6:.1f} MB")


def _download_package(wanted: Download, target: Path) -> None:
    """Let pip download a source package: it knows the index, proxy and certificates of this machine.

    pip compares the SHA-256 before it runs the package's setup.py, which it does for its metadata.
    """
    with tempfile.TemporaryDirectory(dir=target.parent) as name:
        folder = Path(name)
        requirements = folder / "requirements.txt"
        requirements.write_text(f"{wanted.requirement} --hash=sha256:{wanted.sha256}\n", encoding="utf-8")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        command += ["--no-binary", ":all:", "--no-build-isolation", "--require-hashes", "--dest", str(folder)]
        done = subprocess.run(
            [*command, "-r", str(requirements)], capture_output=True, text=True, errors="replace", check=False
        )
        found = folder / wanted.file
        if done.returncode or not found.is_file():
            raise WorkError(
                f"pip cannot download {wanted.requirement} ({_reason(done.stderr)}). Run the same command again, or "
                f"download {wanted.file} on another machine (pip download --no-deps --no-binary :all: "
                f"{wanted.requirement}) and copy it to {target}"
            )
        if sha256(found) != wanted.sha256:
            raise WorkError(f"{wanted.file} of the package index is another file (its SHA-256 differs)")
        found.replace(target)


def _reason(messages: str) -> str:
    """The last error in what pip wrote."""
    lines = [line.strip() for line in messages.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR:").strip() for line in lines if line.startswith("ERROR:")]
    return (errors or lines or ["it says nothing"])[-1]
