# make serve: the service. make test: everything that must hold. Both do what is missing first, on a fresh machine too.

VENV ?= .venv
# The first of these that runs, is new enough and can make virtual environments.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	$$p -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
ARGS ?=
# The tests start more than a hundred processes. Without bytecode on the disk, each of them compiles every module anew.
unexport PYTHONDONTWRITEBYTECODE

BIN := $(VENV)/bin
IMAGE := unet-segmentation-service

.DEFAULT_GOAL := help
.PHONY: help serve cluster train test tests torture lint types imports page format screenshots pictures loop lock sbom audit image clean

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "  PYTHON=python3.12  the interpreter for $(VENV)          ARGS='-k tiles'  more arguments for train, test and image"
	@echo "  TORCH_BUILD=cpu|cuda, TORCH_INDEX=URL  the build of torch; by default found out, see requirements/install_torch.py"

serve: $(VENV)/.serve ## serve on :8000 with the bundled weights
	@exec $(BIN)/python -m app

cluster: $(VENV)/.ray ## serve on :8000 on a Ray cluster of this machine, see docs/scale.md
	@exec $(BIN)/serve run deploy/ray-serve.yaml

train: $(VENV)/.train ## train on data/train, see: make train ARGS=--help
	@exec $(BIN)/python -m training.run $(ARGS)

test: lint ## lint, types, import contracts, and every test
	@$(MAKE) --no-print-directory --jobs 3 types page tests

# A third process computes while those of the other two wait, for Ray above all.
tests: $(VENV)/.dev node_modules/.installed
	@$(BIN)/python -m pytest --numprocesses 3 --dist loadfile $(ARGS)

torture: $(VENV)/.dev ## attack the service and the training job, for half an hour; one table at the end
	@$(BIN)/python -m tests.torture $(ARGS)

lint: $(VENV)/.dev ## ruff: rules and format
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --check --quiet --diff .

types: $(VENV)/.dev ## mypy, strict
	@$(BIN)/mypy

page: node_modules/.installed ## the page's JavaScript: lint, types, tests of its pure modules
	@export PATH="$(CURDIR)/$(BIN):$$PATH"; npm run --silent lint && npm run --silent types && npm test --silent

imports: $(VENV)/.dev ## which package may import which
	@$(BIN)/lint-imports --no-logo

format: $(VENV)/.dev ## rewrite the code in the project's format
	@$(BIN)/ruff check --quiet --fix-only .
	@$(BIN)/ruff format --quiet .

screenshots: $(VENV)/.dev ## pictures of the page into docs/screenshots (needs chromium)
	@$(BIN)/python -m tests.end_to_end.screenshots

pictures: $(VENV)/.dev ## pictures of a training and of the outputs into docs/pictures (needs chromium, takes minutes)
	@$(BIN)/python -m tests.end_to_end.pictures

loop: $(VENV)/.dev ## correct masks by hand, retrain for two minutes, and see the open page change (needs chromium)
	@$(BIN)/python -m tests.end_to_end.correction_loop

image: ## build the container image, see the head of the Dockerfile
	docker build --tag $(IMAGE) $(ARGS) .

clean: ## remove caches, not the environment
	@rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis dist
	@find . -name __pycache__ -not -path './$(VENV)*' -prune -exec rm -rf {} +

# --- Environments -----------------------------------------------------------------------------------------------------
# One .venv, and one stamp for each lock installed in it. The locks agree on every version, so any order will do.

$(VENV)/.serve $(VENV)/.train $(VENV)/.ray $(VENV)/.dev: $(VENV)/.%: requirements/%.txt requirements/torch.txt | $(BIN)/pip
	@$(BIN)/python requirements/install_torch.py
	@echo "$(VENV): installing requirements/$*.txt"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

# node comes with the development lock, so that every machine has the same one.
node_modules/.installed: package-lock.json $(VENV)/.dev
	@echo "node_modules: installing package-lock.json"
	@PATH="$(CURDIR)/$(BIN):$$PATH" npm ci --silent --no-audit --no-fund
	@touch $@

$(BIN)/pip:
	@test -n "$(PYTHON)" || { echo >&2 "make: no Python 3.11 or newer that can make virtual environments" \
		"(on Debian: apt install python3-venv); name one with PYTHON=/path/to/python"; exit 1; }
	@echo "$(VENV): made by $(PYTHON), $$($(PYTHON) -V)"
	@$(PYTHON) -m venv $(VENV)

# --- Locks ------------------------------------------------------------------------------------------------------------
# After a change of pyproject.toml; UPGRADE=1 takes the newest of everything. dev.txt comes first, being the largest; the
# others start as copies of it, and pip-compile keeps the versions it finds. torch itself is left out: install_torch.py
# chooses its build. Needs a pip that finds a CPU build of torch, or TORCH_INDEX=https://download.pytorch.org/whl/cpu.

COMPILE = CUSTOM_COMPILE_COMMAND='make lock' $(VENV)-lock/bin/pip-compile --quiet --strip-extras \
	--no-emit-index-url --no-emit-find-links --no-emit-trusted-host $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) \
	--unsafe-package torch --unsafe-package unet-segmentation-service pyproject.toml

lock: $(VENV)-lock/bin/pip-compile ## pin the newest versions that pyproject.toml allows (UPGRADE=1), or just what is new
	@$(COMPILE) --extra dev --output-file requirements/dev.txt $(if $(UPGRADE),--upgrade)
	@! grep -E '^(cuda|nvidia|triton==)' requirements/dev.txt || { echo >&2 "make lock: that is the CUDA build of torch"; exit 1; }
	@cp requirements/dev.txt requirements/train.txt
	@$(COMPILE) --extra train --output-file requirements/train.txt
	@cp requirements/train.txt requirements/serve.txt
	@$(COMPILE) --extra openvino --output-file requirements/serve.txt
	@cp requirements/dev.txt requirements/ray.txt
	@$(COMPILE) --extra ray --output-file requirements/ray.txt
	@for lock in dev ray; do sed -i.old 's/^\(uvloop==[^ ;]*\)$$/\1 ; sys_platform != "win32"/' requirements/$$lock.txt; done
	@rm requirements/*.old # pip-compile drops the markers of other systems, and Windows has no uvloop

# --- What is in it, and what is known against it ----------------------------------------------------------------------
# Tools in an environment of their own, as for the locks: what they need must not be mistaken for what the service needs.

LOCK ?= serve

sbom: $(VENV)/.$(LOCK) $(VENV)-audit/bin/pip-audit ## list all that the service brings, with licences, in dist/ (CycloneDX; LOCK=train)
	@mkdir -p dist
	@$(VENV)-audit/bin/cyclonedx-py environment $(BIN)/python --pyproject pyproject.toml --output-reproducible \
		| $(BIN)/python requirements/sbom.py $(LOCK) >dist/sbom-$(LOCK).cdx.json \
		|| { rm -f dist/sbom-$(LOCK).cdx.json; exit 1; }
	@echo "dist/sbom-$(LOCK).cdx.json"

# Without --strict, what could not be looked up would count as in order.
audit: $(VENV)-audit/bin/pip-audit ## known vulnerabilities of everything in the locks (asks PyPI; ARGS='-s osv' asks OSV)
	@PIP_AUDIT_LOGLEVEL=error $(VENV)-audit/bin/pip-audit --strict --no-deps --disable-pip --progress-spinner off --desc off \
		$(foreach lock,torch serve train ray dev,--requirement requirements/$(lock).txt) $(ARGS) \
		|| { echo >&2 "make audit: failed. Either packages are listed above as vulnerable, or the service that knows about" \
		"vulnerabilities could not be asked: it takes a connection to PyPI, or to OSV with ARGS='-s osv'"; exit 1; }

$(VENV)-audit/bin/pip-audit:
	@$(PYTHON) -m venv $(VENV)-audit
	@$(VENV)-audit/bin/pip install --quiet --disable-pip-version-check cyclonedx-bom==7.5.0 pip-audit==2.10.1

$(VENV)-lock/bin/pip-compile:
	@$(PYTHON) -m venv $(VENV)-lock
	@$(VENV)-lock/bin/pip install --quiet --disable-pip-version-check pip-tools==7.6.2
