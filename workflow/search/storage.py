"""Where the trials are kept, so that several processes and machines can work on one search.

A journal file by default (on one machine, or on a shared folder), SQLite by file name or URL, any database
that Optuna knows by URL.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imago.edge_runtime.errors import InputError, MissingDependency, StorageError
from imago.workflow.search.rungs import Entry, State

if TYPE_CHECKING:
    from optuna import Study
    from optuna.samplers import BaseSampler
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial

JOURNAL = "trials.journal"
LOCK_S = 5  # a write takes milliseconds; a lock this old was left by a process that was killed
SQLITE = (".db", ".sqlite", ".sqlite3")
STARTUP_TRIALS = 8  # until the sampler believes that it knows something
SETTINGS, DATA, UNTIL, OVER, FIRST, EXPORT_S = "settings", "data", "until", "over", "first", "export_s"


def open_storage(place: str) -> BaseStorage:
    """``place``: a file, or a URL such as sqlite:///trials.db or postgresql://user@host/name.

    Raises InputError, MissingDependency (a database's driver) and StorageError (it cannot be reached).
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    if "://" not in place and not place.lower().endswith(SQLITE):
        return _journal(Path(place))
    url = place if "://" in place else f"sqlite:///{Path(place).absolute().as_posix()}"
    if "://" not in place:
        Path(place).absolute().parent.mkdir(parents=True, exist_ok=True)
    kind = url.partition(":")[0]
    try:
        return optuna.storages.RDBStorage(url)
    except (ImportError, ModuleNotFoundError) as error:
        package = {"postgresql": "psycopg2-binary", "mysql": "pymysql"}.get(kind, "?")
        raise MissingDependency(
            "--storage {url} needs a database driver that is not installed ({reason}): pip install {package}",
            url=_hidden(url),
            reason=str(error).splitlines()[0],
            package=package,
        ) from error
    except Exception as error:  # SQLAlchemy's and each driver's own kinds
        raise StorageError(
            "--storage {url} cannot be opened ({reason}); give a file, or a URL such as "
            "sqlite:///trials.db or postgresql://user@host/name",
            url=_hidden(url),
            reason=str(error).splitlines()[0],
        ) from error


def _journal(path: Path) -> BaseStorage:
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

    if path.is_dir():
        raise InputError("--storage {path} is a folder; give a file or a URL", path=path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Not a symlink as lock: Windows and USB sticks have none.
        lock = JournalFileOpenLock(str(path), grace_period=LOCK_S)
        return JournalStorage(JournalFileBackend(str(path), lock))
    except OSError as error:
        raise StorageError(
            "cannot write {path}: {reason}; free some space or choose another place",
            path=path,
            reason=error.strerror or error,
        ) from error
    except ValueError as error:
        raise InputError(
            "{path} is not a file of trials ({reason}); give another --storage", path=path, reason=error
        ) from error


def mend_journal(path: Path) -> None:
    """Cut off a last line that a power cut left half: Optuna would refuse the whole file."""
    from optuna.storages.journal import JournalFileOpenLock
    from optuna.storages.journal._file import get_lock_file

    if not path.is_file():
        return
    with get_lock_file(JournalFileOpenLock(str(path), grace_period=LOCK_S)), path.open("r+b") as file:
        data = file.read()
        file.truncate(data.rfind(b"\n") + 1)


def _hidden(url: str) -> str:
    """Without the password."""
    head, sep, tail = url.partition("://")
    return f"{head}{sep}{tail.rpartition('@')[2]}"


def sampler(seed: int) -> BaseSampler:
    """Proposes settings: TPE for two objectives (Ozaki et al. 2022), which knows what others are trying."""
    import optuna

    return optuna.samplers.TPESampler(seed=seed, n_startup_trials=STARTUP_TRIALS, constant_liar=True)


def open_study(storage: BaseStorage, name: str, *, create: Callable[[Study], None] | None = None) -> Study:
    """The search called ``name``. create: begins it (given the empty study); else it must be there already.

    Raises InputError where it is not there, StorageError where it is and should not be.
    """
    import optuna
    from optuna.exceptions import DuplicatedStudyError

    try:
        if create is None:
            return optuna.load_study(study_name=name, storage=storage)
        study = optuna.create_study(study_name=name, storage=storage, directions=["maximize", "minimize"])
    except DuplicatedStudyError as error:
        raise StorageError(
            "the storage holds a search of these pictures already; go on with it by --resume, help it by "
            "--join, or give another --storage"
        ) from error
    except KeyError as error:
        raise InputError("the storage holds no search of these pictures; give the right --storage") from error
    create(study)
    return study


def entry_of(trial: FrozenTrial) -> Entry:
    """A trial as the rungs see it."""
    from optuna.trial import TrialState

    states: dict[Any, State] = {
        TrialState.COMPLETE: "complete",
        TrialState.PRUNED: "stopped",
        TrialState.FAIL: "failed",
        TrialState.RUNNING: "running",
    }
    attrs = trial.user_attrs
    accuracy = attrs.get("accuracy")
    return Entry(
        number=trial.number,
        state=states.get(trial.state, "waiting"),
        rung=int(attrs.get("rung", 0)),
        accuracy=None if accuracy is None else float(accuracy),
        p50_us=float(attrs.get("p50_us", 0.0)),
        parent=attrs.get("parent"),
        network=str(trial.params.get("model", "")),
        curve=tuple((float(a), float(b)) for a, b in attrs.get("curve", ())),
    )


def entries_of(trials: Sequence[FrozenTrial]) -> list[Entry]:
    """All of them."""
    return [entry_of(trial) for trial in trials]


def put_back(study: Study, trial: FrozenTrial, why: str) -> None:
    """A trial whose worker is gone: the same settings wait again, and go on in the same folder."""
    from optuna.trial import TrialState

    kept = {k: v for k, v in trial.user_attrs.items() if k in ("rung", "parent", "folder", "first")}
    if trial.params:
        study.enqueue_trial(dict(trial.params), user_attrs=kept)
    study._storage.set_trial_user_attr(trial._trial_id, "note", why)
    study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)


class Silence:
    """Finds the trials of other machines from which nothing was heard for ``patience_s``: nobody tells when a
    machine was switched off, and their clocks are not compared."""

    def __init__(self, patience_s: float) -> None:
        self.patience_s = patience_s
        self._heard: dict[int, tuple[int, float]] = {}

    def gone(self, trials: Sequence[FrozenTrial], now: float) -> list[FrozenTrial]:
        """now: monotonic seconds."""
        found = []
        for trial in trials:
            attrs = trial.user_attrs
            if trial.state.name != "RUNNING" or attrs.get("host") == this_host():
                continue
            words = len(attrs) + len(attrs.get("curve", ()))
            before, since = self._heard.get(trial.number, (-1, now))
            if words != before:
                self._heard[trial.number] = (words, now)
            elif now - since >= self.patience_s:
                found.append(trial)
        return found


def this_host() -> str:
    """Whose processes the trials of this machine belong to."""
    return socket.gethostname()
