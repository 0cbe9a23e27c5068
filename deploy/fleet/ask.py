"""Asking many boards how they are: their agents over ssh, their live pages, or the broker they talk to."""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import SplitResult, urlsplit

from imago.deploy.fleet.inventory import Board
from imago.deploy.fleet.state import NOT_WELL, WELL, BoardState, away, from_agent
from imago.edge_runtime.errors import DeployError, ImagoError, InputError
from imago.edge_runtime.messages import tr
from imago.edge_runtime.mqtt.options import MqttOptions

AT_ONCE = 16
TIMEOUT_S = 20.0
MAX_ANSWER = 1 << 20
WAYS = ("ssh", "page", "mqtt")


@dataclass(frozen=True, slots=True)
class FleetOptions:
    """via: one of ``WAYS``. at_once: boards asked at the same time. timeout_s: for each board, and for the
    broker to deliver what it keeps."""

    via: str = "ssh"
    at_once: int = AT_ONCE
    timeout_s: float = TIMEOUT_S
    broker: MqttOptions | None = None

    def __post_init__(self) -> None:
        if self.via not in WAYS:
            raise InputError(
                "--{name} is {value}; expected one of: {choices}",
                name="via",
                value=self.via,
                choices=", ".join(WAYS),
            )
        if self.via == "mqtt" and self.broker is None:
            raise InputError("--via mqtt needs the broker: --broker mqtt://HOST")


def ask_all(
    boards: Sequence[Board], options: FleetOptions, heard: Callable[[BoardState], None] = lambda state: None
) -> list[BoardState]:
    """How each of ``boards`` is, in their order; ``heard`` is told each answer as it comes.

    A board that cannot be asked is a row, not an error. Raises ImagoError where nobody can be asked at all.
    """
    if options.broker is not None and options.via == "mqtt":
        from imago.deploy.fleet.broker import listen

        return listen(boards, options.broker, options.timeout_s)
    ask = partial({"ssh": over_ssh, "page": over_page}[options.via], timeout_s=options.timeout_s)

    def one(board: Board) -> BoardState:
        try:
            state = ask(board)
        except ImagoError as error:
            state = away(board.name, error)
        except (OSError, ValueError, AttributeError, TypeError) as error:
            state = away(board.name, tr("its answer cannot be read ({reason})", reason=error))
        heard(state)
        return state

    with ThreadPoolExecutor(min(options.at_once, len(boards)) or 1) as pool:
        return list(pool.map(one, boards))


def over_ssh(board: Board, *, timeout_s: float) -> BoardState:
    """Ask the agent. Nothing is asked for on the terminal: keys, known hosts and sudo must be set up."""
    from imago.deploy.push.remote import Remote
    from imago.deploy.push.ssh import Ssh, Target

    options = ("BatchMode=yes", *board.options)
    target = Target(board.address, board.port, board.identity, options=options)
    with Ssh(target, limit_s=timeout_s) as ssh:
        remote = Remote(ssh, board.root, systemd=board.systemd, ask_password=_no_password)
        return from_agent(board.name, remote.command("status").result)


def _no_password() -> str:
    raise DeployError(
        "sudo asks for a password there; ask for one board alone with imago deploy HOST --status"
    )


def over_page(board: Board, *, timeout_s: float) -> BoardState:
    """Ask the live page: whether frames come, for everybody; what runs, for those who have its token."""
    address = urlsplit(board.page if board.page else f"http://{board.host}:8080")
    if address.scheme not in ("http", "https") or not address.hostname:
        raise InputError("{page} is no page's address; expected http://HOST:PORT", page=board.page)
    get = partial(_get, address, timeout_s)
    try:
        code, health = get("/healthz", None)
    except (OSError, http.client.HTTPException) as error:
        raise DeployError(
            "its page does not answer ({reason}); a page is reached from outside only where its bundle was "
            "made with --web 0.0.0.0:8080",
            reason=error,
        ) from error
    info: Mapping[str, Any] = {}
    if board.token:
        info_code, info = get("/api/info", board.token)
        if info_code == http.HTTPStatus.UNAUTHORIZED:
            raise DeployError("its page does not take the token in the inventory (imago_page_token)")
    return BoardState(
        board.name,
        WELL if code == http.HTTPStatus.OK else NOT_WELL,
        bundle=info.get("model"),
        imago=info.get("version"),
        frames=health.get("frames"),
        last_frame_s=health.get("last_frame_s"),
        reason="" if code == http.HTTPStatus.OK else tr("no frames come from the camera"),
    )


def _get(address: SplitResult, timeout_s: float, path: str, token: str | None) -> tuple[int, dict[str, Any]]:
    host, port = address.hostname or "", address.port
    if address.scheme == "https":
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(
            host, port, timeout=timeout_s, context=ssl.create_default_context()
        )
    else:
        connection = http.client.HTTPConnection(host, port, timeout=timeout_s)
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {token}"} if token else {})
        answer = connection.getresponse()
        data = json.loads(answer.read(MAX_ANSWER))
    finally:
        connection.close()
    if not isinstance(data, dict):
        raise ValueError(path)
    return answer.status, data
