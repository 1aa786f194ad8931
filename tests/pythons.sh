#!/usr/bin/env bash
# Run every test that needs no torch and no framework under several Pythons, each in an environment
# of its own with the newest releases of everything else, NumPy 2 among them.
# Usage: tests/pythons.sh PREFIX JOBS VERSION...  (an environment is PREFIX-VERSION)
set -euo pipefail
cd "$(dirname "$0")/.."
prefix=$1 jobs=$2
shift 2

interpreter() {  # of a version: on the path, or one of pyenv's
  local found
  for found in "python$1" "$HOME/.pyenv/versions/$1".*/bin/python3; do
    if "$found" -c "" 2> /dev/null; then echo "$found"; return; fi
  done
  return 1
}

for version; do
  environment=$prefix-$version
  if ! python=$(interpreter "$version"); then
    echo "Python $version is not installed here: skipped"
    continue
  fi
  if [ ! -e "$environment/.done" ] || [ pyproject.toml -nt "$environment/.done" ]; then
    "$python" -m venv "$environment"
    "$environment/bin/python" -m pip --disable-pip-version-check --quiet install --upgrade \
      -e ".[evaluation,faiss,plots,openai,serve]" "numpy>=2" pytest pytest-xdist hypothesis \
      opentelemetry-sdk tokenizers
    "$environment/bin/python" -m pip --disable-pip-version-check --quiet install --no-deps -e ./models
    touch "$environment/.done"
  fi
  "$environment/bin/python" -c 'import sys, numpy; print("Python", sys.version.split()[0], "NumPy", numpy.__version__)'
  # Collections of real data are the same for every Python: left to `make test`. So is the example
  # of the index over Qdrant, whose client is not installed here.
  env -u RERANK_PLUGINS_DATA OMP_NUM_THREADS=1 \
    "$environment/bin/python" -m pytest -n "$jobs" --dist loadfile --no-loadscope-reorder -r fE --fast \
    --ignore rerank_plugins/feedback/_index/qdrant.py
done
