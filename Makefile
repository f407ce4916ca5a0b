# `make demo` and `make test` do all their own set-up: a virtual environment in .venv.
PYTHON ?= python3
VENV := .venv/bin

# Modules are compiled as they are imported: to compile all that torch and gradio bring takes half a minute.
PIP := $(VENV)/pip install --quiet --disable-pip-version-check --no-compile

.PHONY: demo space space-static test check types pytest format clean

demo: .venv/installed
	$(VENV)/sparta-hub demo $(ARGS)

space: .venv/spaced  # the demo page, on http://127.0.0.1:7860
	GRADIO_ANALYTICS_ENABLED=False $(VENV)/python spaces/denoising/app.py

space-static: .venv/installed  # the same without a server: spaces/denoising/static/index.html
	$(VENV)/python spaces/denoising/static_page.py

test: .venv/developed check

check:  # what CI runs, in an environment that is there already: make check VENV=/path/to/bin
	$(VENV)/ruff check .
	$(VENV)/ruff format --check .
	$(VENV)/lint-imports
	$(MAKE) --no-print-directory -j2 types pytest

types:
	$(VENV)/pyright --pythonpath $(VENV)/python

pytest:
	$(VENV)/python -m pytest -n 2

format:
	$(VENV)/ruff format .
	$(VENV)/ruff check --fix .

.venv/installed: pyproject.toml
	test -x $(VENV)/python || $(PYTHON) -m venv .venv
	$(PIP) --editable .
	touch $@

.venv/spaced: .venv/installed
	$(PIP) "gradio>=6.31,<7"
	touch $@

.venv/developed: .venv/installed
	$(PIP) --upgrade "pip>=25.1"
	$(PIP) --group dev
	touch $@

clean:
	rm -rf .venv build dist demo-output
