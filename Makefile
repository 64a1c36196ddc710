# Everything here needs git, make and a Python 3.11 to 3.14; the rest is installed into .venv from constraints.txt.
# `make PYTHON=/path/to/python ...` names the Python, `make test TESTS="-k store"` the tests.

SHELL := /bin/sh
VENV := .venv
RUN := $(VENV)/bin/python
TESTS ?=
# What every run of the suite leaves out: `slow` has its own target, `peers` needs other simulators.
FAST := -m "not slow and not peers"
# One process more than there are cores, for tests wait for the disk half of the time; up to four, for each takes memory.
CORES = -n $$(($$(getconf _NPROCESSORS_ONLN) + 1)) --maxprocesses 4 --dist worksteal

.PHONY: help demo test test-slow test-pythons lint format bench check-peers check-sonata bench-peers venv pins clean
.NOTPARALLEL:
.DEFAULT_GOAL := help

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' Makefile | awk -F'|' '{ printf "%-22s %s\n", $$1, $$2 }'

demo: ## import a worm's connectome, touch it, restore it; leaves a picture and the engram in demo-out
	@.ci/venv $(VENV)
	@$(VENV)/bin/engramdb demo --out demo-out

test: ## run the test suite
	@.ci/venv $(VENV) test
	@$(RUN) -m pytest $(FAST) $(CORES) $(TESTS)

test-slow: ## run the long tests too, with many more random examples
	@.ci/venv $(VENV) test
	@HYPOTHESIS_PROFILE=thorough $(RUN) -m pytest -m "not peers" $(CORES) $(TESTS)

test-pythons: ## run the suite on every Python 3.11 to 3.14 on this machine, pyenv's included
	@.ci/test-pythons $(FAST) $(CORES) $(TESTS)

lint: ## check style, format, types and the direction of imports
	@.ci/venv $(VENV) lint
	@$(VENV)/bin/ruff check
	@$(VENV)/bin/ruff format --check
	@$(VENV)/bin/mypy
	@$(VENV)/bin/lint-imports --no-logo

format: ## bring the code into the one format that lint accepts
	@.ci/venv $(VENV) lint
	@$(VENV)/bin/ruff check --fix
	@$(VENV)/bin/ruff format

bench: ## measure the workloads and print each figure with its bound
	@.ci/venv $(VENV)
	@$(VENV)/bin/engramdb bench

check-peers: .venv-peers/ready ## compare runs, spike for spike, with Brian2 and NEST
	@.ci/venv $(VENV) test
	@.ci/venv-nest .venv-nest
	@$(RUN) tests/peers/check.py --brian2 .venv-peers/bin/python --nest .venv-nest/bin/python

check-sonata: .venv-sonata/ready ## read exported SONATA networks with libsonata and bmtk, and compare every edge
	@.ci/venv $(VENV) test
	@$(RUN) tests/peers/sonata_readers.py .venv-sonata/bin/python

bench-peers: .venv-peers/ready ## run the workloads here and in the other simulators, in turn
	@.ci/venv $(VENV) test
	@$(RUN) tests/benchmarks/bench_brian2.py .venv-peers/bin/python
	@$(RUN) tests/benchmarks/bench_brian2_store.py .venv-peers/bin/python
	@$(RUN) tests/benchmarks/bench_stdp.py .venv-peers/bin/python
	@.ci/venv-nest .venv-nest
	@$(RUN) tests/benchmarks/bench_small.py --brian2 .venv-peers/bin/python --nest .venv-nest/bin/python

# The peers live apart: they are never dependencies.
.venv-peers/ready: constraints-peers.txt
	@.ci/venv $(VENV) test
	@$(RUN) -m venv --clear .venv-peers
	@.venv-peers/bin/python -m pip --disable-pip-version-check --quiet install -r constraints-peers.txt
	@touch $@

.venv-sonata/ready: constraints-sonata.txt
	@.ci/venv $(VENV) test
	@$(RUN) -m venv --clear .venv-sonata
	@.venv-sonata/bin/python -m pip --disable-pip-version-check --quiet install -r constraints-sonata.txt
	@touch $@

venv: ## set up .venv with everything that test and lint need
	@.ci/venv $(VENV) test
	@.ci/venv $(VENV) lint

# Brian2 2.9, the newest for Python 3.11, uses ndarray.ptp, which NumPy 2.4 took away.
pins: ## resolve the newest versions again and write constraints.txt and those of the peers
	@.ci/venv $(VENV)
	@$(RUN) .ci/pin.py constraints.txt
	@$(RUN) .ci/pin.py constraints-peers.txt brian2 cython setuptools "numpy<2.4"
	@$(RUN) .ci/pin.py --where-it-is constraints-nest.txt nest-simulator
	@$(RUN) .ci/pin.py --where-it-is constraints-sonata.txt libsonata bmtk

clean: ## remove the environments, caches and what the demo and the build left behind
	rm -rf .venv .venvs .venv-peers .venv-nest .venv-sonata demo-out bench-out build dist engramdb.egg-info
	rm -rf .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
