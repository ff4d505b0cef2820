# facecore: everything a checkout can do. `make help` lists it.
SHELL := /bin/bash
.DEFAULT_GOAL := help

PYTHON ?= python3.11
UV_VERSION := 0.13.9
VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv
COMPILE := $(UV) pip compile --quiet --generate-hashes --python-version 3.11

# Test processes; each starts a platform of its own (about 2 GB).
WORKERS ?= 2
IMAGES ?=
DATASET ?=
DEMO_ARGS := $(if $(IMAGES),--images "$(IMAGES)") $(if $(DATASET),--dataset "$(DATASET)")

.PHONY: help
help: ## List every target
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'
	@echo
	@echo "  make demo IMAGES=/some/folder    the same on your own images (person/*.jpg)"
	@echo "  make demo DATASET=lfw            the same on Labeled Faces in the Wild"

$(UV):
	@command -v $(PYTHON) >/dev/null || { echo "Python 3.11 is needed: '$(PYTHON)' was not found. Install it or run: make PYTHON=/path/to/python3.11 ..." >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

$(VENV)/.installed: $(UV) requirements.txt pyproject.toml
	$(UV) pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r requirements.txt
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed requirements-dev.txt
	$(UV) pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r requirements-dev.txt
	@touch $@

.PHONY: install
install: $(VENV)/.installed ## Install what running needs into .venv

.PHONY: install-dev
install-dev: $(VENV)/.installed-dev ## Install what tests, lint and benchmarks need as well

.PHONY: demo
demo: install ## Install, start the platform, run the main job on real images, say what was found
	@$(BIN)/facecore demo $(DEMO_ARGS)

.PHONY: up
up: install ## Start the platform (keeps its data in var/)
	@$(BIN)/facecore up

.PHONY: down
down: install ## Stop the platform
	@$(BIN)/facecore down

.PHONY: status
status: install ## Health, versions and counts of every part
	@$(BIN)/facecore status

.PHONY: clean
clean: ## Stop the platform and remove its data (var/)
	@if [ -x $(BIN)/facecore ]; then $(BIN)/facecore clean --yes; else rm -rf var; fi

# The pages are tested in a browser: an installed one, else the one that Playwright fetches.
.PHONY: browser
browser: install-dev
	@command -v chromium >/dev/null || command -v google-chrome >/dev/null || $(BIN)/playwright install chromium || { echo "The tests of the pages need Chromium: apt-get install chromium." >&2; exit 2; }

.PHONY: test
test: install-dev browser ## Run all tests against real services
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow" -n $(WORKERS) --dist loadfile

.PHONY: lint
lint: install-dev ## Check style (ruff) and types (mypy)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

.PHONY: bench
bench: install-dev ## Measure side by side with others what fits into minutes (docs/performance.md has the rest)
	$(BIN)/python benchmarks/extraction.py --peers opencv onnxruntime
	$(BIN)/python benchmarks/extraction.py --set 1080p --count 60 --json benchmarks/out/extraction-1080p.json
	$(BIN)/python benchmarks/growth.py --sizes 500 2000
	$(BIN)/python benchmarks/search.py --sizes 30000

.PHONY: lock
lock: $(UV) ## Resolve requirements.in into the locked, hashed requirements.txt
	$(COMPILE) -o requirements.txt requirements.in
	$(COMPILE) -c requirements.txt -o requirements-ray.txt requirements-ray.in
	$(COMPILE) -o requirements-dev.txt requirements-dev.in
	$(COMPILE) -o deploy/requirements-kubernetes.txt deploy/requirements-kubernetes.in
