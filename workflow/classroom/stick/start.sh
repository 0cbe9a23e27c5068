#!/bin/sh
# Start imago's page in the browser.
set -eu
imago="${XDG_DATA_HOME:-$HOME/.local/share}/imago-classroom/venv/bin/imago"
if [ ! -x "$imago" ]; then
  echo "imago is not installed yet: sh install.sh" >&2
  exit 2
fi
exec "$imago" studio --lesson "$@"
