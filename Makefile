# `make demo` and `make test` work on a bare machine with Python 3.11+ and pip.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# a file's tests stay in one process, and so share its finished roots
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile --durations=25
BENCH := $(BIN)/python -m benchmarks
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test test-rest test-all check docs install install-dev install-cluster slow cluster-test bench clean

demo: install
	$(BIN)/python jobs/sweep.py demo

test: install-dev
	$(PYTEST)

# what test-all adds
test-rest: install-dev
	$(PYTEST) -m 'full and not slow'

test-all: install-dev
	$(PYTEST) -m 'not slow and not cluster'

slow: install-dev
	$(BIN)/python -m pytest -m slow

# TESTBED: a folder with hosts.sh, which makes hosts with addresses and sshd of their own; needs root.
# The checkout's .venv must not be below /tmp, which every host has for itself.
cluster-test: install-cluster
	TESTBED="$(TESTBED)" $(BIN)/python -m pytest -m cluster

# DATA: a folder of GLUE's <task>/{train,validation}.parquet. The flags are such that all takes less than 20 minutes
# on 2 cores; benchmarks/results.json has the numbers.
bench: install-dev
	@test -d "$(DATA)" || { echo "make bench wants DATA=folder, of GLUE's <task>/{train,validation}.parquet"; exit 2; }
	$(BENCH).finetuning --data "$(DATA)" --steps 12 --padded-steps 3 --number 1
	$(BENCH).evaluating --data "$(DATA)" --rows 64 --number 2
	$(BENCH).compaction --steps 1
	$(BENCH).whole --data "$(DATA)" --number 1
	$(BENCH).small_nodes
	$(BENCH).mask_scale
	$(BENCH).report_time
	$(BENCH).sweep_overhead --slots 8 --seconds 0.5 --sizes
	$(BENCH).makespan --slots 8 --total 800

check: install-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# build/site/index.html; the variable keeps the theme from telling of its successor
docs: install-dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

install: $(VENV)/installed
install-dev: $(VENV)/installed-dev
install-cluster: $(VENV)/installed-cluster

$(VENV)/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "lottery_ray needs Python 3.11 or newer; name one: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PIP_INSTALL) pip
	$(PIP_INSTALL) --editable '.[ray,wandb]'
	touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(PIP_INSTALL) --group dev --group docs
	touch $@

$(VENV)/installed-cluster: $(VENV)/installed-dev
	$(PIP_INSTALL) --editable '.[cluster]'
	touch $@

clean:
	rm -rf $(VENV)
