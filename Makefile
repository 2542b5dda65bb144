# make demo   the main job: LeNet-5 from ONNX to Verilog, simulation, bitstream and report
# make test   the tests (make test-all: the slow ones too; make test-extras: with all packages that
#             some compare with, see EXTRAS)
# make bench  area and clock of the arrays against a textbook array
# make check  linter, formatter and both type checkers
# make figures  the measured figures of README and docs; WHAT=NAME measures one anew
# make docs   the documentation, build/docs/index.html
#
# Everything Python goes to .venv; the only Debian package installed is iverilog, if it is missing.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
JOBS ?= 2
# Extras of pyproject.toml that a few tests need; train is another, of 2 GB.
EXTRAS ?= oracle,llm
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo check checkers test test-all test-extras extras bench figures docs clean setup icarus compiler
.DEFAULT_GOAL := demo

setup: icarus compiler $(VENV)/ready

$(VENV)/made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "tilewright needs Python 3.11 or later; set PYTHON=... to another interpreter" >&2; \
	  exit 1; }
	@echo "Making a Python environment in $(VENV)"
	@$(PYTHON) -m venv $(VENV) || { \
	  echo "Python's venv module is incomplete; on Debian: apt-get install python3-venv" >&2; \
	  exit 1; }
	@touch $@

$(VENV)/ready: pyproject.toml $(VENV)/made
	@echo "Installing tilewright with its Python packages into $(VENV) (about 700 MB)"
	@$(BIN)/python -m pip install --quiet --editable '.[all,test]'
	@$(BIN)/tilewright doctor --prepare
	@touch $@

$(VENV)/ready-check: $(VENV)/ready
	@$(BIN)/python -m pip install --quiet --editable '.[check,$(EXTRAS)]'
	@touch $@

$(VENV)/ready-docs: $(VENV)/ready
	@$(BIN)/python -m pip install --quiet --editable '.[docs]'
	@touch $@

icarus:
	@command -v iverilog >/dev/null || { \
	  echo "Icarus Verilog is missing: installing the Debian package iverilog"; \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get update -qq && apt-get install -qq -y iverilog >/dev/null; \
	  elif sudo -n true 2>/dev/null && command -v apt-get >/dev/null; then \
	    sudo apt-get update -qq && sudo apt-get install -qq -y iverilog >/dev/null; \
	  else false; fi; } || { \
	  echo "iverilog could not be installed; please run: sudo apt-get install iverilog" >&2; \
	  exit 1; }

compiler:
	@command -v $${CXX:-g++} >/dev/null || { \
	  echo "a C++ compiler is missing; on Debian: apt-get install g++" >&2; exit 1; }

demo: setup
	@$(BIN)/tilewright run examples/lenet5 --board ulx3s-85f --output build/demo

checkers: $(VENV)/ready-check

check: checkers
	@$(BIN)/ruff check --quiet
	@$(BIN)/ruff format --check --quiet
	@$(BIN)/pyright
	@$(BIN)/mypy

test: setup
	@$(BIN)/python -m pytest -n $(JOBS) -m "not slow"

test-all: setup
	@$(BIN)/python -m pytest -n $(JOBS)

extras: setup
	@echo "Installing what a few tests need: $(EXTRAS)"
	@$(BIN)/python -m pip install --quiet --editable '.[$(EXTRAS)]'

test-extras: extras
	@$(BIN)/python -m pytest -n $(JOBS) -m "not slow"

figures: setup
	@$(BIN)/tilewright figures $(WHAT)

bench: setup
	@$(BIN)/tilewright bench arrays

docs: $(VENV)/ready-docs
	@$(BIN)/python -m sphinx -W --keep-going -q -b html docs build/docs
	@echo "build/docs/index.html"

clean:
	rm -rf build
