"""Visits found, missed and made up: real films labelled by hand, and generated scenes of small insects.

    python benchmarks/events.py [--scenes 8] [--only scenes|videos] [--seed 0]

Each film goes through ``Watch`` as in ``imago run``, with ``--motion off``, ``on`` and ``auto``. An event is
a hit if at least half of it lies within one visit (one second of tolerance at both ends) that no longer
event has claimed; other events are false alarms, further ones of the same visit (also counted apart) among
them. precision: hits per event; recall: hits per visit; named: visits with a hit of the right class that is
not "unknown". The models: event_models.py; the generated one is made first where it is not there (minutes).
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from common import OUT, data_folder, save
from event_models import FOLDER, Inat, drawn

MODES = ("off", "on", "auto")
TOLERANCE_S = 1.0
SCENES: dict[str, dict[str, Any]] = {
    "calm": {},
    "leaf in the wind": {"wind": 0.08},
    "clouds": {"cloud": 0.35},
    "camera knocked": {"shakes": 4},
    "nobody comes": {"visits": 0, "wind": 0.08, "cloud": 0.35, "shakes": 2},
}


@dataclass
class Score:
    """Counts over films; see the module's docstring."""

    visits: int = 0
    events: int = 0
    hits: int = 0
    named: int = 0
    duplicates: int = 0
    unknown: int = 0
    false_named: int = 0
    hours: float = 0.0
    frames: int = 0
    calls: int = 0
    details: list[Any] = field(default_factory=list)

    def add(self, other: Score) -> None:
        """Sum up."""
        for f in fields(self):
            setattr(self, f.name, getattr(self, f.name) + getattr(other, f.name))

    def row(self) -> dict[str, Any]:
        """What is reported."""
        return {
            **{k: v for k, v in asdict(self).items() if k != "details"},
            "precision": self.hits / self.events if self.events else None,
            "recall": self.hits / self.visits if self.visits else None,
            "false_alarms_per_hour": (self.events - self.hits) / self.hours,
            "calls_per_frame": self.calls / self.frames,
        }


def overlap(event: dict[str, Any], visit: dict[str, Any]) -> float:
    """Share of the event that lies within the visit, with the tolerance."""
    start, end = visit["start_s"] - TOLERANCE_S, visit["end_s"] + TOLERANCE_S
    inside = min(event["end"], end) - max(event["start"], start)
    return max(0.0, inside) / max(event["end"] - event["start"], 1e-9)


def score(events: list[dict[str, Any]], visits: list[dict[str, Any]], seconds: float) -> Score:
    """Compare the events of one film with its truth."""
    result = Score(visits=len(visits), events=len(events), hours=seconds / 3600)
    result.unknown = sum(event["unknown"] for event in events)
    claimed: set[int] = set()
    for event in sorted(events, key=lambda e: e["start"] - e["end"]):
        shares = [overlap(event, visit) for visit in visits]
        best = max(range(len(visits)), key=shares.__getitem__, default=-1)
        if best < 0 or shares[best] < 0.5:
            result.false_named += not event["unknown"]
        elif best in claimed:
            result.duplicates += 1
        else:
            claimed.add(best)
            result.hits += 1
            result.named += not event["unknown"] and event["label"] in visits[best]["labels"]
    result.details = [
        {k: event[k] for k in ("start", "end", "label", "confidence", "unknown", "box")} for event in events
    ]
    return result


def watch(film: Path, predictor: Any, mode: str) -> tuple[list[dict[str, Any]], int, int]:
    """Events of one film (in seconds from its start), its frames, and how often the model was asked."""
    from imago.edge_runtime.cameras.base import open_source
    from imago.edge_runtime.watch import Watch

    frames, calls, events = 0, 0, []
    looker = Watch(predictor, predictor.labels, mode=mode, began=0.0)  # type: ignore[arg-type]
    source = open_source(str(film))
    for frame in source:
        with frame:
            look = looker.look(frame)
        frames, calls = frames + 1, calls + look.calls
        events += look.events
    events += looker.finish()
    source.close()
    return [event.to_dict() for event in events], frames, calls


def run(film: Path, visits: list[dict[str, Any]], seconds: float, predictor: Any, mode: str) -> Score:
    """Watch and compare."""
    events, frames, calls = watch(film, predictor, mode)
    result = score(events, visits, seconds)
    result.frames, result.calls = frames, calls
    return result


class Drawn:
    """``Predictor`` of generated insects."""

    def __init__(self) -> None:
        from imago.edge_runtime.classifier import Classifier

        classifier = Classifier(drawn())
        self.predict, self.labels = classifier.predict, classifier.spec.labels


def scene(kind: str, number: int, seed: int) -> tuple[Path, list[dict[str, Any]], float]:
    """One generated film and its truth; made where it is not there."""
    from imago.train.generate.scene import SceneOptions, make_scene

    options = SceneOptions(seed=1000 * seed + number, **SCENES[kind])
    path = FOLDER / "scenes" / f"{kind.replace(' ', '-')}-{seed}-{number}.avi"
    truth = path.with_suffix(".json")
    if not truth.exists() or not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        make_scene(path, options)
    visits = json.loads(truth.read_text(encoding="utf-8"))["visits"]
    return path, [{**visit, "labels": [visit["label"]]} for visit in visits], options.seconds


def scenes(count: int, seed: int) -> list[dict[str, Any]]:
    """All kinds of scenes in all modes."""
    predictor, rows = Drawn(), []
    for kind in SCENES:
        films = [scene(kind, number, seed) for number in range(count)]
        for mode in MODES:
            total = Score()
            for path, visits, seconds in films:
                total.add(run(path, visits, seconds, predictor, mode))
            rows.append(show({"film": kind, "n": count, "mode": mode, **total.row()}))
    return rows


def videos() -> list[dict[str, Any]]:
    """The real films in all modes."""
    predictor, rows = Inat(), []
    labels = json.loads((Path(__file__).parent / "events_labels.json").read_text(encoding="utf-8"))
    for name, truth in labels.items():
        if isinstance(truth, str):
            continue
        for mode in MODES:
            found = run(data_folder(f"videos/{name}"), truth["visits"], truth["seconds"], predictor, mode)
            rows.append(
                show({"film": name, "n": 1, "mode": mode, **found.row(), "events_found": found.details})
            )
    return rows


def show(row: dict[str, Any]) -> dict[str, Any]:
    """Print one row."""
    share = {k: "–" if row[k] is None else f"{row[k]:.2f}" for k in ("precision", "recall")}
    print(
        f"{row['film']:<22}{row['mode']:<6}visits {row['visits']:>3}  events {row['events']:>3}  precision "
        f"{share['precision']:>5}  recall {share['recall']:>5}  named {row['named']:>3}  twice "
        f"{row['duplicates']:>3}  unknown {row['unknown']:>3}  false/h {row['false_alarms_per_hour']:>6.1f} "
        f"(named {row['false_named']})  calls/frame {row['calls_per_frame']:.3f}",
        flush=True,
    )
    for event in row.get("events_found", ()):
        print("   ", event, flush=True)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scenes", type=int, default=8, help="films of each kind, one minute each")
    parser.add_argument("--seed", type=int, default=0, help="0: reported; others: to choose settings on")
    parser.add_argument("--only", choices=("scenes", "videos"))
    args = parser.parse_args()
    OUT.mkdir(exist_ok=True)
    rows = videos() if args.only != "scenes" else []
    rows += scenes(args.scenes, args.seed) if args.only != "videos" else []
    save("events", {"rows": rows, "scenes": args.scenes, "seed": args.seed, "tolerance_s": TOLERANCE_S})


if __name__ == "__main__":
    main()
