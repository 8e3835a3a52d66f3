# `make` alone lists what there is. Every target makes the environment first where it needs one.
.DEFAULT_GOAL := help
.SUFFIXES:
MAKEFLAGS += --no-builtin-rules

PYTHON ?=
ARGS ?=
BIN := .venv/bin
ENVIRONMENT := .venv/.installed
DEMO := .venv/.demo
LOCKS := requirements.lock $(wildcard deploy/requirements-*.lock)
# Tests are shared by three times as many processes as there are cores: two thirds of the time they
# wait for another process or a time limit (PROCESSES=4: by four, 0: one alone).
PROCESSES ?= $(shell echo $$((3 * $$(getconf _NPROCESSORS_ONLN))))
PARALLEL := -n $(PROCESSES) --dist worksteal
# Layers whose tests start no process of the product.
QUICK := tests/unit tests/integration
# Tests that run the product in their own process, on threads and plain loops.
MEASURED := $(QUICK) tests/simulation tests/system/test_logs.py tests/system/test_embedded.py
# And those that start it, in processes that measure themselves.
ifdef WORKERS
MEASURED += $(patsubst %,tests/system/test_%.py,pool pool_garbage supersede messages workers states broker \
  client_processes solve service live_session reference_session browser_session demo try_page gateway \
  gateway_command gateway_limits gateway_openapi gateway_pipeline gateway_requests gateway_restarts \
  gateway_waiting) \
  $(patsubst %,tests/system/test_%.py,app cli cli_config cli_local cli_status doctor flower health \
  metrics onebox processes remote streams) tests/faults/test_sentinel.py
coverage: export COVERAGE_PROCESS_START := $(CURDIR)/tests/support/workers.coverage.toml
coverage: export COVERAGE_FILE := $(CURDIR)/.coverage
endif
export PYTHON
# Each process of the tests reads what another one has compiled. Where the environment forbids to
# write that down, each compiles all of it: half of the time it takes to collect the tests.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help
help: ## Show this list
	@echo 'usage: make TARGET [ARGS="passed on to the command"] [PYTHON=python3.12]'
	@echo
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  %-9s %s\n", $$1, $$2 }' Makefile

.PHONY: demo
demo: $(DEMO) ## Watch every kind of outcome happen: Redis, sandbox and worker, then a table
	@$(BIN)/checkpoint demo $(ARGS)

.PHONY: up
up: $(DEMO) ## Leave the same running and print what to type in a second terminal
	@$(BIN)/checkpoint up $(ARGS)

.PHONY: quick
quick: $(ENVIRONMENT) ## Run the tests that start no process of the product (a minute)
	@$(BIN)/pytest -q $(PARALLEL) -p no:schemathesis $(QUICK) $(ARGS)

# All tests, each of them once: those that measure branches first, then the others.
.PHONY: test
test: $(ENVIRONMENT) ## Run the tests (ARGS="-k supersede" for a few)
ifeq ($(strip $(ARGS)),)
	@$(MAKE) --no-print-directory coverage
	@$(BIN)/pytest $(PARALLEL) $(addprefix --ignore=,$(MEASURED))
else
	@$(BIN)/pytest $(PARALLEL) $(ARGS)
endif

.PHONY: coverage
coverage: $(ENVIRONMENT) ## Measure branches (minutes; WORKERS=yes: those of worker processes too)
	@$(BIN)/pytest -q $(PARALLEL) $(MEASURED) --cov --cov-report= $(ARGS)
	@$(BIN)/python -m tests.support.branches $(if $(WORKERS),--workers)

.PHONY: check
check: $(ENVIRONMENT) ## Format, lint, types, layers, scripts, tests: what CI runs
	@deploy/check.sh

.PHONY: bench
bench: $(ENVIRONMENT) ## Measure throughput and latency on this machine (minutes; keep it idle)
	@$(BIN)/python -m tests.benchmarks $(ARGS)

.PHONY: faults
faults: $(ENVIRONMENT) ## Break everything under 10,000 submissions (minutes; ARGS="--seed 7")
	@$(BIN)/python -m tests.faults $(ARGS)

.PHONY: soak
soak: $(ENVIRONMENT) ## Watch memory, files and keys over 20,000 submissions (ARGS="--for 1h")
	@$(BIN)/python -m tests.soak $(ARGS)

.PHONY: upgrade
upgrade: $(ENVIRONMENT) ## Upgrade and roll back under codes (a minute; ARGS="--from COMMIT")
	@$(BIN)/python -m tests.upgrade $(ARGS)

.PHONY: sim
sim: $(ENVIRONMENT) ## Simulate crashes, losses and failovers from seeds (ARGS="--seed 7" again)
	@$(BIN)/python -m tests.simulation $(ARGS)

.PHONY: matrix
matrix: $(ENVIRONMENT) ## Every Python and every server of this machine (minutes; ARGS=--write)
	@$(BIN)/python -m tests.matrix $(ARGS)

.PHONY: mutants
mutants: $(ENVIRONMENT) ## Remove each guard in turn: a named test must fail (minutes)
	@$(BIN)/python -m tests.mutation $(ARGS)

.PHONY: lock
lock: ## Rebuild requirements.lock and the image's part of it (ARGS=--upgrade: newer versions)
	@deploy/python_env.sh lock $(ARGS)

.PHONY: clean
clean: ## Remove caches, reports and builds; the environment stays (rm -r .venv for that)
	@rm -rf build dist .coverage .coverage.* .hypothesis .import_linter_cache
	@rm -rf .mypy_cache .pytest_cache .ruff_cache
	@find providers tasks tests worker -name __pycache__ -prune -exec rm -rf {} +

$(ENVIRONMENT): $(LOCKS) pyproject.toml deploy/python_env.sh
	@deploy/python_env.sh make

# What was made for the tests serves the demo, too.
$(DEMO): $(LOCKS) pyproject.toml deploy/python_env.sh
	@deploy/python_env.sh $(if $(wildcard $(ENVIRONMENT)),make,demo)
