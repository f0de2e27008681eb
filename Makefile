# Two commands for a newcomer: `make demo` and `make test`. Everything else is for who works here.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
EDGE := .venv-edge
PIP := pip install --disable-pip-version-check --quiet --constraint constraints.txt

.PHONY: demo test lint types bench clean

demo: $(VENV)/.ready
	$(BIN)/rtsysid demo

test: $(VENV)/.ready $(EDGE)/.ready lint types
	$(BIN)/pytest

lint: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.ready
	$(BIN)/mypy

bench: $(VENV)/.ready
	$(BIN)/python -m bench

clean:
	rm -rf $(VENV) $(EDGE) out runs bundles .mypy_cache .ruff_cache .pytest_cache .hypothesis

# The stamp is made last, so that an installation that broke off is taken up again.
$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV) || \
	  (apt-get update && apt-get install -y --no-install-recommends python3-venv && $(PYTHON) -m venv $(VENV))
	$(BIN)/$(PIP) --editable '.[dev]'
	touch $@

# What a robot gets: the plain install, without torch, to prove that it runs there.
$(EDGE)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(EDGE)
	$(EDGE)/bin/$(PIP) --editable .
	touch $@
