"""What is no page: uploads, pictures and downloads, below ``/api/``."""

from __future__ import annotations

from fastapi import FastAPI

from imago.studio.context import Studio

MAX_UPLOAD = 512_000_000  # bytes of one body


def install(application: FastAPI, studio: Studio) -> None:
    """Add the routes."""
