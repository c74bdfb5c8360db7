# `make example` and `make test` set up what they need in .venv, once.
PYTHON ?= python3
VENV ?= .venv
PYTEST ?= pytest
OPTIONS ?=
PATHS ?=

BIN = $(abspath $(VENV))/bin
SOURCES = pyproject.toml $(wildcard example_suite/*.c example_suite/*/*.h) \
          example_suite/pyproject.toml example_suite/setup.py

.PHONY: example test test-beside-others lint ruff format mypy imports readme clean

# The example suite, forked; fails unless every test told the truth.
example: $(VENV)/ready
	cd example_suite && $(BIN)/python truth.py

test: $(VENV)/ready
	$(BIN)/python -m pytest $(OPTIONS) $(PATHS)

# Plugins are loaded wherever they are installed: give this its own VENV.
test-beside-others: $(VENV)/ready
	$(BIN)/python -m pip install --quiet pytest-forked pytest-rerunfailures flaky pytest-timeout allure-pytest
	$(BIN)/python -m pytest $(OPTIONS) tests/acceptance/test_options_and_markers.py tests/with_others

lint: ruff format mypy imports

ruff: $(VENV)/ready-to-lint
	$(BIN)/ruff check .

format: $(VENV)/ready-to-lint
	$(BIN)/ruff format --check .

mypy: $(VENV)/ready-to-lint
	$(BIN)/mypy

imports: $(VENV)/ready-to-lint
	$(BIN)/lint-imports

# Paste the outputs in README.md anew.
readme: $(VENV)/ready
	$(BIN)/python tests/test_example_suite.py

$(VENV)/ready: $(SOURCES)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[test]' ./example_suite '$(PYTEST)'
	touch $@

$(VENV)/ready-to-lint: $(VENV)/ready
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) example_suite/build example_suite/*.egg-info
