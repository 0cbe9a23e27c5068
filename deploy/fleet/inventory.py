"""The boards of an Ansible inventory, read by Ansible itself where it is installed.

``ansible-inventory --list`` knows everything that an inventory may be (ranges, groups of groups, vaults,
plugins), and is there wherever the playbook can be run. Without it, PyYAML reads the plain form that the
example has; and a ``.json`` file, which ``ansible-inventory --list`` wrote elsewhere, needs neither.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from imago.edge_runtime.errors import InputError, MissingDependency

GROUP = "imago"  # whose hosts are meant, where the inventory has it
ROOT = "/opt/imago"  # of the board's agent
MAX_BYTES = 10 << 20
MAX_BOARDS = 2000
MAX_DEPTH = 20
TIMEOUT_S = 120

Facts = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Board:
    """One board, by its inventory name. host: where ssh finds it. page: its live page's address, where set.

    token: for the page, from the inventory (a vault); never shown. topic: first part of its MQTT topics.
    """

    name: str
    host: str
    port: int | None = None
    user: str | None = None
    identity: Path | None = None
    options: tuple[str, ...] = ()
    root: str = ROOT
    systemd: bool = True
    page: str | None = None
    token: str | None = field(default=None, repr=False)
    topic: str = ""

    @property
    def address(self) -> str:
        """As ssh takes it."""
        return f"{self.user}@{self.host}" if self.user else self.host


def read_inventory(path: Path, limit: str | None = None) -> list[Board]:
    """The boards in ``path``, by name; limit: only this host or group.

    Raises InputError, or MissingDependency where nothing is installed that reads it."""
    if not path.is_file():
        raise InputError("no such file or folder: {path}", path=path)
    if path.stat().st_size > MAX_BYTES:
        raise InputError("{path} is too large for an inventory", path=path)
    facts, groups = _load(path)
    chosen = limit or (GROUP if GROUP in groups else "all")
    names = sorted(facts if chosen == "all" else groups.get(chosen, {chosen} & set(facts)))
    if not names:
        raise InputError(
            "{path} has no boards in {group}; expected hosts, or a group called {default}",
            path=path,
            group=chosen,
            default=GROUP,
        )
    if len(names) > MAX_BOARDS:
        raise InputError("{path} is too large for an inventory", path=path)
    return [board(name, facts[name]) for name in names]


def board(name: str, facts: Mapping[str, Any]) -> Board:
    """From a host's variables, by Ansible's names and ours. Raises InputError."""
    try:
        page = facts.get("imago_page")
        identity = facts.get("ansible_ssh_private_key_file")
        return Board(
            name=name,
            host=str(facts.get("ansible_host") or facts.get("ansible_ssh_host") or name),
            port=_port(facts.get("ansible_port") or facts.get("ansible_ssh_port")),
            user=_text(facts.get("ansible_user") or facts.get("ansible_ssh_user")),
            identity=None if identity is None else Path(str(identity)).expanduser(),
            options=tuple(_options(facts)),
            root=str(facts.get("imago_root") or ROOT),
            systemd=_truth(facts.get("imago_systemd", True)),
            page=None if page is None else str(page),
            token=_text(facts.get("imago_page_token")),
            topic=str(facts.get("imago_topic") or f"imago/{name}"),
        )
    except (TypeError, ValueError) as error:
        raise InputError(
            "the inventory's host {name} is not usable ({reason})", name=name, reason=error
        ) from error


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _port(value: object) -> int | None:
    return None if value is None else int(str(value))


def _truth(value: object) -> bool:
    """YAML's and Ansible's words for yes."""
    return value if isinstance(value, bool) else str(value).lower() in ("yes", "true", "on", "1")


def _options(facts: Mapping[str, Any]) -> Iterator[str]:
    """``-o`` and ``-J`` of Ansible's ssh arguments; the rest is for Ansible alone."""
    for name in ("ansible_ssh_common_args", "ansible_ssh_extra_args"):
        words = iter(shlex.split(str(facts.get(name) or "")))
        for word in words:
            if word in ("-o", "-J"):
                value = next(words, "")
                yield value if word == "-o" else f"ProxyJump={value}"
            elif word.startswith("-o"):
                yield word[2:]


def _load(path: Path) -> tuple[dict[str, Facts], dict[str, set[str]]]:
    """Variables by host, and hosts by group."""
    if path.suffix == ".json":
        return from_listing(_parsed(path.read_bytes(), path))
    program = shutil.which(
        "ansible-inventory",
        path=os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", ""))),
    )
    if program is not None:
        return from_listing(_parsed(_ask_ansible(program, path), path))
    try:
        import yaml
    except ImportError as error:
        raise MissingDependency(
            "reading {path} needs Ansible or PyYAML: pip install ansible-core, or pip install pyyaml",
            path=path,
        ) from error
    read: Any = yaml.safe_load  # PyYAML brings no types
    try:
        tree = read(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError("{path} is no inventory ({reason})", path=path, reason=_first_line(error)) from error
    return from_tree(tree, path)


def _ask_ansible(program: str, path: Path) -> bytes:
    done = subprocess.run(  # noqa: S603  our own arguments
        [program, "--inventory", str(path.absolute()), "--list"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=TIMEOUT_S,
        env={**os.environ, "ANSIBLE_INVENTORY_UNPARSED_FAILED": "true", "ANSIBLE_NOCOLOR": "1"},
    )
    if done.returncode:
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
        reason = next((line for line in lines if "ERROR" in line or "Failed" in line), (lines or ["?"])[-1])
        raise InputError("{path} is no inventory ({reason})", path=path, reason=reason[:300])
    return done.stdout


def _parsed(body: bytes, path: Path) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InputError("{path} is no inventory ({reason})", path=path, reason=_first_line(error)) from error


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:200]


def from_listing(listing: Any) -> tuple[dict[str, Facts], dict[str, set[str]]]:
    """What ``ansible-inventory --list`` says: ``_meta.hostvars``, and groups with hosts and children."""
    if not isinstance(listing, dict):
        raise InputError("this is not what ansible-inventory --list writes")
    variables = listing.get("_meta", {}).get("hostvars", {})
    groups = {name: group for name, group in listing.items() if name != "_meta" and isinstance(group, dict)}

    def hosts(name: str, depth: int = 0) -> set[str]:
        group = groups.get(name, {})
        found = set(group.get("hosts", ()))
        if depth < MAX_DEPTH:
            for child in group.get("children", ()):
                found |= hosts(child, depth + 1)
        return found

    members = {name: hosts(name) for name in groups}
    everybody: set[str] = set().union(*members.values()) | set(variables)
    return {name: dict(variables.get(name) or {}) for name in everybody}, members


def from_tree(tree: Any, path: Path) -> tuple[dict[str, Facts], dict[str, set[str]]]:
    """A plain YAML inventory: groups with hosts, children and vars; a host's own variables win, then the
    innermost group's."""
    facts: dict[str, Facts] = {}
    groups: dict[str, set[str]] = {}

    def walk(name: str, group: Any, inherited: Facts, depth: int) -> set[str]:
        group = {} if group is None else group
        if not isinstance(group, dict) or depth > MAX_DEPTH:
            raise ValueError(f"group {name}")
        variables = {**inherited, **(group.get("vars") or {})}
        found = set()
        for host, own in (group.get("hosts") or {}).items():
            found.add(str(host))
            facts[str(host)] = {**facts.get(str(host), {}), **variables, **(own or {})}
        for child, inner in (group.get("children") or {}).items():
            found |= walk(str(child), inner, variables, depth + 1)
        groups[name] = groups.get(name, set()) | found
        return found

    try:
        for name, group in tree.items():
            walk(str(name), group, {}, 0)
    except (AttributeError, TypeError, ValueError) as error:
        raise InputError("{path} is no inventory ({reason})", path=path, reason=_first_line(error)) from error
    return facts, groups
