#!/usr/bin/env bash
# Writes the pinned, hashed requirements from pyproject.toml; without index addresses, for Python 3.11 to 3.13.
set -euo pipefail
cd "$(dirname "$0")/.."
compile() {
  .venv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
    --no-annotate --prerelease=if-necessary-or-explicit --custom-compile-command "make lock" "$@"
}
compile pyproject.toml --extra audit -o requirements.txt # what the images have: serve, too
compile pyproject.toml --extra dev -o requirements-dev.txt
compile infra/docs/requirements.in -o infra/docs/requirements.txt # what `make docs` builds with
compile --no-deps tests/workers/serving/remote/requirements-transformers-server.in \
  -o tests/workers/serving/remote/requirements-transformers-server.txt
for peer in workers/bench/stream/peers/programs/*.in; do # of `weir bench stream --peers`; they pin what is compared
  compile "$peer" -o "${peer%.in}.txt"
done
