# Two commands for a newcomer: `make demo` and `make test`. Everything else is for who works here.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
EDGE := .venv-edge
PIP := pip install --disable-pip-version-check --quiet --constraint constraints.txt

.PHONY: demo test lint types bench fuzz soak firmware hil clean

demo: $(VENV)/.ready
	$(BIN)/rtsysid demo

test: $(VENV)/.ready $(VENV)/.compilers $(EDGE)/.ready lint types
	$(BIN)/pytest
	$(MAKE) hil

lint: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.ready
	$(BIN)/mypy

bench: $(VENV)/.ready
	$(BIN)/python -m bench

# Ten million hostile frames for each target and engine; `make test` runs a million.
fuzz: $(VENV)/.ready $(VENV)/.compilers
	RTSYSID_FUZZ_FRAMES=10000000 $(BIN)/pytest -q -s tests/test_fuzz.py

# A live session of so many seconds with something going wrong all the time; `make test` runs a short one.
SECONDS ?= 600
soak: $(VENV)/.ready $(VENV)/.compilers
	RTSYSID_SOAK_SECONDS=$(SECONDS) $(BIN)/pytest -q -s tests/test_soak.py

# Every image of every port, with its size: of a bundle where one is given, else of the reference size.
BUNDLE ?=
firmware: $(VENV)/.ready $(VENV)/.emulator
	$(BIN)/python -m bench.images $(BUNDLE)

# The same tests on the simulated and the emulated board; PORT=/dev/ttyACM0 BUNDLE=folder runs them on a real one.
PORT ?=
hil: $(VENV)/.ready $(VENV)/.compilers $(VENV)/.emulator
	$(BIN)/pytest hil $(if $(PORT),--port $(PORT)) $(if $(BUNDLE),--bundle $(BUNDLE))

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

# A C compiler for the simulated device, and clang for libFuzzer; without clang the same tests run on plain random inputs.
$(VENV)/.compilers: $(VENV)/.ready
	command -v cc && command -v clang || \
	  (apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev clang libclang-rt-dev) || \
	  command -v cc
	touch $@

# The Cortex-M compiler with its small C library, the emulator, and the cable between it and a host.
$(VENV)/.emulator: $(VENV)/.ready
	test -f "$$(arm-none-eabi-gcc -print-file-name=nano.specs)" && command -v qemu-system-arm && command -v socat || \
	  (apt-get update && apt-get install -y --no-install-recommends \
	    gcc-arm-none-eabi libnewlib-arm-none-eabi qemu-system-arm socat)
	touch $@
