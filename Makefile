# make demo   sets up .venv, segments sample_images/, prints where the pictures are
# make test   sets up .venv, runs every check that CI runs
# make docs   sets up .venv, writes the reference of commands and settings anew, builds the documentation into site/
# Needs python3 >= 3.11 with venv, and about 8 GB of disk; gcc and Python.h for the CRF, which is left out without them.

PYTHON ?= python3
VENV := .venv
# Processes that run tests; each takes about 1.5 GB.
JOBS ?= 2
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test lint docs clean

demo: $(STAMP)
	$(BIN)/segspectral demo --output out/demo

test: $(STAMP) lint
	$(BIN)/python -m pytest --numprocesses $(JOBS) --dist worksteal

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

docs: $(STAMP)
	$(BIN)/python tools/docs_pages.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

$(STAMP): pyproject.toml constraints.txt tools/install.sh
	sh tools/install.sh "$(PYTHON)" "$(VENV)"
	touch $(STAMP)

clean:
	rm -rf $(VENV) out site
