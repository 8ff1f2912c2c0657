# Everything that a fresh machine needs: make train, make test. Python 3.11 or later, and make.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PACKAGES := . plugins/envs/gym_env plugins/envs/cutting_2d plugins/envs/envpool plugins/envs/minigrid \
	plugins/envs/pettingzoo plugins/models/perception plugins/algorithms/es plugins/algorithms/ppo plugins/algorithms/a2c \
	plugins/sweepers/optuna plugins/runners/ray
SOURCES := maze_core conf plugins tests benchmarks examples docs/*.py

.DEFAULT_GOAL := help

# Tests run side by side, one thread each: more would only wait for each other.
test test-all kill-sweep check: export OMP_NUM_THREADS := 1
test test-all kill-sweep check: export OPENBLAS_NUM_THREADS := 1
.PHONY: help install train test test-all kill-sweep check lint format types docs bench bench-install clean

help:  ## Show this list.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-14s %s\n", $$1, $$2}'

install: $(VENV)/.installed  ## Set up the virtual environment with the core and all plugins.

$(VENV)/.installed: requirements.txt setup.cfg $(wildcard plugins/*/*/setup.cfg)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or later is needed: make PYTHON=/path/to/python3.12 ..."; exit 1; }
	test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation $(addprefix -e ,$(PACKAGES))
	touch $@

train: install  ## Train the default: evolution strategies on CartPole-v1.
	$(BIN)/maze train

test: install  ## Run the fast tests and the short forms of the marked ones.
	$(BIN)/python -m pytest -n 2 --dist loadgroup -m "not long"

test-all: install  ## Run every test, the long forms too.
	$(BIN)/python -m pytest -n 2 --dist loadgroup

kill-sweep: install  ## Kill runs 50 times for each algorithm, and at every file operation: each ends alike.
	$(BIN)/python -m pytest -n 2 --dist loadgroup -m kill

check: lint types install  ## Format, lint, types, and the fast tests: green before every commit.
	$(BIN)/python -m pytest -n 2 --dist loadgroup -m "not (long or learning or kill or workers or ray or browser)"

lint: install  ## Check format and style.
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)

types: install  ## Check types.
	$(BIN)/mypy

format: install  ## Format the code.
	$(BIN)/ruff format $(SOURCES)
	$(BIN)/ruff check --fix $(SOURCES)

docs: install  ## Write the reference anew, and build the documentation as a site in site/.
	$(BIN)/python docs/make_reference.py
	$(BIN)/python -m sphinx -W --keep-going -E -q -c docs -d site/.doctrees . site
	@echo "Open site/index.html"

bench-install: install $(VENV)-bench/.installed  ## Set up the environment of the benchmarks' peers.

$(VENV)-bench/.installed: benchmarks/requirements.txt
	test -d $(VENV)-bench || $(PYTHON) -m venv $(VENV)-bench
	$(VENV)-bench/bin/python -m pip install --quiet --disable-pip-version-check -r benchmarks/requirements.txt
	touch $@

bench: bench-install  ## Measure speed side by side with the peers.
	$(BIN)/python benchmarks/es_cartpole.py
	$(BIN)/python benchmarks/throughput.py
	$(BIN)/python benchmarks/rollouts.py

clean:  ## Remove the virtual environments, the site and caches.
	rm -rf $(VENV) $(VENV)-bench site .pytest_cache .mypy_cache .ruff_cache
