# Paths in the rules are relative on purpose: make cannot name a target whose path has a space in it, and a clone may be
# anywhere. $(CURDIR) appears in quotes, in recipes only.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV_KEY := $(shell cat requirements-dev.txt tests/tools/constraints.txt tests/tools/collections.txt | sha256sum | cut -c1-16)
VENV_READY := .venv/.ready-$(VENV_KEY)

export PATH := $(CURDIR)/.venv/bin:$(PATH)
# A user's own settings must not change what the tests see.
export ANSIBLE_CONFIG := $(CURDIR)/ansible.cfg
export PYTHONDONTWRITEBYTECODE := 1

##@ Everyday

.PHONY: help
help: ## This list
	@awk 'BEGIN {FS = ":.*## "} \
		/^##@ / {printf "\n%s\n", substr($$0, 5)} \
		/^[a-z][a-z-]*:.*## / {printf "  make %-20s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: venv
venv: $(VENV_READY) ## Install the pinned tools into .venv (nothing to do when they are there)

$(VENV_READY):
	@"$(PYTHON)" tests/tools/prepare_venv.py .venv
	@rm -f .venv/.ready-*
	@touch $@

.PHONY: format
format: venv ## Let ruff put the Python files in order
	@ruff format .
	@ruff check --fix .

##@ Tests, from the fastest

.PHONY: lint
lint: venv ## Read everything: ansible-lint, yamllint, ruff, mypy, changelog, generated documentation
	@python tests/tools/stages.py lint

.PHONY: units
units: venv ## Unit and house tests
	@python -m pytest tests/unit tests/house -q

.PHONY: sanity
sanity: venv ## ansible-test sanity on the built and installed collection
	@python tests/tools/sanity.py

.PHONY: test-fast
test-fast: venv ## lint, units and sanity: before every commit
	@python tests/tools/stages.py lint units sanity

.PHONY: test-changed
test-changed: venv ## What the changes since the last green `make test` can touch; since a commit with SINCE=…
	@python tests/tools/stages.py changed $(SINCE)

.PHONY: only
only: venv ## One thing alone, as a failure names it: TEST=tests/… or molecule/… or faults/… or lint/…
	@python tests/tools/stages.py only '$(TEST)'

.PHONY: molecule
molecule: venv ## Every molecule scenario with all its cases
	@python tests/tools/stages.py molecule thorough

.PHONY: integration
integration: venv ## Integration tests, with real Docker and real PostgreSQL, and those of AWX
	@python tests/tools/stages.py integration awx thorough

.PHONY: test-faults
test-faults: venv ## Every fault at its moment, on a real server: killed, starved and cut off while a client writes
	@python tests/tools/stages.py faults thorough

.PHONY: test
test: venv ## Everything above but what is marked thorough, with a third of the faults
	@python tests/tools/stages.py all

.PHONY: tested
tested: venv ## Whether what is committed now was seen green by `make test`
	@python tests/tools/stages.py tested

.PHONY: test-all
test-all: venv ## All tests and all faults; takes hours
	@python tests/tools/stages.py all thorough

.PHONY: test-core-versions
test-core-versions: venv ## Units and syntax checks with every ansible-core that is said to be supported
	@python tests/tools/core_versions.py

.PHONY: bench-quick
bench-quick: venv ## Measure the quick rollback against a plain `docker compose up -d` and the manual way
	@python tests/benchmarks/bench_quick.py

.PHONY: bench-database
bench-database: venv ## Measure backup, restore and swap of a database against pg_dump and pg_restore and the manual way
	@python tests/benchmarks/bench_database.py

.PHONY: bench-decision
bench-decision: venv ## Measure evidence, decision and a verification of twelve probes
	@python tests/benchmarks/bench_decision.py

.PHONY: bench-full
bench-full: venv ## Measure a full rollback with 1 GB of data against the manual way
	@python tests/benchmarks/bench_full.py

.PHONY: bench-fleet
bench-fleet: venv ## Measure a quick rollback of one, ten and fifty hosts against one ping task
	@python tests/benchmarks/bench_fleet.py

##@ Release

.PHONY: docs
docs: venv ## Write the generated parts of the documentation
	@python tests/tools/role_docs.py --write

.PHONY: site
site: venv ## Build the documentation as HTML into build/site, without a network; a warning is a failure
	@python tests/tools/site.py

.PHONY: build
build: venv ## Build the collection's tarball into build/
	@mkdir -p build
	@ansible-galaxy collection build --force --output-path build

.PHONY: importer
importer: venv ## Let Galaxy's own importer judge the built collection
	@python tests/tools/importer.py

.PHONY: clean
clean: ## Remove what the targets above have made, the tools too
	@rm -rf .venv .venvs .ansible .cache build .mypy_cache .pytest_cache .ruff_cache
	@find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +

-include demo/demo.mk
