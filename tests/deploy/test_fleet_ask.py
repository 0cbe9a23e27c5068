"""Inventories in all their forms, and boards asked through a real page and a real broker."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from imago.cli.fleet_cmd import table
from imago.deploy.fleet.ask import FleetOptions, ask_all
from imago.deploy.fleet.inventory import Board, board, from_tree, read_inventory
from imago.deploy.fleet.state import BoardState, from_agent
from imago.edge_runtime.errors import DeployError, InputError
from imago.edge_runtime.mqtt.options import MqttOptions, parse_mqtt
from imago.edge_runtime.mqtt.publisher import Publisher
from imago.edge_runtime.records.schema import open_database

from broker import Broker, until
from support import imago

INVENTORY = """
all:
  vars: {ansible_user: everybody}
  children:
    imago:
      vars: {ansible_user: pi, imago_root: /srv/imago}
      children:
        meadow:
          hosts:
            trap-1: {ansible_host: 10.0.0.1, ansible_port: 2222}
            trap-2: {ansible_user: eve, imago_systemd: "no"}
        roof:
          vars: {ansible_ssh_common_args: "-o ProxyJump=desk -oStrictHostKeyChecking=yes -C"}
          hosts: {roof-1: }
    printers:
      hosts: {laser: {}}
"""


def test_ansible_and_pyyaml_read_the_same_boards(tmp_path: Path) -> None:
    import yaml

    path = tmp_path / "inventory.yml"
    path.write_text(INVENTORY)
    boards = {b.name: b for b in read_inventory(path)}  # by ansible-inventory, which lies beside this Python
    facts, groups = from_tree(yaml.safe_load(INVENTORY), path)
    assert groups["imago"] == set(boards) == {"trap-1", "trap-2", "roof-1"}
    assert {name: board(name, facts[name]) for name in groups["imago"]} == boards
    assert (boards["trap-1"].address, boards["trap-1"].port) == ("pi@10.0.0.1", 2222)
    assert (boards["trap-2"].user, boards["trap-2"].systemd, boards["trap-2"].root) == (
        "eve",
        False,
        "/srv/imago",
    )
    assert boards["roof-1"].options == ("ProxyJump=desk", "StrictHostKeyChecking=yes")
    assert boards["roof-1"].topic == "imago/roof-1"
    assert board("x", {}).root == "/opt/imago"
    assert [b.name for b in read_inventory(path, "meadow")] == ["trap-1", "trap-2"]
    assert [b.name for b in read_inventory(path, "laser")] == ["laser"]


def test_a_listing_from_elsewhere_needs_no_ansible(tmp_path: Path) -> None:
    path = tmp_path / "boards.json"
    hosts = {"a": {"ansible_host": "x"}, "b": {}}
    path.write_text(
        json.dumps({"_meta": {"hostvars": hosts}, "all": {"children": ["g"]}, "g": {"hosts": ["a", "b"]}})
    )
    assert [(b.name, b.host) for b in read_inventory(path)] == [("a", "x"), ("b", "b")]


@pytest.mark.parametrize(
    ("name", "text", "word"),
    [
        ("i.json", "{", "is no inventory"),
        ("i.json", "[1]", "not what ansible-inventory"),
        ("i.json", '{"_meta": {}}', "no boards"),
        ("i.json", '{"_meta": {"hostvars": {"a": {"ansible_port": "ssh"}}}}', "host a is not usable"),
        ("i.yml", "imago: {hosts: [}", "is no inventory"),
    ],
)
def test_bad_inventories_are_one_clear_line(tmp_path: Path, name: str, text: str, word: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=word):
        read_inventory(tmp_path / name)


@pytest.mark.parametrize(
    "tree", [[1], {"imago": [1]}, {"imago": {"hosts": ["a"]}}, {"a": {"children": {"b": 3}}}]
)
def test_other_yaml_is_no_inventory(tree: object) -> None:
    with pytest.raises(InputError, match="is no inventory"):
        from_tree(tree, Path("i.yml"))


class Page(BaseHTTPRequestHandler):
    """What imago's page answers, and what something else on that port might."""

    answers: ClassVar[Mapping[str, tuple[int, bytes]]] = {}
    tokens: ClassVar[list[str | None]] = []

    def do_GET(self) -> None:
        self.tokens.append(self.headers.get("Authorization"))
        code, body = self.answers.get(self.path, (404, b"{}"))
        self.send_response(code)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.mark.parametrize(
    ("health", "state", "words"),
    [
        ((200, b'{"healthy": true, "frames": 7, "last_frame_s": 0.5}'), "well", ""),
        ((503, b'{"healthy": false, "frames": 7, "last_frame_s": 60}'), "not well", "no frames"),
        ((200, b"<html>a router"), "unreachable", "cannot be read"),
        ((200, b"[1]"), "unreachable", "cannot be read"),
    ],
)
def test_over_the_page(health: tuple[int, bytes], state: str, words: str) -> None:
    info = (200, b'{"model": "insects", "version": "0.1.0"}')
    handler = type("Handler", (Page,), {"answers": {"/healthz": health, "/api/info": info}, "tokens": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        there = Board("a", "127.0.0.1", page=f"http://127.0.0.1:{server.server_address[1]}", token="secret")  # noqa: S106
        (found,) = ask_all([there], FleetOptions("page", timeout_s=30))
        server.shutdown()
    assert found.state == state
    assert words in found.reason
    if state == "well":
        assert (found.bundle, found.frames, handler.tokens) == ("insects", 7, [None, "Bearer secret"])
    assert "secret" not in repr(there)


def test_many_boards_of_which_none_answers() -> None:
    boards = [Board(f"b{i}", "127.0.0.1", page="http://127.0.0.1:9") for i in range(40)]
    heard: list[str] = []
    states = ask_all(boards, FleetOptions("page", at_once=8), lambda state: heard.append(state.name))
    assert [s.name for s in states] == [b.name for b in boards]
    assert {s.state for s in states} == {"unreachable"}
    assert sorted(heard) == sorted(b.name for b in boards)


def test_bad_addresses_are_rows_and_not_errors() -> None:
    boards = [Board("evil", "-oProxyCommand=x"), Board("odd", "h", page="ftp://x")]
    assert "is no board's address" in ask_all(boards[:1], FleetOptions("ssh"))[0].reason
    assert "is no page's address" in ask_all(boards[1:], FleetOptions("page"))[0].reason


def test_what_the_boards_told_a_real_broker(tmp_path: Path) -> None:
    """Two real publishers; one of them leaves. A third board never came."""
    for name in ("a", "b"):
        open_database(tmp_path / name, create=True).close()
    with Broker(tmp_path) as broker:
        url = f"mqtt://127.0.0.1:{broker.port}"
        people = {}
        for name in ("a", "b"):
            options = parse_mqtt(f"{url}/imago/{name}")
            people[name] = Publisher(
                tmp_path / name, options, model="insects", labels=("ant",), version="0.1.0",
                state=lambda: {"healthy": True, "frames": 5},
            )  # fmt: skip
        until(lambda: all(p.state().connected for p in people.values()))
        people["b"].close()
        boards = [Board(name, name, topic=f"imago/{name}") for name in ("a", "b", "c")]
        found = ask_all(boards, FleetOptions("mqtt", timeout_s=5, broker=parse_mqtt(url)))
        people["a"].close()
    by_name = {state.name: state for state in found}
    assert by_name["a"].state == "well"
    assert (by_name["a"].bundle, by_name["a"].imago) == ("insects", "0.1.0")
    assert "has left" in by_name["b"].reason
    assert "heard nothing" in by_name["c"].reason
    with pytest.raises(DeployError, match="does not answer"):
        ask_all(boards, FleetOptions("mqtt", timeout_s=1, broker=MqttOptions("127.0.0.1", 9)))


def test_the_agents_word_becomes_a_row() -> None:
    facts = {
        "running": True, "current": {"name": "in\x1b[2Jsects", "release": "abc-12", "imago": "0.1.0"},
        "health": {"status": 200, "frames": 3, "last_frame_s": 0.1}, "previous": {"release": "old-12"},
    }  # fmt: skip
    row = from_agent("a", facts)
    assert (row.state, row.release, row.previous, row.frames) == ("well", "abc-12", "old-12", 3)
    assert "\x1b" not in str(row.bundle)
    assert from_agent("a", {**facts, "health": {"status": 503}}).state == "not well"
    assert from_agent("a", {**facts, "running": False}).state == "not running"
    assert from_agent("a", {"current": None}).state == "empty"
    assert row.good("abc")
    assert not row.good("ab")
    assert not row.good("old")


def test_the_table_is_aligned_also_in_chinese(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGO_LANG", "zh")
    lines = table(
        [BoardState("trap-1", "well", release="r-1"), BoardState("t2", "unreachable", reason="x")], None
    )
    widths = {
        sum(2 if ord(c) > 0x2E80 else 1 for c in line.split("r-1")[0].split("版本")[0]) for line in lines[:2]
    }
    assert len(widths) == 1
    assert "无法连接" in lines[2]


def test_the_command_line(tmp_path: Path) -> None:
    path = tmp_path / "boards.json"
    path.write_text(
        json.dumps(
            {"_meta": {"hostvars": {"a": {"imago_page": "http://127.0.0.1:9"}}}, "all": {"hosts": ["a"]}}
        )
    )
    env = {"PATH": str(Path(sys.executable).parent) + os.pathsep + os.environ["PATH"]}
    done = imago("fleet", "status", str(path), "--via", "page", "--json", "-", env=env)
    assert done.returncode == 1
    assert json.loads(done.stdout)["boards"][0]["state"] == "unreachable"
    assert "1 unreachable" in done.stderr
    for words, message in (
        (("fleet", "status", str(path), "--via", "mqtt"), "needs the broker"),
        (("fleet", "status", str(path), "--via", "page", "--expect", "x.imago"), "needs --via ssh"),
        (("fleet", "fly"), "there are init and status"),
    ):
        done = imago(*words)
        assert done.returncode == 2
        assert message in done.stderr
    assert "init" in imago("fleet").stdout
