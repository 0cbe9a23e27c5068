"""``imago studio``: the whole lesson in a web page, without writing code."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from imago.cli.common import Output, Parser
from imago.edge_runtime.messages import tr
from imago.studio.options import StudioOptions

EXAMPLES = (
    "imago studio                              # opens the browser; everything is kept in ~/imago-studio",
    "imago studio --folder lesson --no-browser",
    "imago studio --host 0.0.0.0               # for other computers; the terminal shows the address",
)
TOKEN = "IMAGO_STUDIO_TOKEN"  # noqa: S105  name of a variable


def main(argv: Sequence[str]) -> int:
    """Serve until Ctrl-C."""
    default = StudioOptions()
    p = Parser("studio", "Open the web page: train, understand, compress and deploy without code.", EXAMPLES)
    p.add_argument("--host", default=default.host, help=tr("address to listen on (%(default)s)"))
    p.add_argument("--port", type=int, default=default.port, help=tr("port, 0 for any (%(default)s)"))
    p.add_argument("--no-browser", action="store_true", help=tr("do not open a browser"))
    p.add_argument("--folder", type=Path, help=tr("workspace for data and runs (default: ~/imago-studio)"))
    args = p.parse_args(argv)
    options = StudioOptions(
        host=args.host,
        port=args.port,
        folder=args.folder,
        browser=not args.no_browser,
        token=os.environ.get(TOKEN, ""),
    )
    from imago.studio.app import serve

    serve(options, say=Output(None).say)
    return 0
