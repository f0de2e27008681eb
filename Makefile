# Two commands for a newcomer: `make demo` and `make test`. While you work here: `make fast`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
EDGE := .venv-edge
PIP := pip install --disable-pip-version-check --quiet --constraint constraints.txt

# Workers of pytest. More than one for each core gains nothing; each holds torch, about a gigabyte.
JOBS ?= auto
PYTEST := $(BIN)/pytest --numprocesses $(JOBS) --maxprocesses 8 --dist worksteal

# Recordings that lie beside the repository are found by the tests, as if RTSYSID_DATA named them.
ifneq ($(wildcard ../shared/data),)
export RTSYSID_DATA ?= $(abspath ../shared/data)
endif

.DELETE_ON_ERROR:
.PHONY: demo test fast hard lint readability types tests install bench fuzz soak mutants firmware hil site clean

demo: $(VENV)/.ready
	$(BIN)/rtsysid demo

# The whole check. What waits for the network is installed side by side, and many tests wait for a clock or a device:
# mypy and the rig run at the same time, and show what they print when they end.
test:
	$(MAKE) --jobs 3 install
	$(MAKE) lint
	$(MAKE) --no-print-directory --jobs 3 --output-sync=target types hil tests

# What needs neither torch nor a compiler nor the emulator, and is not marked slow: one to two minutes.
fast: $(VENV)/.ready
	$(PYTEST) --fast

# The plus shows the tests' progress as it happens, whatever the output of others waits for.
tests: $(VENV)/.ready $(VENV)/.compilers $(EDGE)/.ready
	+$(PYTEST)

# The tests where a machine is at its worst: eight other processes that never rest; then the arithmetic of an old
# processor, whose sums round otherwise.
hard: $(VENV)/.ready $(VENV)/.compilers $(EDGE)/.ready
	$(BIN)/python tests/support/busy.py 8 $(PYTEST)
	OPENBLAS_CORETYPE=Nehalem ATEN_CPU_CAPABILITY=default DNNL_MAX_CPU_ISA=SSE41 $(PYTEST)

install: $(VENV)/.ready $(EDGE)/.ready $(VENV)/.compilers $(VENV)/.emulator $(VENV)/.server $(VENV)/.cross

lint: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m tools.docstrings
	$(BIN)/python -m tools.structure

# How hard the documents are to read, and what breaks the rules of language; a test holds them.
readability: $(VENV)/.ready
	$(BIN)/python -m tools.readability

# The documents as a site in out/site. Strict: a broken link ends the build.
site: $(VENV)/.ready
	$(BIN)/zensical build --strict --clean

types: $(VENV)/.ready
	$(BIN)/mypy

bench: $(VENV)/.ready
	$(BIN)/python -m bench

# Ten million hostile frames for each target and engine; a hundred thousand mutated bundles, recordings of each format,
# and conversations with boards that misbehave; ten thousand names of channels as C. `make test` runs 1 % or less.
fuzz: $(VENV)/.ready $(VENV)/.compilers
	RTSYSID_FUZZ_BUNDLES=100000 $(BIN)/pytest -q -o timeout=0 tests/model/test_fuzz_bundle.py
	RTSYSID_FUZZ_FRAMES=10000000 $(BIN)/pytest -q -s tests/firmware_bridge/test_fuzz.py
	RTSYSID_FUZZ_RECORDINGS=100000 $(BIN)/pytest -q -s tests/recordings/test_fuzz_recordings.py
	RTSYSID_FUZZ_CONVERSATIONS=100000 $(BIN)/pytest -q -s tests/firmware_bridge/test_fuzz_conversation.py
	RTSYSID_FUZZ_NAMES=10000 $(BIN)/pytest -q tests/export/test_generated_names.py

# A live session of so many seconds with something going wrong all the time, then each source for as long, at 500 Hz with
# 13 channels; `make test` runs a few seconds.
SECONDS ?= 600
soak: $(VENV)/.ready $(VENV)/.compilers
	RTSYSID_SOAK_SECONDS=$(SECONDS) $(BIN)/pytest -q -s tests/cli/test_soak.py tests/sources/test_rates.py

# Change the core in some 600 places, one at a time, and see a test fail each time; `make test` tries a few of them.
mutants: $(VENV)/.ready
	$(BIN)/python -m tools.mutants

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

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV) || \
	  (apt-get update && apt-get install -y --no-install-recommends python3-venv && $(PYTHON) -m venv $(VENV))

# The stamp is made last, so that an installation that broke off is taken up again.
$(VENV)/.ready: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/$(PIP) --editable '.[dev]'
	touch $@

# What a robot gets: the plain install, without torch, to prove that it runs there.
$(EDGE)/.ready: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PYTHON) -m venv $(EDGE)
	$(EDGE)/bin/$(PIP) --editable .
	touch $@

# A C compiler for the simulated device, and clang for libFuzzer; without clang the same tests run on plain random inputs.
$(VENV)/.compilers: | $(VENV)/bin/python
	command -v cc && command -v clang || \
	  (apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev clang libclang-rt-dev) || \
	  command -v cc
	touch $@

# The Cortex-M compiler with its small C library, the emulator, and the cable between it and a host. After the compilers,
# since one apt-get at a time may run.
$(VENV)/.emulator: | $(VENV)/.compilers
	test -f "$$(arm-none-eabi-gcc -print-file-name=nano.specs)" && command -v qemu-system-arm && command -v socat || \
	  (apt-get update && apt-get install -y --no-install-recommends \
	    gcc-arm-none-eabi libnewlib-arm-none-eabi qemu-system-arm socat)
	touch $@

# The PostgreSQL server that tests start for sweeps on many machines; Debian installs it off the path. Without it these
# tests are skipped. After the emulator, since one apt-get at a time may run.
$(VENV)/.server: | $(VENV)/.emulator
	(command -v initdb || ls /usr/lib/postgresql/*/bin/initdb || \
	  (apt-get update && apt-get install -y --no-install-recommends postgresql)) && touch $@ || \
	  echo "no PostgreSQL server: the tests of sweeps on many machines will be skipped"

# Cross compilers and the emulator of processes, for libraries of other machines; without them these tests are skipped by
# name. After the server, since one apt-get at a time may run.
$(VENV)/.cross: | $(VENV)/.server
	(command -v aarch64-linux-gnu-gcc && command -v arm-linux-gnueabihf-gcc && command -v qemu-aarch64 || \
	  (apt-get update && apt-get install -y --no-install-recommends gcc-aarch64-linux-gnu libc6-dev-arm64-cross \
	    gcc-arm-linux-gnueabihf libc6-dev-armhf-cross qemu-user)) && touch $@ || \
	  echo "no cross compilers: the tests of libraries for other machines will be skipped"
