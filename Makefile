# Two commands: `make repro` and `make test`. Each sets everything up on its first call, and only then.
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export HF_HUB_DISABLE_TELEMETRY := 1
PYTHON ?= python3
SETUP := .venv/.installed

.PHONY: setup repro test check bench agreement
setup: $(SETUP)

$(SETUP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed; call: make PYTHON=python3.11 …")'
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt torch
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt '.[dev]'
	rm -rf build *.egg-info
	touch $@

repro: $(SETUP)
	python -m stages.check_params
	dvc repro

check: $(SETUP)
	ruff check .
	mypy

test: check
	python -m pytest

# Both need the real databases and predictions beside the repository (../shared/real).
bench: $(SETUP)
	python -m tests.benchmarks.speed
	python -m tests.benchmarks.corpora

agreement: $(SETUP)
	python -m tests.benchmarks.agreement
