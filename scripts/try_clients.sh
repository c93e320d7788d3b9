#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# PyLate and fast-plaid on our FastKMeans, in a fresh virtual environment; docs/clients.md says what is shown.
#   scripts/try_clients.sh [FOLDER]     default build/clients; 2 GB; needs python3-dev, python3-venv and g++
#   PYTHON=python3.11                   which interpreter
#   TORCH=torch==2.13.0                 which torch; no other is installed. A CPU build will do
set -euo pipefail
cd "$(dirname "$0")/.."
folder=${1:-build/clients}
torch=${TORCH:-torch==2.13.0}

rm -rf "$folder"
"${PYTHON:-python3}" -m venv "$folder/venv"
# PyLate compiles its search when it first runs, with the environment's ninja.
PATH="$(realpath "$folder")/venv/bin:$PATH"
export TORCH_EXTENSIONS_DIR="$(realpath "$folder")/torch_extensions" HF_HUB_OFFLINE=1
install() { python -m pip install --quiet --disable-pip-version-check "$@"; }

echo "clients: our wheel, under a version that meets the clients' pin"
FASTKMEANS_WHEEL_VERSION=0.5.0+exact.1 python -m pip wheel . --quiet --disable-pip-version-check --no-deps \
  --config-settings=build-dir="$folder/build" --wheel-dir "$folder/wheel"
install "$folder"/wheel/*.whl

echo "clients: $torch, PyLate, the newest fast-plaid that it allows, and what they ask for, our pin included"
install --no-deps pylate==1.6.0 fast-plaid==1.4.6.2110
# fast-plaid pins the torch that its Rust core was built for; everything else is installed as asked.
needs=$(python - pylate fast-plaid <<'EOF'
import sys
from importlib.metadata import requires
from pip._vendor.packaging.requirements import Requirement
clients = sys.argv[1:]
needs = [Requirement(line) for client in clients for line in requires(client)]
for need in needs:
    if need.name not in [*clients, "torch"] and (need.marker is None or need.marker.evaluate({"extra": ""})):
        print(f"{need.name}{need.specifier}")
EOF
)
# shellcheck disable=SC2086  # one requirement a word
install "$torch" $needs
python scripts/try_clients.py pylate fast-plaid

echo "clients: the newest fast-plaid"
install --no-deps fast-plaid==1.7.0.2110
python scripts/try_clients.py fast-plaid
