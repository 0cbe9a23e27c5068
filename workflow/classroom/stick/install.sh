#!/bin/sh
# Install imago on this computer from the USB stick: no internet, no administrator needed.
set -eu
stick=$(cd "$(dirname "$0")" && pwd)
for python in python@PYTHON@ python3 python; do
  if "$python" -c 'import sys; sys.exit(sys.version_info[:2] != (@MAJOR@, @MINOR@))' 2>/dev/null; then
    exec "$python" "$stick/install.py" "$@"
  fi
done
echo "Python @PYTHON@ is not on this computer; install it (for example: apt install python@PYTHON@), then start again" >&2
exit 2
