"""The end of a search: the winner trained on, exported, timed and tested once; the page; the tidying."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from imago.edge_runtime.bench import interleaved
from imago.edge_runtime.engines.ort import OrtEngine
from imago.edge_runtime.messages import tr
from imago.edge_runtime.progress import duration
from imago.train.checkpoint import CHECKPOINT, WEIGHTS
from imago.train.dataset import Dataset
from imago.train.models.registry import default_stem
from imago.train.run import RUN_FILE, Run
from imago.train.session import train
from imago.workflow.search.coach import Curve, SearchCoach
from imago.workflow.search.latency import engine_key
from imago.workflow.search.live import Live
from imago.workflow.search.options import SearchOptions
from imago.workflow.search.outcome import Row, Share, Winner, choose, explain, pareto
from imago.workflow.search.page import write_page
from imago.workflow.search.rungs import GROWTH, RUNGS
from imago.workflow.search.worker import ENGINES, TRIALS, going_on_from
from imago.workflow.steps import export_run

BEST = "best"  # the winner's run folder; best.onnx beside it
RESERVE = (0.06, 8.0, 60.0)  # share of the budget, least and most seconds, for what follows the training
ENDING_EXPORTS = 2.5  # as long as so many exports: one, and the figures, the charts and the page
ROUNDS, RUNS, WARM_UP = 10, 20, 5


@dataclass(frozen=True, slots=True)
class Concluded:
    """run: folder of the winner; model: its ONNX file."""

    run: Path
    model: Path
    winner: Winner
    rows: tuple[Row, ...]
    paragraph: str


class Conclusion:
    """``run()`` does it all, and may be called again after an interruption.

    export_s: how long one export takes here, now; so much time is held back for the end.
    """

    def __init__(
        self,
        out: Path,
        dataset: Dataset,
        options: SearchOptions,
        *,
        live: Live,
        export_s: float = 0.0,
        say: Callable[[str], None],
    ) -> None:
        self.export_s = export_s
        self.out, self.dataset, self.options, self.live, self.say = out, dataset, options, live, say
        self.folder = out / BEST

    def run(self, rows: Sequence[Row]) -> Concluded:
        """Raises GateError where no trial keeps to the latency, Interrupted with the state saved."""
        rows = self._timed_again(rows)
        chosen = self._begun(rows) or choose(rows, self.options.max_latency_us)
        if not self._finished():
            self._train(chosen, rows)
        model = export_run(self.folder, self.out / f"{BEST}.onnx", overwrite=True).model
        times = self._times({BEST: model})
        winner = self._winner(chosen, times[BEST], model)
        paragraph = explain(winner, rows, self.options.max_latency_us)
        write_page(
            self.out,
            title=tr("{name}, searched", name=self.dataset.name),
            rows=rows,
            winner=winner,
            max_latency_us=self.options.max_latency_us,
            paragraph=paragraph,
            generated=self.dataset.generated,
        )
        self._tidy(rows, chosen)
        return Concluded(self.folder, model, winner, tuple(rows), paragraph)

    def _finished(self) -> bool:
        return (self.folder / WEIGHTS).is_file() and not (self.folder / CHECKPOINT).exists()

    def _train(self, chosen: Row, rows: Sequence[Row]) -> None:
        """From the trial's weights, for the rest of the time; never to something worse (on validation)."""
        options = self.options
        share, least, most = RESERVE
        usual = min(most, max(least, share * options.budget_s))
        left = self.live.left_s - max(usual, ENDING_EXPORTS * self.export_s)
        begun = (self.folder / RUN_FILE).is_file()
        workers, threads = options.crew
        config = replace(
            going_on_from(self.out / TRIALS / chosen.folder, chosen.config),
            stem=self._finer(chosen),
            threads=min(os.cpu_count() or 1, workers * threads),
            seed=options.seed + 7919 * RUNGS,
        )
        by_epochs = options.epochs * GROWTH**RUNGS
        self.say(
            tr("training {name} on for {time}", name=chosen.title, time=duration(left))
            if not by_epochs
            else tr("training {name} on for {epochs} epochs", name=chosen.title, epochs=by_epochs)
        )
        train(
            self.dataset.root,
            Run.load(self.folder).config if begun else config,
            self.folder,
            resume=begun,
            coach=SearchCoach(
                seconds=0.0 if by_epochs else max(0.1, left),
                epochs=by_epochs,
                until=time.time() + max(0.1, left),
                from_now=True,
                lags=lambda curve: self._epoch(curve, rows),
            ),
            keep_start=True,
            say=self.say,
        )

    def _finer(self, chosen: Row) -> int | None:
        """Halvings that the winner leaves out from now on, where that is not what its trial did.

        Short trials favour coarse maps: they learn fast and end low (at 64 px MobileNetV3-Small then ends in
        2×2 pixels). With time to train the usual rule for the size holds, on the same weights. Weights from
        ImageNet stay with their scale, and a limit to the latency with what was measured.
        """
        config = chosen.config
        if self.options.max_latency_us or config.pretrained or config.weights:
            return None
        run = Run.load(self.out / TRIALS / chosen.folder)
        usual = default_stem(str(run.model["name"]), run.input.width, run.input.height)
        return usual if usual > int(run.model["stem"]) else None

    def _epoch(self, curve: Curve, rows: Sequence[Row]) -> bool:
        self.live.final_epoch(*curve[-1])
        self.live.write("training", rows)
        return False

    def _begun(self, rows: Sequence[Row]) -> Row | None:
        """The trial that an interrupted final training started from: the choice is not made twice."""
        if not (self.folder / RUN_FILE).is_file():
            return None
        origin = Run.load(self.folder).lineage.get("init", {}).get("name")
        return next((row for row in rows if row.folder == origin), None)

    def _timed_again(self, rows: Sequence[Row]) -> list[Row]:
        """The rows with latencies measured in turns while nothing else is at work, where that is possible."""
        keys = {engine_key(r.config) for r in rows if r.entry.state == "complete"}
        paths = {key: self.out / ENGINES / f"{key}.onnx" for key in sorted(keys)}
        times = self._times({key: path for key, path in paths.items() if path.is_file()})
        return [_timed(row, times) for row in rows]

    def _times(self, files: Mapping[str, Path]) -> dict[str, float]:
        """p50 of the engine alone, in µs. In turns of a few calls each: a noisy moment hits all alike, and a
        small network is not timed with the caches that a large one has just filled (LeNet-5: 91 µs, not 24).
        """
        engines = {name: OrtEngine(path) for name, path in files.items()}
        calls = {}
        for name, engine in engines.items():
            tensor = np.zeros([side or 1 for side in engine.input_shape], np.uint8)
            calls[name] = partial(engine.run, tensor)
        taken: dict[str, list[int]] = {name: [] for name in calls}
        for _ in range(ROUNDS):
            for name, call in calls.items():
                taken[name] += interleaved({name: call}, runs=RUNS, warmup=WARM_UP)[name]
        for engine in engines.values():
            engine.close()
        return {name: float(np.median(ns)) / 1000 for name, ns in taken.items()}

    def _winner(self, chosen: Row, p50_us: float, model: Path) -> Winner:
        figures = json.loads((self.folder / "metrics.json").read_text(encoding="utf-8"))
        test = figures.get("test")
        return Winner(
            row=chosen,
            val=Share.of(figures["val"]),
            test=None if test is None else Share.of(test),
            p50_us=p50_us,
            finer=int(Run.load(self.folder).model["stem"]) > (chosen.config.stem or 0),
            seconds=float(figures["seconds"]),
            model=model.name,
        )

    def _tidy(self, rows: Sequence[Row], chosen: Row) -> None:
        """Weights that nobody will want go; those on the front stay."""
        keep = {row.folder for row in (*pareto(rows), chosen)}
        for path in (self.out / TRIALS).glob("*"):
            if path.is_dir() and path.name not in keep:
                shutil.rmtree(path, ignore_errors=True)


def _timed(row: Row, times: Mapping[str, float]) -> Row:
    """The row with the latency that was measured at the end, where it was."""
    p50_us = times.get(engine_key(row.config))
    return row if p50_us is None else replace(row, entry=replace(row.entry, p50_us=p50_us))
