# `make help` tells what each target does. Everything that is missing is installed first.
# A stamp lies inside what it stands for, so it goes with it, and the second run is quick.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

VENV   := .venv
PYTHON := $(VENV)/bin/python
HAVE_APT     := .cache/make/apt
HAVE_VENV    := $(VENV)/.made
HAVE_SERVERS := $(VENV)/.servers
HAVE_NODE    := tests/node/node_modules/.made
IMAGE  ?= pyinit:latest
TARGET ?=
VERSION ?=
BASE_IMAGE ?=
BUILD_IMAGE ?=
ARGS   ?=
DOCS_TESTS := tests/unit/test_docs.py tests/unit/test_site.py tests/process/test_docs_commands.py tests/unit/core/test_diagram.py tests/unit/logs/test_events_page.py

.PHONY: help
help:  ## Show this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# -- what a person wants -------------------------------------------------------------------

.PHONY: demo
demo: $(HAVE_VENV)  ## Real workers, a request, a reload, a stop, told step by step
	@scripts/demo

.PHONY: test
test: lint setup  ## Everything: lint, then all tests (ARGS="-k port" to choose)
	@scripts/test 5 $(ARGS)

.PHONY: unit
unit: $(HAVE_VENV)  ## Only what is pure: seconds, no root, no processes
	@$(PYTHON) -m pytest -n 2 $(wildcard tests/unit tests/simulation) $(ARGS)

.PHONY: lint
lint: $(HAVE_VENV)  ## ruff, its layout, mypy; actionlint where it is installed
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check --quiet .
	@$(VENV)/bin/mypy
	@PATH="$(CURDIR)/$(VENV)/bin:$$PATH"; \
	  if command -v actionlint >/dev/null; then actionlint; fi

.PHONY: format
format: $(HAVE_VENV)  ## Let ruff sort imports and lay out the code
	@$(VENV)/bin/ruff check --fix-only --quiet .
	@$(VENV)/bin/ruff format .

.PHONY: reference
reference: $(HAVE_VENV)  ## Write the pages made from tables: keys, metrics, events, PM2; the dashboard
	@$(PYTHON) docs/reference/generate.py
	@$(PYTHON) k8s/monitoring/generate.py

.PHONY: docs
docs: $(HAVE_VENV)  ## Check the documents, and build the site with search into dist/site
	@$(PYTHON) -m pytest $(DOCS_TESTS) $(ARGS)
	@scripts/site $(PYTHON)

.PHONY: browser
browser: setup  ## The status page in a headless Chromium, and what 100 viewers cost
	@scripts/setup-apt chromium
	@$(PYTHON) -m pytest -s tests/browser tests/browser/viewers.py $(ARGS)

.PHONY: screenshots
screenshots: setup  ## Make the pictures in docs/images again
	@scripts/setup-apt chromium
	@$(PYTHON) -m tests.browser.screenshots

.PHONY: bench
bench: setup  ## Measure against the peers (ARGS="orphans logs -n 3", ARGS=--publish)
	@$(PYTHON) -m benchmarks $(ARGS)

.PHONY: zoo
zoo: setup  ## Try real servers, each with five checks (ARGS="puma nginx", ARGS=--publish)
	@scripts/setup-zoo
	@$(PYTHON) -m tests.zoo $(ARGS)

.PHONY: chaos
chaos: setup  ## Everything that may go wrong, by a seed (ARGS="--minutes=30 --seed=7")
	@$(PYTHON) -m tests.chaos $(ARGS)

.PHONY: fuzz
fuzz: setup  ## Any bytes for all that takes bytes (ARGS="--seconds=60 http yaml")
	@$(VENV)/bin/pip install --quiet --requirement tests/fuzz/requirements.txt
	@$(PYTHON) -m tests.fuzz $(ARGS)

.PHONY: soak
soak: $(HAVE_VENV)  ## A million simulated events (ARGS="--events=N --minutes=N --seed=N")
	@$(PYTHON) -m tests.simulation.soak $(ARGS)

.PHONY: replay
replay: $(HAVE_VENV)  ## Repeat a seed of `make soak` that failed (SEED=N, ARGS=--shrink)
	@$(PYTHON) -m tests.simulation.soak --replay=$(SEED) $(ARGS)

.PHONY: coverage
coverage: setup  ## Branches that tests run, also in the processes that they start (ARGS=--core)
	@$(PYTHON) -m tests.coverage $(ARGS)

.PHONY: mutants
mutants: $(HAVE_VENV)  ## One-token mutants of the core: 90 % must be killed (ARGS=--sample=40)
	@$(PYTHON) -m tests.mutants $(ARGS)

.PHONY: image
image:  ## Build the Docker image (IMAGE=name:tag BASE_IMAGE=… TARGET=runtime)
	@docker build --tag $(IMAGE) $(if $(TARGET),--target $(TARGET)) \
	  $(if $(BASE_IMAGE),--build-arg BASE_IMAGE=$(BASE_IMAGE)) \
	  $(if $(BUILD_IMAGE),--build-arg BUILD_IMAGE=$(BUILD_IMAGE)) \
	  --build-arg VERSION=$$(sed -n 's/^__version__ = "\(.*\)"/\1/p' entrypoint/__init__.py) \
	  --build-arg REVISION=$$(git rev-parse HEAD 2>/dev/null || true) .

.PHONY: package
package: $(HAVE_VENV)  ## Build the wheel and the source archive into dist/, install it, run it
	@rm -rf dist/package && $(PYTHON) -m build --no-isolation --outdir dist/package . >/dev/null
	@$(PYTHON) -m venv --clear .cache/package
	@.cache/package/bin/pip install --quiet dist/package/*.whl
	@cd / && "$(CURDIR)/.cache/package/bin/pyinit" --version
	@ls -l dist/package

.PHONY: packages
packages: $(HAVE_VENV)  ## Build all packages into dist/packages, with checksums and provenance (Debian 12)
	@scripts/setup-apt packages
	@$(PYTHON) -m scripts.packages all dist/packages

.PHONY: packages-test
packages-test: setup  ## Install each package in a bare system; run the tests of runs from the program
	@$(PYTHON) -m pytest tests/packages tests/packages/installed.py $(ARGS)
	@PYINIT_PROGRAM="$(CURDIR)/.cache/packages/pyinit" $(PYTHON) -m pytest -n 2 tests/pid1 \
	  $(wildcard tests/process/test_run_*.py tests/process/test_port_*.py tests/process/test_control_*.py) \
	  --deselect tests/pid1/test_run_workers.py::test_what_pid_1_imports $(ARGS)

.PHONY: packages-twice
packages-twice: packages  ## Build the packages again, from other folders, and compare
	@rm -rf .cache/again && mkdir -p .cache/again && \
	  git archive --prefix=again/ HEAD | tar --extract --directory=.cache && \
	  cp -r .cache/packages/python-* .cache/packages/cpython-* .cache/packages/pip .cache/again/ && \
	  cd .cache/again && SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) \
	    python3 -m scripts.packages all dist --cache . >/dev/null && \
	  cd dist && grep -v provenance "$(CURDIR)/dist/packages/SHA256SUMS" | sha256sum --check

.PHONY: sbom
sbom:  ## Print what an image has of pyinit, as CycloneDX JSON (IMAGE=name:tag)
	@id=$$(docker create $(IMAGE)) && trap 'docker rm "$$id" >/dev/null' EXIT && \
	  docker cp "$$id":/opt/pyinit/share/sbom.cdx.json - | tar --extract --to-stdout

.PHONY: release
release: $(HAVE_VENV)  ## All of a release but the upload, tried in a clone (VERSION=0.3.0 ARGS=--do)
	@[ -n "$(VERSION)" ] || { echo "make release: which one? VERSION=X.Y.Z" >&2; exit 2; }
	@$(PYTHON) scripts/release $(VERSION) $(ARGS)

.PHONY: clean
clean:  ## Remove all that was made here (the venv, caches, node_modules)
	@rm -rf $(VENV) .cache .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist *.egg-info
	@rm -rf tests/node/node_modules
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# -- what the targets above need -----------------------------------------------------------

.PHONY: setup
setup: $(HAVE_APT) $(HAVE_VENV) $(HAVE_SERVERS) $(HAVE_NODE)  ## Install all that the tests need

$(HAVE_APT): scripts/setup-apt
	@scripts/setup-apt all
	@mkdir -p $(@D) && touch $@

# The command in the venv is a copy of scripts/pyinit.
$(HAVE_VENV): pyproject.toml scripts/setup-venv $(wildcard scripts/pyinit)
	@scripts/setup-venv $(VENV)
	@touch $@

$(HAVE_SERVERS): $(wildcard tests/requirements-*.txt) $(HAVE_VENV)
	@$(VENV)/bin/pip install --quiet $(addprefix --requirement ,$(wildcard tests/requirements-*.txt))
	@mkdir -p $(@D) && touch $@

$(HAVE_NODE): $(wildcard tests/node/package.json) $(HAVE_APT)
	@if [ -f tests/node/package.json ]; then \
	  cd tests/node && npm install --no-package-lock --no-audit --no-fund --loglevel=error; fi
	@mkdir -p $(@D) && touch $@
