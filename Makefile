# `make demo` and `make test` do all their own set-up: a virtual environment in .venv.
PYTHON ?= python3
VENV := .venv/bin

.PHONY: demo test check format clean

demo: .venv/installed
	$(VENV)/sparta-hub demo $(ARGS)

test: .venv/developed check

check:  # what CI runs, in an environment that is there already: make check VENV=/path/to/bin
	$(VENV)/ruff check .
	$(VENV)/ruff format --check .
	$(VENV)/pyright --pythonpath $(VENV)/python
	$(VENV)/lint-imports
	$(VENV)/python -m pytest -n 2

format:
	$(VENV)/ruff format .
	$(VENV)/ruff check --fix .

.venv/installed: pyproject.toml
	test -x $(VENV)/python || $(PYTHON) -m venv .venv
	$(VENV)/pip install --quiet --disable-pip-version-check --editable .
	touch $@

.venv/developed: .venv/installed
	$(VENV)/pip install --quiet --disable-pip-version-check --upgrade "pip>=25.1"
	$(VENV)/pip install --quiet --disable-pip-version-check --group dev
	touch $@

clean:
	rm -rf .venv build dist demo-output
