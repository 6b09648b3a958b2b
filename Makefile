# Everyday commands; `make help` lists them.

DWCA ?=
OUTPUT ?=
OLD ?=
NEW ?=
CHUNKS ?=
WORKERS ?= 1
SCHEDULER ?=
PLAN ?=
DRY_RUN ?=
ARGS ?=
PYTHON ?= python3

SHELL := /bin/bash
VENV := .venv
READY := $(VENV)/.ready
READY_DEV := $(VENV)/.ready-dev
SAMPLE := sample/archive.zip
# The sample's photos come from this machine, which needs no limits and no long pauses.
SAMPLE_ARGS := --FetchChunk-allow-addresses 127.0.0.1/32 --FetchChunk-requests-per-second-per-host 0 \
	--FetchChunk-connections-per-host 16 --FetchChunk-retry-pause 0.01

LUIGI = $(VENV)/bin/luigi --module tasks
DATASET = $(if $(OUTPUT),--output '$(OUTPUT)') $(if $(CHUNKS),--chunks '$(CHUNKS)') --workers '$(WORKERS)' \
	$(if $(SCHEDULER),--local-scheduler false --scheduler-host '$(firstword $(subst :, ,$(SCHEDULER)))' \
	--scheduler-port '$(lastword $(subst :, ,$(SCHEDULER)))') $(ARGS)
RUN = $(if $(DWCA),$(LUIGI) $(1) --dwca '$(DWCA)' $(DATASET),\
	$(VENV)/bin/python -m sample.server -- $(LUIGI) $(1) --dwca $(SAMPLE) $(SAMPLE_ARGS) $(DATASET))
RUN_STAGE = $(call RUN,$(1) $(if $(filter-out 0,$(PLAN)),--plan))

ARRAYS = $(VENV)/bin/python -m tasks.arrays $(1) --dwca '$(DWCA)' $(if $(OUTPUT),--output '$(OUTPUT)') \
	$(if $(CHUNKS),--chunks '$(CHUNKS)') $(if $(filter-out 0,$(DRY_RUN)),--dry-run) $(ARGS)

.PHONY: help dataset manifest fetch verify delete clean split shards report compare test lint bench scheduler slurm slurm-status

help: ## list the targets and variables
	@echo 'make TARGET [DWCA=archive.zip] [OUTPUT=folder] [CHUNKS=16] [WORKERS=1] [SCHEDULER=host:port] [PLAN=1] [DRY_RUN=1] [ARGS=...]'
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo '  DWCA       the Darwin Core Archive; without one, the bundled sample'
	@echo '  OUTPUT     the folder of the dataset (default: data/<archive name>)'
	@echo '  CHUNKS     parts that the images are fetched and verified in (default: 16)'
	@echo '  WORKERS    Luigi processes (default: 1)'
	@echo '  OLD, NEW   for make compare: the folders of two datasets'
	@echo '  SCHEDULER  host:port of a central scheduler (default: none; see make scheduler)'
	@echo '  PLAN       1: print which stages would run and why, and run nothing; make fetch: what fetching would take'
	@echo '  DRY_RUN    1: make slurm prints what it would submit (default: none)'
	@echo '  ARGS       passed to luigi as they stand: ARGS="--SplitDataset-test-frac 0.1"'

dataset: report ## the whole job: archive to shards and report

manifest: $(READY) ## read the archive
	@$(call RUN_STAGE,ReadArchive)

fetch: $(READY) ## ... and download the images; with PLAN=1, tell what that would take
	@$(call RUN,$(if $(filter-out 0,$(PLAN)),PlanFetch,FetchImages))

verify: $(READY) ## ... and decode and measure them
	@$(call RUN_STAGE,VerifyImages)

delete: $(READY) ## ... and delete the corrupt ones
	@$(call RUN_STAGE,DeleteImages)

clean: $(READY) ## ... and filter them
	@$(call RUN_STAGE,CleanDataset)

split: $(READY) ## ... and deal them out to train, val and test
	@$(call RUN_STAGE,SplitDataset)

shards: $(READY) ## ... and write WebDataset shards
	@$(call RUN_STAGE,CreateWebDataset)

report: $(READY) ## ... and the report
	@$(call RUN_STAGE,ReportDataset)

compare: $(READY) ## what differs between two datasets: make compare OLD=data/a NEW=data/b
	@$(LUIGI) CompareDatasets --old '$(OLD)' --new '$(NEW)' $(ARGS)

test: $(READY_DEV) ## every test
	$(VENV)/bin/python -m pytest

bench: $(READY_DEV) ## the benchmarks: each stage and the way it was done before, in one run
	$(VENV)/bin/python -m bench $(ARGS)

lint: $(READY_DEV) ## the linters and the type checker
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

scheduler: $(READY) ## Luigi's central scheduler and its page on 127.0.0.1:8082
	@mkdir -p data/scheduler
	@echo 'http://127.0.0.1:8082/ - run jobs with SCHEDULER=127.0.0.1:8082; Ctrl-C ends it'
	@$(VENV)/bin/luigid --address 127.0.0.1 --port 8082 --state-path data/scheduler/state.pickle

slurm: $(READY) ## the same job on a Slurm cluster: submit the job arrays of what is missing
	@$(call ARRAYS,submit)

slurm-status: $(READY) ## ... and how far its jobs are
	@$(call ARRAYS,status)

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version.split()[0])'
	@echo 'Setting up $(VENV) (once; about 180 MB to download, 650 MB on disk) ...'
	@set -e; SECONDS=0; $(PYTHON) -m venv $(VENV); \
	$(VENV)/bin/python -m pip install --quiet --require-hashes -r requirements.lock; \
	$(VENV)/bin/python -m pip install --quiet --no-deps --editable .; \
	touch $@; echo "Set up $(VENV) in $$SECONDS s."

$(READY_DEV): requirements-dev.lock $(READY)
	@echo 'Adding the tests and linters to $(VENV) (once; about 40 MB to download) ...'
	@set -e; SECONDS=0; $(VENV)/bin/python -m pip install --quiet --require-hashes -r requirements-dev.lock; \
	touch $@; echo "Added the tests and linters in $$SECONDS s."
