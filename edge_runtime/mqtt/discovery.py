"""What Home Assistant must know to show this camera without being configured.

One retained message per entity under ``homeassistant/<kind>/<node>/<name>/config``, as its
documentation "MQTT Discovery" describes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from imago.edge_runtime.events import Event
from imago.edge_runtime.messages import tr
from imago.edge_runtime.mqtt.options import MqttOptions

UNKNOWN, SEEN = "unknown", "seen"
MAX_TYPES = 200  # beyond that one type for all: Home Assistant lists them in a menu


@dataclass(frozen=True, slots=True)
class Topics:
    """All topics of one camera."""

    prefix: str

    @property
    def events(self) -> str:
        """Every event, once at least, in order."""
        return f"{self.prefix}/events"

    @property
    def last(self) -> str:
        """The newest event, retained."""
        return f"{self.prefix}/last"

    @property
    def crop(self) -> str:
        """The newest event's picture, retained JPEG."""
        return f"{self.prefix}/crop"

    @property
    def state(self) -> str:
        """How the camera is doing, once a minute."""
        return f"{self.prefix}/state"

    @property
    def status(self) -> str:
        """``online`` or ``offline``, retained; the broker says ``offline`` for us when we are gone."""
        return f"{self.prefix}/status"


def event_payload(event: Event, labels: Sequence[str]) -> str:
    """One event as JSON; ``event_type`` is what Home Assistant's event entity asks for."""
    kind = event.label if len(labels) <= MAX_TYPES else SEEN
    return json.dumps(
        {"event_type": UNKNOWN if event.unknown else kind, **event.to_dict()}, ensure_ascii=False
    )


def discovery_messages(
    options: MqttOptions, model: str, labels: Sequence[str], version: str
) -> Iterator[tuple[str, str]]:
    """Topic and payload of each entity."""
    topics = Topics(options.prefix)
    shared: dict[str, Any] = {
        "availability_topic": topics.status,
        "device": {
            "identifiers": [f"imago-{options.node}"],
            "name": options.prefix,
            "manufacturer": "imago",
            "model": model,
            "sw_version": version,
        },
        "origin": {"name": "imago", "sw_version": version},
    }
    for kind, name, own in _entities(topics, labels):
        unique = f"imago-{options.node}-{name}"
        payload = {"unique_id": unique, **own, **shared}
        yield (
            f"{options.discovery}/{kind}/{options.node}/{name}/config",
            json.dumps(payload, ensure_ascii=False),
        )


def _entities(topics: Topics, labels: Sequence[str]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    types = [*labels, UNKNOWN] if len(labels) <= MAX_TYPES else [SEEN, UNKNOWN]
    yield (
        "event",
        "visit",
        {
            "name": tr("visit"),
            "icon": "mdi:eye",
            "state_topic": topics.events,
            "event_types": list(dict.fromkeys(types)),
        },
    )
    yield (
        "sensor",
        "last",
        {
            "name": tr("last seen"),
            "icon": "mdi:tag",
            "state_topic": topics.last,
            "value_template": "{{ value_json.event_type }}",
            "json_attributes_topic": topics.last,
        },
    )
    yield (
        "sensor",
        "confidence",
        {
            "name": tr("confidence"),
            "state_topic": topics.last,
            "value_template": "{{ (100 * value_json.confidence) | round(1) }}",
            "unit_of_measurement": "%",
            "state_class": "measurement",
        },
    )
    yield (
        "image",
        "crop",
        {"name": tr("last picture"), "image_topic": topics.crop, "content_type": "image/jpeg"},
    )
    yield from _health(topics)


def _health(topics: Topics) -> Iterator[tuple[str, str, dict[str, Any]]]:
    yield (
        "sensor",
        "temperature",
        {
            "name": tr("temperature"),
            "device_class": "temperature",
            "state_class": "measurement",
            "unit_of_measurement": "°C",
            "entity_category": "diagnostic",
            "state_topic": topics.state,
            "value_template": "{{ value_json.temperature_c }}",
        },
    )
    yield (
        "sensor",
        "fps",
        {
            "name": tr("frames per second"),
            "icon": "mdi:speedometer",
            "state_class": "measurement",
            "entity_category": "diagnostic",
            "state_topic": topics.state,
            "value_template": "{{ value_json.fps }}",
        },
    )
    yield (
        "binary_sensor",
        "problem",
        {
            "name": tr("camera problem"),
            "device_class": "problem",
            "entity_category": "diagnostic",
            "state_topic": topics.state,
            "value_template": "{{ 'OFF' if value_json.healthy else 'ON' }}",
        },
    )
