# Everyday commands; `make help` lists them.

DWCA ?=
OUTPUT ?=
TO ?=
OLD ?=
NEW ?=
TABLE ?=
CHUNKS ?=
WORKERS ?= 1
SCHEDULER ?=
PLAN ?=
DRY_RUN ?=
RETRY ?=
NAMES ?=
COUNTRY ?=
YEAR ?=
LICENSES ?=
BASIS ?=
TAXONOMY ?=
SEND ?=
FETCH ?=
ARGS ?=
PYTHON ?= python3

SHELL := /bin/bash
# Only `make request` needs the password at GBIF.
unexport GBIF_USER GBIF_PWD
VENV := .venv
READY := $(VENV)/.ready
READY_DEV := $(VENV)/.ready-dev
READY_UPLOAD := $(VENV)/.ready-upload
SAMPLE := sample/archive.zip
# The sample's photos come from this machine, which needs no limits and no long pauses.
SAMPLE_ARGS := --FetchChunk-allow-addresses 127.0.0.1/32 --FetchChunk-requests-per-second-per-host 0 \
	--FetchChunk-connections-per-host 16 --FetchChunk-retry-pause 0.01

# A misspelt variable would be ignored: `make dataset dwca=archive.zip` would run the sample.
VARIABLES := DWCA OUTPUT CHUNKS WORKERS SCHEDULER ARGS PLAN DRY_RUN OLD NEW TABLE TO NAMES COUNTRY YEAR LICENSES BASIS \
	TAXONOMY SEND FETCH RETRY PYTHON
on_command_line = $(filter command,$(firstword $(origin $(1))))
quote = '$(subst ','\'',$(1))'
similar = $(shell $(PYTHON) -c 'import difflib, sys; word, *known = sys.argv[1:]; \
	print(*difflib.get_close_matches(word.upper(), known, 1, 0.75))' $(call quote,$(1)) $(VARIABLES))
UNKNOWN := $(firstword $(filter-out $(VARIABLES),$(foreach name,$(.VARIABLES),$(if $(call on_command_line,$(name)),$(name)))))
ifneq ($(filter GBIF_% gbif_%,$(UNKNOWN)),)
$(error $(UNKNOWN)=...: not a variable of make; set it in the environment, where the list of processes does not show it)
endif
ifneq ($(UNKNOWN),)
SIMILAR := $(call similar,$(UNKNOWN))
$(error $(UNKNOWN)=$(value $(UNKNOWN)): there is no variable $(UNKNOWN); \
	$(if $(SIMILAR),did you mean $(SIMILAR)=$(value $(UNKNOWN))?,`make help` lists the variables))
endif
ifneq ($(SCHEDULER),)
ifneq ($(words $(subst :, ,$(SCHEDULER))),2)
$(error SCHEDULER=$(SCHEDULER): not the address of a scheduler; write HOST:PORT)
endif
endif

# Values are quoted for the shell, except ARGS. $(value ...) keeps their $ signs; the command expands ~.
value_of = $(if $(value $(2)),$(1)=$(call quote,$(value $(2))))
COMMAND = $(VENV)/bin/gbif-webdataset
# Two processes, each with whole files, whose tests share what takes long to make.
PYTEST = $(VENV)/bin/python -m pytest -n 2 --dist loadfile
DATASET = $(call value_of,--output,OUTPUT) $(call value_of,--chunks,CHUNKS)
RUNNING = $(call value_of,--workers,WORKERS) $(if $(SCHEDULER),--local-scheduler false \
	--scheduler-host=$(call quote,$(firstword $(subst :, ,$(SCHEDULER)))) \
	--scheduler-port=$(call quote,$(lastword $(subst :, ,$(SCHEDULER)))))
RUN = $(if $(value DWCA),$(COMMAND) $(1) $(call value_of,--dwca,DWCA),\
	$(VENV)/bin/python -m sample.server -- $(COMMAND) $(1) --dwca $(SAMPLE) $(SAMPLE_ARGS)) $(DATASET) $(RUNNING) \
	$(if $(filter-out 0,$(RETRY)),--FetchChunk-retry-after 0) $(value ARGS)
RUN_STAGE = $(call RUN,$(1) $(if $(filter-out 0,$(PLAN)),--plan))
SLURM = $(COMMAND) slurm $(1) $(call value_of,--dwca,DWCA) $(DATASET) $(if $(filter-out 0,$(DRY_RUN)),--dry-run) \
	$(if $(filter-out 0,$(RETRY)),--retry) $(if $(value FETCH),$(call value_of,--fetch,FETCH) $(call value_of,--workers,WORKERS)) \
	$(value ARGS)

# The tests that take seconds: rules of the layout, closed lists, text functions, tables and accounts.
QUICK_TESTS := tests/test_layout.py tests/test_makefile.py tests/test_requirements.py tests/gbif_webdataset/test_*.py \
	$(addprefix tests/gbif_webdataset/,terms slurm account split storage compare clean publish)

.PHONY: help docs dataset manifest fetch verify delete clean split shards report publish request compare crosswalk audit check lint test test-all bench \
	scheduler slurm slurm-status

help: ## list the targets and variables
	@echo 'make TARGET [DWCA=archive.zip] [OUTPUT=folder] [CHUNKS=16] [WORKERS=1] [SCHEDULER=host:port] [ARGS=...]'
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo '  "..." stands for all that the line above does.'
	@echo
	@echo '  DWCA       the Darwin Core Archive: path, DOI or key of a GBIF download, https:// or s3:// address, request.json, or'
	@echo '             several of these with commas between them; without one, the bundled sample'
	@echo '  OUTPUT     the folder of the dataset (default: data/<archive name>)'
	@echo '  CHUNKS     number of parts in which images are downloaded and verified (default: 16)'
	@echo '  WORKERS    number of stages or chunks that run at the same time, each in a process (default: 1)'
	@echo '  SCHEDULER  host:port of a running scheduler, see make scheduler (default: none)'
	@echo '  ARGS       further options of the command: ARGS="--SplitDataset-test-frac 0.1"'
	@echo '  PLAN       1: print which stages would run and why, and run nothing; make fetch: see above'
	@echo '  TO         address for make publish: s3://bucket/prefix, gs://, az://, hf://datasets/me/moths or file:///mnt/x'
	@echo '  DRY_RUN    1: make slurm prints its commands and submits nothing; make publish prints what it would upload'
	@echo '  RETRY      1: download images again whose last attempt had a temporary failure, even within the last hour'
	@echo '  FETCH      make slurm: jobs (default) downloads images in Slurm jobs; here: in this process, while Slurm jobs verify'
	@echo '             them; no: nowhere, after make fetch on a machine with internet access'
	@echo '  OLD, NEW   the folders of the older and the newer dataset, for make compare (or s3://bucket/moths); or archives, for'
	@echo '             make crosswalk'
	@echo '  NAMES      file of scientific names, one per line, for make request'
	@echo '  COUNTRY, YEAR, LICENSES, BASIS  limits of the request: DK,SE and 2015,2026 and cc0,cc-by and HUMAN_OBSERVATION'
	@echo '  TAXONOMY   checklist of the request: catalogue-of-life (default) or backbone'
	@echo '  SEND       1: make request submits the request to GBIF'
	@echo '  TABLE      official table of the keys in both taxonomies, such as gbif-col265.tsv.gz, for make crosswalk'
	@echo '  PYTHON     the Python that creates .venv (default: python3)'

dataset: report ## all stages: from the archive to the shards and the report

manifest: $(READY) ## read the archive and list its images
	@$(call RUN_STAGE,ReadArchive)

fetch: $(READY) ## ... and download the images (PLAN=1: estimate images, bytes and hours instead)
	@$(call RUN,$(if $(filter-out 0,$(PLAN)),PlanFetch,FetchImages))

verify: $(READY) ## ... and decode and measure the images
	@$(call RUN_STAGE,VerifyImages)

delete: $(READY) ## ... and delete the damaged images
	@$(call RUN_STAGE,DeleteImages)

clean: $(READY) ## ... and filter the images for quality
	@$(call RUN_STAGE,CleanDataset)

split: $(READY) ## ... and assign the images to train, val and test
	@$(call RUN_STAGE,SplitDataset)

shards: $(READY) ## ... and write the WebDataset shards
	@$(call RUN_STAGE,CreateWebDataset)

report: $(READY) ## ... and write accounting.csv and the report page (the same as dataset)
	@$(call RUN_STAGE,ReportDataset)

request: private export GBIF_USER := $(value GBIF_USER)
request: private export GBIF_PWD := $(value GBIF_PWD)
request: $(READY) ## request a GBIF download (NAMES=species.txt): write OUTPUT=request.json and count; SEND=1: submit it
	@$(COMMAND) RequestDownload $(call value_of,--names,NAMES) $(call value_of,--country,COUNTRY) \
	$(call value_of,--year,YEAR) $(call value_of,--licenses,LICENSES) $(call value_of,--basis,BASIS) \
	$(call value_of,--taxonomy,TAXONOMY) $(if $(filter-out 0,$(SEND)),--send) $(call value_of,--request,OUTPUT) \
	$(value ARGS)

publish: $(if $(filter file:%,$(TO)),$(READY),$(READY_UPLOAD)) ## ... and upload the dataset: make publish TO=s3://bucket/prefix
	@$(call RUN,PublishDataset $(call value_of,--to,TO) $(if $(filter-out 0,$(DRY_RUN)),--dry-run))

crosswalk: $(READY) ## map the taxa of an older dataset or archive to those of a newer one: make crosswalk OLD=data/a NEW=b.zip
	@$(COMMAND) MakeCrosswalk $(call value_of,--old,OLD) $(call value_of,--new,NEW) $(call value_of,--table,TABLE) \
	$(call value_of,--crosswalk,OUTPUT) $(value ARGS)

compare: $(READY) ## report the differences between two datasets: make compare OLD=data/a NEW=data/b
	@$(COMMAND) CompareDatasets $(call value_of,--old,OLD) $(call value_of,--new,NEW) $(value ARGS)

audit: $(READY) ## read every file of a dataset again and compare it with its record (make audit OUTPUT=data/a)
	@$(COMMAND) AuditDataset $(call value_of,--dwca,DWCA) $(if $(value DWCA)$(value OUTPUT),,--dwca $(SAMPLE)) $(DATASET) \
	$(value ARGS)

check: lint ## run linters, type checker and quick tests, in under a minute; for every commit
	$(PYTEST) -q -m "not slow and not system" $(QUICK_TESTS)

lint: $(READY_DEV) ## run the linters and the type checker
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

test: $(READY_DEV) ## run the tests that work on any machine, in minutes
	$(PYTEST) -m "not slow and not system"

test-all: $(READY_DEV) ## ... and the slow tests, and those that need Slurm or a browser
	$(PYTEST)

docs: $(READY) ## write docs/outputs.md from the code, and docs/apptainer.def from requirements.lock
	$(VENV)/bin/python -m gbif_webdataset.terms.outputs > docs/outputs.md
	$(VENV)/bin/python -m gbif_webdataset.slurm.apptainer requirements.lock > docs/apptainer.def

bench: $(READY_DEV) ## measure each stage, and the scripts that this tool replaces (docs/performance.md)
	$(VENV)/bin/python -m bench $(value ARGS)

scheduler: $(READY) ## start Luigi's central scheduler and its web page on 127.0.0.1:8082
	@mkdir -p data/scheduler
	@echo 'http://127.0.0.1:8082/ - run jobs with SCHEDULER=127.0.0.1:8082; Ctrl-C stops the scheduler'
	@$(VENV)/bin/luigid --address 127.0.0.1 --port 8082 --state-path data/scheduler/state.pickle

slurm: $(READY) ## all stages on a Slurm cluster: submit job arrays for the missing ones
	@$(call SLURM,submit)

slurm-status: $(READY) ## show the progress of the Slurm jobs, with the options of the last make slurm
	@$(call SLURM,status)

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version.split()[0])'
	@echo 'Setting up $(VENV) (once; about 180 MB to download, 650 MB on disk) ...'
	@set -e; SECONDS=0; $(PYTHON) -m venv $(VENV); \
	$(VENV)/bin/python -m pip install --quiet --require-hashes -r requirements.lock; \
	$(VENV)/bin/python -m pip install --quiet --no-deps --editable .; \
	touch $@; echo "Set up $(VENV) in $$SECONDS s."

$(READY_UPLOAD): requirements-upload.lock $(READY)
	@echo 'Adding the packages for uploading to $(VENV) (once; about 30 MB to download) ...'
	@set -e; SECONDS=0; $(VENV)/bin/python -m pip install --quiet --require-hashes -r requirements-upload.lock; \
	touch $@; echo "Added the packages for uploading in $$SECONDS s."

$(READY_DEV): requirements-dev.lock $(READY)
	@echo 'Adding the tests and linters to $(VENV) (once; about 100 MB to download) ...'
	@set -e; SECONDS=0; $(VENV)/bin/python -m pip install --quiet --require-hashes -r requirements-dev.lock; \
	touch $@; echo "Added the tests and linters in $$SECONDS s."
