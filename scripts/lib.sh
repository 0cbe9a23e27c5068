# Shared by scripts/*: one virtual environment in the checkout, made anew when the dependencies change.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

python_ok() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

find_python() {
  for name in "${PYTHON:-}" python3 python3.13 python3.12 python3.11; do
    if [ -n "$name" ] && command -v "$name" >/dev/null && python_ok "$name"; then
      echo "$name"
      return
    fi
  done
  echo "imago needs Python 3.11 or newer; install it, or name one with PYTHON=/path/to/python" >&2
  return 2
}

# make_venv FOLDER PIP-ARGUMENTS…: installs unless the same was installed into FOLDER before.
make_venv() {
  local folder=$1 python want
  shift
  python=$(find_python)
  want="$("$python" --version) $* $(cksum <pyproject.toml)"
  if [ "$(cat "$folder/.imago-ready" 2>/dev/null)" = "$want" ]; then
    return
  fi
  echo "making $folder (PyTorch is several GB: the first time takes minutes)"
  rm -rf "$folder"
  "$python" -m venv "$folder"
  "$folder/bin/python" -m pip install --quiet --upgrade 'pip>=25.1'
  "$folder/bin/python" -m pip install --quiet "$@"
  echo "$want" >"$folder/.imago-ready"
}
