# SPDX-License-Identifier: Apache-2.0
# Each target does its own set-up (scripts/setup.py) and needs only python3 with venv, its headers, make and g++.
#
#   make demo       cluster embeddings and real data, with times beside scikit-learn; pictures in build/demo
#                   (ARGS="--tokens FILE.npy" for embeddings of your own)
#   make test       C++ tests (for every instruction set a machine must have), then Python tests
#   make sanitize   C++ tests under AddressSanitizer + UBSan (make asan), then ThreadSanitizer (make tsan)
#   make fuzz       random fits in hostile memory beside the oracle, for SECONDS=60; FUZZ_SEED and FUZZ_CASE repeat one
#   make mutation   break the sources one line at a time: a test must notice each (an hour)
#   make bench-check  the `ci` benchmarks in turns with those of the last committed baseline; fails at 15 % slower
#                   (ARGS="--baseline COMMIT --preset readme --tokens FILE.npy --mnist FOLDER --limit 1.03")
#   make lint       ruff, mypy, clang-format; includes of src/ run downwards
#   make format     lay out the code as lint wants it
#   make clean      remove what the targets made
#
#   PYTHON=python3.12         which interpreter
#   EXTRA_PIP="torch==2.13.0" more packages for the tests: those that need an optional package run if it is there
#   CXX_TESTS=0               skip the C++ tests
#   FASTKMEANS_CUDA=AUTO      or ON, OFF: whether the CUDA kernels are built (AUTO: where there is a compiler for them)
#   CMAKE_ARGS, PYTEST_ARGS, ARGS   passed on

PYTHON ?= python3
ifeq ($(shell command -v $(PYTHON)),)
$(error $(PYTHON) is missing: apt-get install $(notdir $(PYTHON)))
endif
CXX_TESTS ?= 1
SECONDS ?= 60
# Each interpreter has its own environment, so that changing between them rebuilds nothing.
VENV ?= .venv$(patsubst %,-%,$(filter-out python3,$(notdir $(PYTHON))))
BIN := $(VENV)/bin
SETUP := $(PYTHON) scripts/setup.py --venv $(VENV)
CPP_BUILD := VENV=$(VENV) scripts/cpp_build.sh
CTEST := $(BIN)/ctest --output-on-failure --parallel $(shell nproc)
# Tests named ...Heavy take minutes when every access is checked.
FAST_TESTS := GTEST_FILTER='-*Heavy*'
CXX_SOURCES = $(shell find include src python tests/cpp examples/cpp benchmarks -name '*.[ch]pp' -o -name '*.cu' -o -name '*.cuh')
export CMAKE_ARGS

.PHONY: demo test cpp-test python-test sanitize asan tsan fuzz mutation bench-check lint format clean
# The parts of a target follow each other.
.NOTPARALLEL:

demo:
	@$(SETUP) --package --extras demo,cli
	$(BIN)/python examples/demo.py --output build/demo $(ARGS)

test: cpp-test python-test

ifeq ($(CXX_TESTS),0)
cpp-test:
	@echo "**** CXX_TESTS=0: THE C++ TESTS ARE SKIPPED ****"
else
cpp-test:
	@$(SETUP) --googletest
	$(CPP_BUILD) build/cpp $(CMAKE_ARGS)
	$(CTEST) --test-dir build/cpp
endif

python-test:
	@$(SETUP) --package --extras test,cli --extra-pip "$(EXTRA_PIP)"
	$(BIN)/python -m pytest tests/python $(PYTEST_ARGS)

sanitize: asan tsan

asan:
	@$(SETUP) --googletest
	$(CPP_BUILD) build/asan -DFASTKMEANS_CUDA=OFF -DFASTKMEANS_SANITIZE=address,undefined
	$(FAST_TESTS) $(CTEST) --test-dir build/asan

tsan:
	@$(SETUP) --googletest
	$(CPP_BUILD) build/tsan -DFASTKMEANS_CUDA=OFF -DFASTKMEANS_SANITIZE=thread
	# What threads share does not depend on the instruction set: the best one is enough.
	$(FAST_TESTS) $(CTEST) --test-dir build/tsan -R '^cpp$$'

fuzz:
	@$(SETUP) --googletest
	$(CPP_BUILD) build/cpp $(CMAKE_ARGS)
	build/cpp/tests/cpp/fastkmeans_fuzz $(SECONDS)

mutation:
	@$(SETUP) --googletest
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python scripts/mutation_check.py

bench-check:
	@$(SETUP) --package --extras bench
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m benchmarks check $(ARGS)

lint:
	@$(SETUP) --extras dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python scripts/check_includes.py
	$(BIN)/clang-format --dry-run -Werror $(CXX_SOURCES)

format:
	@$(SETUP) --extras dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(CXX_SOURCES)

clean:
	rm -rf build .venv .venv-* .pytest_cache .mypy_cache .ruff_cache .hypothesis
