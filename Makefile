# Mainstay. `make` alone lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
RIVALS := .venv/.rivals
AUDIT := .venv-audit
AUDITS := $(AUDIT)/.ready
# Packages of this project only; generated stubs are checked by `make gen`.
SOURCES := shared services cli sdk tests bench examples scripts

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-15s %s\n", $$1, $$2}'

# Everything, from the locked requirements; again only when they change.
$(READY): requirements/dev.txt pyproject.toml sdk/pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Mainstay needs Python 3.11 or newer; set PYTHON=...")'
	@echo "setting up .venv"
	@$(PYTHON) -m venv .venv
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --no-index -e sdk -e .
	@touch $@

# What the services are measured against; only the measurements need it.
$(RIVALS): $(READY) requirements/bench.txt
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/bench.txt
	@touch $@

# What looks at the suite from outside has an environment of its own.
$(AUDITS): requirements/audit.txt
	@$(PYTHON) -m venv $(AUDIT)
	@$(AUDIT)/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/audit.txt
	@touch $@

.PHONY: up
up: $(READY) ## run the suite, with a Redis and a PostgreSQL of its own
	@$(BIN)/mainstay up

.PHONY: demo
demo: $(READY) ## drive a request through the suite and check every claim
	@$(BIN)/mainstay demo

.PHONY: doctor
doctor: $(READY) ## test every connection of a running suite
	@$(BIN)/mainstay doctor

.PHONY: test
test: $(READY) ## run all tests, on a real Redis and a real PostgreSQL
	@# Most tests wait for servers: three processes keep two cores busy.
	@$(BIN)/python -m pytest -q -n 3 $(ARGS)

.PHONY: test-cluster
test-cluster: $(READY) ## run the tests that need a Redis Cluster, on six nodes of their own
	@$(BIN)/python -m pytest -q tests/cluster $(ARGS)

.PHONY: test-compose
test-compose: $(READY) ## build the images, run the suite in containers and break it (10 minutes; Docker)
	@$(BIN)/python -m pytest -q -p no:randomly tests/compose $(ARGS)

.PHONY: check
check: $(READY) ## format, lint, types, layers, protos, stubs, documents
	@$(BIN)/ruff format --check --quiet $(SOURCES)
	@$(BIN)/ruff check --quiet $(SOURCES)
	@# What users and stores build on is documented without exception.
	@$(BIN)/ruff check --isolated --quiet --select D1 --ignore D105,D107 \
	  --extend-exclude '*_pb2*' sdk/src services/*/ports.py services/*/settings.py shared/config.py
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/lint-imports --no-logo | tail -n 3
	@$(BIN)/buf lint
	@$(BIN)/buf format --diff --exit-code
	@scripts/generate_stubs.sh --check
	@$(BIN)/python scripts/generate_errors.py --check
	@$(BIN)/python scripts/generate_scopes.py --check
	@$(BIN)/python scripts/build_dashboards.py --check
	@$(BIN)/python scripts/check_readme.py

.PHONY: audit
audit: $(READY) $(AUDITS) ## look for known weaknesses, licences, secrets; write the SBOM (ARGS=--offline)
	@$(AUDIT)/bin/python -m scripts.audit $(ARGS)

.PHONY: check-kubernetes
check-kubernetes: $(AUDITS) ## compare deploy/kubernetes with the schemas of Kubernetes, offline
	@$(AUDIT)/bin/python scripts/check_kubernetes.py

.PHONY: gen
gen: $(READY) ## generate the stubs of protos/, docs/errors.md, docs/scopes.md and the dashboards
	@scripts/generate_stubs.sh
	@$(BIN)/python scripts/generate_errors.py
	@$(BIN)/python scripts/generate_scopes.py
	@$(BIN)/python scripts/build_dashboards.py

.PHONY: screenshots
screenshots: $(READY) ## photograph the status page for the docs (needs Chromium)
	@$(BIN)/python -m scripts.screenshot_status

.PHONY: lock
lock: $(READY) ## choose the newest versions that fit and write requirements/*.txt
	@scripts/lock_requirements.sh

.PHONY: bench
bench: $(RIVALS) ## measure the bars of the README (some minutes)
	@$(BIN)/python -m bench

.PHONY: bench-cache
bench-cache: $(RIVALS) ## measure the cache beside redis-py, cashews and aiocache (3 minutes)
	@$(BIN)/python -m bench cache

.PHONY: bench-ratelimit
bench-ratelimit: $(RIVALS) ## measure the rate limits beside the library limits (2 minutes)
	@$(BIN)/python -m bench ratelimit

.PHONY: bench-telemetry
bench-telemetry: $(RIVALS) ## measure what traces, metrics, logs and rows cost a call (3 minutes)
	@$(BIN)/python -m bench telemetry

.PHONY: bench-identity
bench-identity: $(RIVALS) ## measure what the check of an API key costs a call (1 minute)
	@$(BIN)/python -m bench identity

.PHONY: bench-health
bench-health: $(READY) ## measure how soon what is dead is seen, and recovery (3 minutes)
	@$(BIN)/python -m bench health

.PHONY: bench-overload
bench-overload: $(READY) ## measure three times as many calls as can be served (1 minute)
	@$(BIN)/python -m bench overload

.PHONY: bench-jobs
bench-jobs: $(RIVALS) ## measure the jobs beside pgqueuer, procrastinate, dbos and dramatiq (10 minutes)
	@$(BIN)/python -m bench jobs

# SEED= makes the choices of an earlier run once more.
SECONDS ?= 240
SEED ?=

.PHONY: faults
faults: SECONDS = 900
faults: $(READY) ## break everything under load, judge it, write docs/faults.md (20 minutes; SECONDS=)
	@# Those in network namespaces and on full disks need root, and are left out without it.
	@$(BIN)/python -m tests.faults.suite --seconds $(SECONDS) $(if $(SEED),--seed $(SEED))

.PHONY: faults-jobs
faults-jobs: $(READY) ## break everything around the jobs service and judge it (4 minutes; SECONDS=)
	@$(BIN)/python -m tests.faults.jobs_suite --seconds $(SECONDS) $(if $(SEED),--seed $(SEED))

MINUTES ?= 60

.PHONY: soak
soak: $(READY) ## load everything for an hour and see whether memory grows (MINUTES=, SEED=)
	@$(BIN)/python -m tests.faults.soak --minutes $(MINUTES) $(if $(SEED),--seed $(SEED))

.PHONY: clean
clean: ## remove what the other targets made, data of `make up` included
	@rm -rf .venv $(AUDIT) .mainstay dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
