# make demo and make test are all that a newcomer needs; make check is what CI runs.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
JOBS   ?= auto
T      ?= tests

.PHONY: demo test check fix bench soak vectors findings kubo cluster witness omniwitness bagit-java postgres clean

$(VENV)/.python: 
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or newer is needed; name one with PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) \
	  || { echo "venv is missing: on Debian, apt-get install python3-venv" >&2; exit 1; }
	@$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	@touch $@

$(VENV)/.installed: $(VENV)/.python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/.test: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --group test
	@touch $@

$(VENV)/.dev: $(VENV)/.test
	$(BIN)/python -m pip install --quiet --group dev
	@touch $@

demo: $(VENV)/.installed
	@$(BIN)/heritage demo
	@$(BIN)/heritage demo --federation

test: $(VENV)/.test
	$(BIN)/python -m pytest -n $(JOBS) --dist loadgroup -m "not slow" $(T)

check: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/mypy
	$(MAKE) test

fix: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

soak: $(VENV)/.test
	$(BIN)/python -m pytest -m slow tests

bench: $(VENV)/.dev
	$(BIN)/python bench/run.py $(ONLY)

vectors: $(VENV)/.test
	@set -e; for maker in tests/vectors/make_*.py; do echo $$maker; PYTHONPATH=tests $(BIN)/python $$maker; done
	git diff --exit-code -- specs/vectors

findings: $(VENV)/.test
	$(BIN)/python tests/meta/make_findings.py

# The real daemons that tests talk to: built or found once, kept outside of this folder.
kubo cluster witness omniwitness bagit-java:
	@tests/external/tools.sh $@

postgres:
	@tests/external/postgres.sh

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
