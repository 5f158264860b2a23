# The commands of this repository: `make` lists them. Each sets up what it needs in .venv, once.

VENV := .venv
PYTHON := $(VENV)/bin/python
READY := $(VENV)/.ready
TEST := build/test

# Tests read no settings, data or runs of whoever runs them. Notebooks train for one epoch; 03 and 04 find the runs of 02.
OWN := $(CURDIR)/$(TEST)
TEST_ENVIRONMENT := env -u ROADSEG_DATA -u ROADSEG_RUNS -u ROADSEG_CACHE ROADSEG_HOME="$(OWN)" \
	IPYTHONDIR="$(OWN)/ipython" JUPYTER_CONFIG_DIR="$(OWN)/jupyter" JUPYTER_DATA_DIR="$(OWN)/jupyter" \
	MPLCONFIGDIR="$(OWN)/matplotlib" JUPYTER_PLATFORM_DIRS=1
HUB := $(if $(filter 0,$(shell id -u)),/srv/roadseg,$(CURDIR)/build/hub)
SIDE_BY_SIDE := -n 2 --dist loadfile --no-loadscope-reorder
NOTEBOOKS := $(wildcard $(addprefix notebooks/,02* 04* 03* 01* 00*))
NBVAL := --nbval --nbval-current-env --nbval-sanitize-with tests/nbval_sanitize.cfg --nbval-cell-timeout 1800

.PHONY: help lab check test test-slow report bench e2e course hub clean

help:  ## list these commands
	@sed -n 's/^\([a-z0-9-]*\):.*## /  make \1@/p' $(MAKEFILE_LIST) | awk -F@ '{ printf "%-16s %s\n", $$1, $$2 }'

lab: $(READY)  ## your own notebooks, in JupyterLab (LAB_OPTIONS="--no-browser --port 8900")
	$(PYTHON) -m roadseg start --open $(LAB_OPTIONS)

check: $(READY)  ## style, imports, spelling and the fast tests
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(VENV)/bin/lint-imports --no-logo
	$(VENV)/bin/codespell
	$(PYTHON) -m pytest $(SIDE_BY_SIDE) -m "not slow and not long and not browser"

test: $(READY) $(VENV)/.course  ## all tests but the longest, and every notebook with real training on scenes
	$(PYTHON) -m pytest $(SIDE_BY_SIDE) -m "not long and not browser"
	rm -rf $(TEST)/runs
	mkdir -p $(TEST)
	$(TEST_ENVIRONMENT) $(PYTHON) -m roadseg data --render "$(OWN)/data/scenes"
	$(TEST_ENVIRONMENT) ROADSEG_EPOCHS=1 $(PYTHON) -m pytest $(NBVAL) $(SIDE_BY_SIDE) $(NOTEBOOKS)

test-slow: $(READY) $(VENV)/.course  ## the tests that take minutes, and the notebooks with enough training for all that they say
	mkdir -p $(TEST)
	$(TEST_ENVIRONMENT) $(PYTHON) -m pytest -n 2 --dist worksteal -m long
	$(TEST_ENVIRONMENT) ROADSEG_EPOCHS=6 $(PYTHON) -m pytest $(NBVAL) $(SIDE_BY_SIDE) $(NOTEBOOKS)

report: $(READY)  ## the report to hand in, from your notebooks and runs (OPTIONS=--draft)
	$(PYTHON) -m roadseg report $(OPTIONS)

bench: $(READY)  ## time and memory, beside plain TensorFlow and PyTorch; also in build/bench.json
	$(PYTHON) tests/bench.py

e2e: $(READY) $(VENV)/.e2e  ## the notebooks in a real browser (needs Chromium), with the runs of `make test` where they are there
	mkdir -p $(TEST)
	$(TEST_ENVIRONMENT) ROADSEG_EPOCHS=1 $(PYTHON) -m pytest -m "browser and not long"

course: $(READY) $(VENV)/.course  ## for teachers: a course to grade, and the archive to hand out
	$(PYTHON) -m roadseg course setup $(OPTIONS)

hub:  ## a JupyterHub for a class, to try on this machine (ACCOUNTS=yes as root; needs npm)
	deploy/demonstration.sh "$(HUB)" "$(ACCOUNTS)"

clean:  ## remove what tests and benchmarks made; data, runs and .venv stay
	rm -rf build

$(READY): requirements.txt pyproject.toml
	@$(FIND_PYTHON)
	$(PYTHON) -m pip install --disable-pip-version-check -r requirements.txt
	@touch $@

# What only teachers and tests need, as extras of the package.
$(VENV)/.%: $(READY)
	$(PYTHON) -m pip install --disable-pip-version-check -e .[$*]
	@touch $@

# Keep a working .venv; otherwise make one with the first Python in the range that is there.
define FIND_PYTHON
fits() { "$$@" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; }; \
if fits $(PYTHON) && $(PYTHON) -m pip --version >/dev/null 2>&1; then exit 0; fi; \
for python in python3 python3.13 python3.12 python3.11 python; do \
	if fits $$python; then \
		echo "Making $(VENV) with $$($$python --version), and installing about 2 GB into it, once."; \
		$$python -m venv --clear $(VENV); exit; \
	fi; \
done; \
echo "No Python from 3.11 to 3.13 was found: install one (https://www.python.org/downloads) and try again." >&2; \
exit 1
endef
