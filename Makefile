# Two commands do all the set-up: `make demo` (the main job) and `make test`.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/pip --quiet --disable-pip-version-check
SOURCES := $(shell find src -type f -not -name '*.pyc')

.PHONY: demo test lint clean
.DEFAULT_GOAL := demo

.venv/bin/python:
	@$(PYTHON) -m venv .venv

.venv/.core: .venv/bin/python pyproject.toml constraints.txt $(SOURCES)
	@test -e .venv/.test || { echo "installing the core into .venv ..."; $(PIP) install --constraint constraints.txt .; }
	@touch $@

.venv/.test: .venv/bin/python pyproject.toml constraints.txt
	@echo "installing what the tests need into .venv (some minutes on a fresh machine) ..."
	@$(PIP) install --constraint constraints.txt --editable '.[test]'
	@touch $@

demo: .venv/.core
	@echo "$$ defake check examples/photographs examples/generated"
	@$(BIN)/defake check examples/photographs examples/generated --heatmap .demo
	@echo "Overlays of each image's tile scores are in .demo/."
	@echo "Next: $(BIN)/defake check YOUR_FILES    $(BIN)/defake --help    make test"

test: .venv/.test
	@$(BIN)/python -m pytest -n 2 --dist loadscope
	@echo "Next: make lint    make demo"

lint: .venv/.test
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/mypy

clean:
	@rm -rf .venv .demo
