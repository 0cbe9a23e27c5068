"""The errors that a user can mend, in one small tree.

    ImagoError                  exit code 2
    ├── InputError              an argument, path or picture that was given
    ├── DataError               a data set on disk
    ├── ModelError              a model file, or what it carries
    ├── CameraError             a camera, video or stream
    ├── StorageError            writing: disk full, target exists, no permission
    ├── BundleError             a bundle (.imago), or what it carries
    ├── DeployError             a board that is reached over the network, or what runs on it
    ├── MissingDependency       an extra that is not installed
    └── GateError               exit code 1: everything worked, and the measured answer is "no"

A message is one sentence template that says what was given, what was expected and what to do.
It is translated when it is shown, so the same exception reads in English and in Chinese.
"""

from __future__ import annotations

from imago.edge_runtime.messages import tr


class ImagoError(Exception):
    """Base of all errors that imago raises on purpose; ``exit_code`` is what the command line returns."""

    exit_code = 2

    def __init__(self, template: str, /, **values: object) -> None:
        super().__init__(template)
        self.template = template
        self.values = values

    def __str__(self) -> str:
        return tr(self.template, **self.values)


class InputError(ImagoError):
    """An argument, path or picture that was given is not usable."""


class DataError(ImagoError):
    """A data set on disk is not usable."""


class ModelError(ImagoError):
    """A model file, or the contract it carries, is not usable."""


class CameraError(ImagoError):
    """A camera, video file or stream cannot be opened or read."""


class StorageError(ImagoError):
    """Something could not be written."""


class BundleError(ImagoError):
    """A bundle, or its signature, is not usable; nothing of it is used."""


class DeployError(ImagoError):
    """A board cannot be reached, or something on it does not work."""


class MissingDependency(ImagoError):
    """An optional package is needed and not installed."""


class GateError(ImagoError):
    """Everything ran, and what was measured misses the bar (exit code 1, for scripts)."""

    exit_code = 1
