SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
# Two benchmarks at once would measure each other.
.NOTPARALLEL:
.PHONY: help env report sample test test-all test-browser lab bench models selfcheck lint format clean .venv

PROFILE ?= quick
PARAMS ?=
SHAPES ?=
ANYWAY ?=
LABFLAGS ?=
AT_ONCE = $(if $(ANYWAY), --anyway)

# An activated conda environment made from environment.yml serves as it is; otherwise there is a .venv.
ifeq ($(CONDA_DEFAULT_ENV),moe)
BIN := $(CONDA_PREFIX)/bin
READY :=
else
BIN := .venv/bin
READY := .venv
endif

help: ## What there is to make
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

env: $(READY) ## Set up .venv and compile the Mojo kernel
	$(BIN)/moe build || $(BIN)/moe doctor

.venv:
	@bash make_venv.sh

report: $(READY) ## Measure and render: PROFILE=smoke|quick|full, PARAMS="tokens=256 top_k=1"
	$(BIN)/moe report$(AT_ONCE) --profile $(PROFILE) $(foreach p,$(PARAMS),-p '$(p)')

sample: report ## A report again, and from it docs/sample and README's picture
	mkdir -p docs/sample
	cp reports/latest/*.html reports/latest/*.json reports/latest/*.csv reports/latest/claims.yaml docs/sample/
	cp reports/latest/figures/fastest.png docs/

test: lint ## Lint, then the tests that do not take long: some five minutes
	$(BIN)/python -m pytest

test-all: lint ## Lint, then all tests but the browser's: about half an hour, and an emulator of ARM
	$(BIN)/python -m pytest -m "not browser"

test-browser: $(READY) ## Tests of the pages and of explore.ipynb in a real browser: needs Chromium
	$(BIN)/python -m pytest -m browser tests/test_browser*.py

lab: $(READY) ## Open copies of the notebooks, my_*.ipynb, in JupyterLab: LABFLAGS=--allow-root
	cd notebooks && for name in *.ipynb; do [[ $$name = my_* || -e my_$$name ]] || cp $$name my_$$name; done
	$(BIN)/jupyter lab $(LABFLAGS) --LabApp.default_url=/lab/tree/notebooks/my_explore.ipynb

bench: $(READY) ## The kernel beside its goals and PyTorch's layers, 45 minutes: SHAPES="seed medium", or bfloat16
	$(BIN)/moe goals$(AT_ONCE) $(SHAPES)

models: $(READY) ## The kernel beside other libraries on models' layers, 40 minutes, into docs/models.md
	$(BIN)/moe peers --models --budget 300$(AT_ONCE)
	$(BIN)/moe peers --models --page docs/models.md

selfcheck: $(READY) ## Do intervals hold, also on a busy machine, and are cheats alone seen through? 20 minutes
	$(BIN)/moe selfcheck$(AT_ONCE)

lint: $(READY) ## Check style, types, notebooks and Mojo's formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/nbstripout --verify --keep-id notebooks/*.ipynb
	$(BIN)/mblack --quiet --check --line-length 118 mojo_src

format: $(READY) ## Format Python, notebooks and Mojo
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/nbstripout --keep-id notebooks/*.ipynb
	$(BIN)/mblack --quiet --line-length 118 mojo_src

clean: ## Remove .venv, caches and rendered reports
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find reports -mindepth 1 -maxdepth 1 ! -name README.md -exec rm -rf {} +
