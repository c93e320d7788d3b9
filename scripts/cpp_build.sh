#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Configures and builds the C++ library and its tests, with the cmake and ninja of the virtual environment.
#   VENV=.venv scripts/cpp_build.sh BUILD_DIR [CMake options]
set -euo pipefail
cd "$(dirname "$0")/.."
PATH="$PWD/${VENV:?the virtual environment}/bin:$PATH"
build_dir=$1
shift
cmake -G Ninja -S . -B "$build_dir" --log-level=WARNING -DCMAKE_CXX_COMPILER="${CXX:-g++}" -DFASTKMEANS_BUILD_TESTS=ON "$@"
cmake --build "$build_dir"
