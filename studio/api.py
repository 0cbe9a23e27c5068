"""What is no page: uploads, pictures, predictions and downloads, below ``/api/``.

Bodies are raw bytes, never forms; names come as query parameters and are checked where they are used.
Answers are JSON, errors ``{"error": …}`` in the visitor's language.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, JSONResponse, Response

from imago.edge_runtime.errors import ImagoError, InputError
from imago.edge_runtime.messages import LANGUAGES, language
from imago.studio import datasets, incoming
from imago.studio.answers import Answers
from imago.studio.context import Studio
from imago.studio.language import COOKIE, in_thread, speaking
from imago.studio.workspace import plain

NO_PICTURE = Path(__file__).parent / "static" / "no-picture.svg"
MAX_UPLOAD = incoming.MAX_ZIP
BLOCK = 1 << 20
SHOWN = frozenset({".html", ".svg", ".png", ".jpg"})  # what a page may show; the rest is to keep
DOWNLOADS = SHOWN | {".onnx", ".tflite", ".py", ".json", ".safetensors"}
Answer = Callable[[Request], Awaitable[Response]]


class Api:
    """The handlers of one studio."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio
        self._answers = Answers(studio.workspace)
        self._busy = asyncio.Semaphore(2)  # uploads that are unpacked or decoded at a time

    async def zip(self, request: Request) -> Response:
        """``POST /api/upload/zip?name=`` → a new data set."""
        name = _ask(request, "name")
        with incoming.Arriving(self._studio.workspace, incoming.MAX_ZIP) as arriving:
            await _receive(request, arriving)
            async with self._busy:
                made = await in_thread(incoming.take_zip, self._studio.workspace, arriving.path, name)
        return JSONResponse({"set": made.name})

    async def begin(self, request: Request) -> Response:
        """``POST /api/upload/begin?name=`` → an empty set that files can be sent to."""
        made = incoming.begin_set(self._studio.workspace, _ask(request, "name"))
        return JSONResponse({"set": made.name})

    async def file(self, request: Request) -> Response:
        """``POST /api/upload/file?set=&path=`` → one picture more."""
        name, path = _ask(request, "set"), _ask(request, "path")
        with incoming.Arriving(self._studio.workspace, incoming.MAX_PICTURE) as arriving:
            await _receive(request, arriving)
            async with self._busy:
                took = await in_thread(incoming.take_file, self._studio.workspace, arriving.path, name, path)
        return JSONResponse({"file": took.name})

    async def predict(self, request: Request) -> Response:
        """``POST /api/upload/predict?model=`` with a picture file → what is on it."""
        body = await _body(request, incoming.MAX_PICTURE)
        answer = await in_thread(self._answers.of_file, _ask(request, "model"), body)
        return JSONResponse(answer)

    async def look(self, request: Request) -> Response:
        """``POST /api/upload/look?model=&width=&height=`` with RGBA bytes of a webcam → what is on it."""
        width, height = _number(request, "width"), _number(request, "height")
        body = await _body(request, 4 * 1280 * 1280)
        answer = await in_thread(self._answers.of_pixels, _ask(request, "model"), body, width, height)
        return JSONResponse(answer)

    async def keep(self, request: Request) -> Response:
        """``POST /api/upload/keep`` with a picture → a number by which the page may look at it again."""
        with incoming.Arriving(self._studio.workspace, incoming.MAX_PICTURE) as arriving:
            await _receive(request, arriving)
            name = await in_thread(incoming.keep, self._studio.workspace, arriving.path)
        return JSONResponse({"kept": name})

    async def picture(self, request: Request) -> Response:
        """``GET /api/picture/SET/SPLIT/INDEX?side=`` → a small JPEG; a sign for what is damaged or gone.

        A page shows what it saw when it was drawn: that pictures are damaged or taken away is nothing that
        its browser could do wrong, and the data check has the words for it.
        """
        p = request.path_params
        side = min(1024, max(16, int(request.query_params.get("side", datasets.THUMB))))
        name = plain(p["name"])
        try:
            found = datasets.find_set(self._studio.workspace, name)
            body = await in_thread(datasets.thumbnail, found, p["split"], p["index"], side)
        except ImagoError:
            return FileResponse(NO_PICTURE, headers={"Cache-Control": "no-store"})
        return Response(body, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=60"})

    async def download(self, request: Request) -> Response:
        """``GET /api/download/PATH`` → a file of a run, to keep."""
        path = self._studio.workspace.inside(request.path_params["path"])
        within = path.is_relative_to(self._studio.workspace.runs.resolve())
        if not within or path.suffix not in DOWNLOADS or not path.is_file():
            raise InputError("{path} is not in the workspace", path=path.name)
        shown = request.query_params.get("show") == "1" and path.suffix in SHOWN
        return FileResponse(
            path,
            filename=path.name,
            content_disposition_type="inline" if shown else "attachment",
            headers={
                "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
            },
        )


def install(application: FastAPI, studio: Studio) -> None:
    """Add the routes."""
    api = Api(studio)
    for path, answer in {
        "/api/upload/zip": api.zip,
        "/api/upload/begin": api.begin,
        "/api/upload/file": api.file,
        "/api/upload/predict": api.predict,
        "/api/upload/look": api.look,
        "/api/upload/keep": api.keep,
    }.items():
        application.add_route(path, _speaking(answer), methods=["POST"])
    application.add_route("/api/picture/{name}/{split}/{index:int}", _speaking(api.picture))
    application.add_route("/api/download/{path:path}", _speaking(api.download))


def _speaking(answer: Answer) -> Answer:
    """In the visitor's language; what can be mended becomes one line of JSON."""

    async def handler(request: Request) -> Response:
        chosen = request.cookies.get(COOKIE, "")
        with speaking(chosen if chosen in LANGUAGES else language()):
            try:
                return await answer(request)
            except ImagoError as error:
                return JSONResponse({"error": str(error)}, status_code=400)
            except ValueError as error:
                return JSONResponse({"error": str(error)[:200]}, status_code=400)

    return handler


def _ask(request: Request, name: str) -> str:
    value = request.query_params.get(name, "")
    if not value or len(value) > 500:
        raise InputError("'{text}' is no name; use letters, digits and spaces", text=value[:60])
    return value


def _number(request: Request, name: str) -> int:
    value = _ask(request, name)
    if not value.isascii() or not value.isdigit() or len(value) > 5:
        raise InputError("'{text}' is no name; use letters, digits and spaces", text=value[:60])
    return int(value)


async def _receive(request: Request, arriving: incoming.Arriving) -> None:
    """The body, to disk; in blocks, so that the event loop is never held up for long."""
    gathered = bytearray()
    async for block in request.stream():
        gathered += block
        if len(gathered) >= BLOCK:
            await in_thread(arriving.write, bytes(gathered))
            gathered.clear()
    await in_thread(arriving.write, bytes(gathered))
    arriving.close()


async def _body(request: Request, limit: int) -> bytes:
    gathered = bytearray()
    async for block in request.stream():
        gathered += block
        if len(gathered) > limit:
            raise incoming.too_large(limit)
    return bytes(gathered)


def relative(studio: Studio, path: Path) -> str:
    """The part of a download's address that names ``path``."""
    return path.relative_to(studio.workspace.root).as_posix()
