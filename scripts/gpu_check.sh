#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds, tests and measures on a machine with a GPU, a CUDA compiler and no network. Stops at the first failure; the
# last lines say which stages ran, and for how long.
#
#   scripts/gpu_check.sh [LOG=FILE] [STAGE...]     stages: build test sanitize kernels colbert memory (all, in this order)
#
# PYTHON (python3) has torch, triton, pytest and what the build needs. Where they are not installed:
#   GOOGLETEST=FOLDER               GoogleTest's sources, built here
#   FASTKMEANS_BENCH_PEERS=FOLDER   the peers, as `python -m benchmarks install` lays them out
# RESULTS=FOLDER (build/gpu/results) gets the result files. A copy without git needs FASTKMEANS_COMMIT (HACKING.md).
# GTEST_FILTER and PYTEST_ARGS narrow the tests; BENCH_ARGS, the races: BENCH_ARGS="--cases colbert-8192" with inertia,
# which is left out by default since at the large sizes it takes longer than the fits.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
build=build/gpu
tests=$build/cpp/tests/cpp/fastkmeans_tests
results=${RESULTS:-$build/results}
bench_args=${BENCH_ARGS---no-inertia}
mkdir -p "$build" "$results"

do_build() {
  local found=()
  if [ -n "${GOOGLETEST:-}" ]; then
    cmake -G Ninja -S "$GOOGLETEST" -B "$build/googletest" -DBUILD_GMOCK=OFF -DCMAKE_BUILD_TYPE=Release \
      -DCMAKE_INSTALL_PREFIX="$PWD/$build/prefix" --log-level=WARNING
    cmake --build "$build/googletest" --target install >/dev/null
    found=(-DCMAKE_PREFIX_PATH="$PWD/$build/prefix")
  fi
  cmake -G Ninja -S . -B "$build/cpp" --log-level=WARNING -DFASTKMEANS_CUDA=ON -DFASTKMEANS_BUILD_TESTS=ON "${found[@]}"
  cmake --build "$build/cpp" --target fastkmeans_tests
  CMAKE_ARGS="${CMAKE_ARGS:-} -DFASTKMEANS_CUDA=ON" "$python" -m pip install --quiet --no-index --no-deps \
    --no-build-isolation --force-reinstall .
  "$python" -c 'import fastkmeans; print("installed:", fastkmeans.__version__)'
}

do_test() {
  "$tests" --gtest_brief=1
  local workers=()
  if "$python" -c 'import xdist' 2>/dev/null; then workers=(-n 8); fi
  # shellcheck disable=SC2086
  "$python" -m pytest -q "${workers[@]}" -m "not alone" tests/python/test_cuda*.py ${PYTEST_ARGS:-}
  if [ -z "${PYTEST_ARGS:-}" ]; then "$python" -m pytest -q -m alone tests/python/test_cuda*.py; fi
}

do_sanitize() {
  # Racecheck does not know bulk copies (cp.async.bulk) and takes what waits for them for races: tests that need them
  # have Bulk in their name, and the others take a scan that has none. Tests named ...Heavy take minutes when every access
  # is checked.
  local tool filter scan=
  for tool in memcheck initcheck synccheck racecheck; do
    filter='*Cuda*-*Heavy*'
    if [ $tool = racecheck ]; then
      filter+=':*Bulk*'
      scan=mma_rows_in_turn
    fi
    # A filter that no test passes is no error to GoogleTest.
    "$tests" --gtest_filter="$filter" --gtest_list_tests | grep -c '^  '
    FASTKMEANS_CUDA_KERNEL=$scan compute-sanitizer --tool $tool --error-exitcode 1 "$tests" --gtest_filter="$filter" --gtest_brief=1
  done
}

do_kernels() {  # registers, shared memory and spills
  "$python" scripts/list_kernels.py "$tests"
}

race() {  # PRESET, then what to run it with
  # shellcheck disable=SC2086
  "$python" -m benchmarks run --device cuda --data-dir "$([ -w /dev/shm ] && echo /dev/shm || echo "$build")/bench-data" \
    --output "$results" --verbose --preset "$@" $bench_args
}

do_colbert() {  # ours first; one fit in a new process and one after it
  race colbert --peers ours,flash-kmeans-fp16,fastkmeans-triton --modes host --reps 1 --timeout 60
}

do_memory() {  # without and with memory_limit; a fit that takes more than its limit is ended, and its row says so
  race memory --peers ours-11gb,ours-6gb --modes host --reps 0 --timeout 150
}

run_stages() {
  stage="start" table="" began=$SECONDS  # global: the trap runs when this function is gone
  trap 'status=$?; printf "%s" "$table"; [ $status = 0 ] || echo "==== FAILED in: $stage"' EXIT
  nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader
  nvcc --version | grep release
  for stage in "$@"; do
    echo "==== $stage"
    began=$SECONDS
    "do_$stage"
    table+=$(printf '==== %-9s %4d s' "$stage" $((SECONDS - began)))$'\n'
  done
}

log=$build/check.log
stages=()
for word in "$@"; do
  case $word in
    LOG=*) log=${word#LOG=} ;;
    build | test | sanitize | kernels | colbert | memory) stages+=("$word") ;;
    *) echo "gpu_check.sh: no stage $word; see the top of the file" >&2 && exit 2 ;;
  esac
done
[ ${#stages[@]} -gt 0 ] || stages=(build test sanitize kernels colbert memory)
# In a pipe of its own shell: a failure ends it at once, `pipefail` hands its status on, and tee has written all.
(run_stages "${stages[@]}") 2>&1 | sed -u "s|$PWD/||g; s|$results/||g" | tee "$log"
