"""Downloading a file so that a cut line costs only what is missing: resume, retries over mirrors, checksum.

What has arrived lies in ``NAME.part`` beside the target and is continued with an HTTP Range request; the
target appears in one rename, after its checksum was right.
"""

from __future__ import annotations

import hashlib
import time
import urllib.request
from collections.abc import Callable, Sequence
from http.client import HTTPException, HTTPMessage
from pathlib import Path
from typing import IO, Any
from urllib.error import HTTPError
from urllib.parse import urlsplit

from imago.edge_runtime.errors import DataError, StorageError
from imago.edge_runtime.messages import tr
from imago.edge_runtime.progress import Progress

BLOCK = 1 << 16
KILO = 1024
ROUNDS = 3
TIMEOUT_S = 30.0


class _NoDowngrade(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but never from https to something that anyone on the way can change."""

    def redirect_request(  # noqa: PLR0917 - the signature is urllib's
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        if urlsplit(req.full_url).scheme == "https" and urlsplit(newurl).scheme != "https":
            raise HTTPError(newurl, code, "redirected away from https", headers, fp)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def download(
    urls: Sequence[str],
    target: Path,
    *,
    sound: Callable[[Path], bool],
    limit: int,
    progress: bool = True,
    pause_s: float = 1.0,
) -> None:
    """Fetch ``target`` from the first of ``urls`` that delivers a sound file; does nothing if it is there.

    sound: whether a complete file is the right one (checksum). limit: bytes beyond which nothing is taken.
    pause_s: waiting time before all mirrors are tried again, doubled each time.

    Raises DataError with the last reason when no mirror delivers, StorageError when the disk refuses.
    """
    if target.is_file() and sound(target):
        return
    part = target.with_name(target.name + ".part")
    reason = ""
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        for attempt in range(ROUNDS):
            if attempt:
                time.sleep(pause_s * 2 ** (attempt - 1))
            for url in urls:
                reason = _attempt(url, part, limit, progress)
                if not reason and sound(part):
                    part.replace(target)
                    return
                if not reason:
                    part.unlink()  # whole but wrong: a resume would keep the mistake
                    reason = tr("wrong checksum")
    except OSError as error:
        raise StorageError(
            "cannot write {path}: {reason}; free some space or choose another place",
            path=target,
            reason=error.strerror or error,
        ) from error
    raise DataError(
        "cannot download {name}: {reason}; check the network and try again (it continues where it stopped), "
        "or bring {url} from another computer and put it into {folder}",
        name=target.name,
        reason=reason,
        url=urls[0],
        folder=target.parent,
    )


def md5_is(expected: str) -> Callable[[Path], bool]:
    """A check for ``download``. md5 is what these data sets publish; it guards against accidents."""

    def check(path: Path) -> bool:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False))
        return found.hexdigest() == expected

    return check


def _attempt(url: str, part: Path, limit: int, progress: bool) -> str:
    """Try one mirror; "" when the file is whole, else the reason in words."""
    if urlsplit(url).scheme not in ("http", "https"):
        return f"{url}: http(s) only"
    have = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": "imago", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 - scheme checked above
    opener = urllib.request.build_opener(_NoDowngrade)
    try:
        with opener.open(request, timeout=TIMEOUT_S) as response:
            return _receive(response, part, have, limit, progress)
    except HTTPError as error:
        if error.code == 416 and have:  # nothing after what is there: whole, or longer than the original
            total = (error.headers.get("Content-Range") or "").rpartition("/")[2]
            if total == str(have):
                return ""
            part.unlink()
        return f"{url}: HTTP {error.code} {error.reason}"
    except _DiskError as error:
        raise error.original from error
    except (OSError, HTTPException) as error:
        return f"{url}: {getattr(error, 'reason', '') or error or type(error).__name__}"


class _DiskError(Exception):
    """An OSError of the disk, told apart from those of the network."""

    def __init__(self, original: OSError) -> None:
        super().__init__(str(original))
        self.original = original


def _receive(response: Any, part: Path, have: int, limit: int, progress: bool) -> str:
    """Append to ``part`` (or start it again where the server ignores Range) until the stream ends."""
    resumed = response.status == 206 and _starts_at(response.headers.get("Content-Range"), have)
    if response.status == 206 and not resumed:
        part.unlink(missing_ok=True)
        return tr("the server continued at a wrong place")
    begin = have if resumed else 0
    announced = response.headers.get("Content-Length")
    total = begin + int(announced) if announced and announced.isdigit() else 0
    if total > limit:
        return tr("the file is larger than expected ({n} bytes)", n=total)
    done = begin
    with _open_part(part, resumed) as file, Progress(total // KILO, part.stem) as bar:
        bar.enabled = bar.enabled and progress
        bar.advance(begin // KILO, "kB")
        while block := response.read(BLOCK):
            if done + len(block) > limit:
                return tr("the file is larger than expected ({n} bytes)", n=done + len(block))
            try:
                file.write(block)
            except OSError as error:
                raise _DiskError(error) from error
            bar.advance((done + len(block)) // KILO - done // KILO)
            done += len(block)
    return "" if not total or done == total else tr("the connection broke off")


def _open_part(part: Path, resumed: bool) -> IO[bytes]:
    try:
        return part.open("ab" if resumed else "wb")
    except OSError as error:
        raise _DiskError(error) from error


def _starts_at(content_range: str | None, offset: int) -> bool:
    return (content_range or "").strip().startswith(f"bytes {offset}-")
