"""``serve``: the studio as one program, from options to the end of the server."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import threading
import webbrowser
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from urllib.parse import quote

import uvicorn
from fastapi import FastAPI, Request
from nicegui import app as nicegui_app
from nicegui import ui
from starlette.responses import FileResponse
from starlette.staticfiles import StaticFiles

from imago.edge_runtime.errors import ImagoError, InputError, StorageError
from imago.edge_runtime.messages import tr
from imago.edge_runtime.records.lock import FolderLock
from imago.edge_runtime.web.guard import Guard, new_token
from imago.studio import api
from imago.studio.choices import Memory
from imago.studio.context import Studio
from imago.studio.door import DOOR, Door
from imago.studio.jobs.queue import Queue
from imago.studio.language import HTML, greet, listen
from imago.studio.options import StudioOptions
from imago.studio.registry import addresses
from imago.studio.shell import Shell, complain, expected
from imago.studio.workspace import Workspace

STATIC = Path(__file__).parent / "static"
TURN_S = 0.3
HEAD = """<link rel="stylesheet" href="/static/studio.css"><script src="/static/studio.js" defer></script>\
<script src="/static/typing.js" defer></script><script src="/static/send.js" defer></script>\
<script src="/static/camera.js" defer></script>"""


def serve(
    options: StudioOptions, *, say: Callable[[str], None] = lambda text: None, lesson: bool = False
) -> None:
    """Open the workspace, listen, and serve until Ctrl-C.

    Raises StorageError where the workspace cannot be written or another studio has it, InputError where the
    address cannot be used.
    """
    workspace = Workspace(options.workspace)
    lock = _only_one(workspace)
    try:
        studio = Studio(workspace, Memory(workspace.choices), Queue(workspace.jobs), lesson, options.local)
        listener = _listen(options)
        port = listener.getsockname()[1]
        token = None if options.local else (options.token or new_token())
        _announce(options, port, token, workspace, say)
        application = Door(build(studio), Guard(token, [options.host]), api.MAX_UPLOAD)
        _run(application, listener)
        studio.memory.save()
        studio.jobs.close()
        say(tr("The studio has ended; an unfinished training goes on when it is started again."))
    finally:
        lock.release()


def build(studio: Studio) -> FastAPI:
    """The application: NiceGUI's pages, uploads and downloads."""

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        turning = asyncio.create_task(_turn(studio))
        yield
        turning.cancel()

    application = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    application.mount("/static", StaticFiles(directory=STATIC))
    for path, name in {DOOR: "door.html", f"{DOOR}.css": "door.css", f"{DOOR}.js": "door.js"}.items():
        application.add_route(path, _file(STATIC / name))
    api.install(application, studio)
    listen()
    ui.add_head_html(HEAD, shared=True)
    nicegui_app.on_exception(complain)
    logging.getLogger("nicegui").addFilter(expected)
    ui.run_with(
        application,
        root=_page(studio),
        title="imago studio",
        favicon=STATIC / "icon.svg",
        tailwind=False,
        reconnect_timeout=30.0,
        show_welcome_message=False,
        binding_refresh_interval=None,
    )
    return application


def _file(path: Path) -> Callable[[Request], Awaitable[FileResponse]]:
    async def answer(request: Request) -> FileResponse:
        return FileResponse(path)

    return answer


def _page(studio: Studio) -> Callable[[Request], None]:
    def root(request: Request) -> None:
        client = ui.context.client
        client.page.language = HTML[greet(client, request)]  # type: ignore[assignment]
        Shell(studio)

    return root


async def _turn(studio: Studio) -> None:
    """Look after the queue; a full disk or a folder that has gone must not end it."""
    while True:
        try:
            studio.jobs.turn()
        except (OSError, ImagoError):
            logging.getLogger("imago.studio").exception("the queue")
        await asyncio.sleep(TURN_S)


def _only_one(workspace: Workspace) -> FolderLock:
    try:
        return FolderLock(workspace.root)
    except StorageError as error:
        raise StorageError(
            "another studio uses {path}; end it, or choose another folder with --folder", path=workspace.root
        ) from error


def _listen(options: StudioOptions) -> socket.socket:
    host = "127.0.0.1" if options.host == "localhost" else options.host
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        if sys.platform != "win32":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, options.port))
        listener.listen(128)  # whoever comes before the server is ready waits, and is not turned away
    except (OSError, OverflowError) as error:
        raise InputError(
            "cannot listen on {host}, port {port} ({reason}); choose another with --host and --port",
            host=options.host,
            port=options.port,
            reason=getattr(error, "strerror", None) or error,
        ) from error
    return listener


def _announce(
    options: StudioOptions, port: int, token: str | None, workspace: Workspace, say: Callable[[str], None]
) -> None:
    host = socket.gethostname() if options.host in ("0.0.0.0", "::") else options.host  # noqa: S104
    shown = f"[{host}]" if ":" in host else host
    base = f"http://{shown}:{port}"
    start = options.start if options.start in addresses() else "/"
    address = f"{base}{start}" if token is None else f"{base}{DOOR}#token={quote(token)}"
    say(tr("The studio is open at {address}", address=address))
    say(tr("Everything is kept in {folder}; Ctrl-C ends the studio.", folder=workspace.root))
    if options.browser and not os.environ.get("IMAGO_NO_BROWSER"):
        threading.Timer(0.8, webbrowser.open, [address]).start()


def _run(application: Door, listener: socket.socket) -> None:
    config = uvicorn.Config(
        application,
        log_level="warning",
        access_log=False,
        ws="websockets-sansio",
        ws_max_size=4 << 20,
        timeout_graceful_shutdown=2,
        server_header=False,
        date_header=False,
    )
    server = _Server(config)
    server.run(sockets=[listener])


class _Server(uvicorn.Server):
    """Ends on Ctrl-C and SIGTERM, and does not raise them again afterwards: there is work to save."""

    @contextlib.contextmanager
    def capture_signals(self):  # type: ignore[no-untyped-def]
        numbers = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, self.handle_exit) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
