# mailagent's chores; `make help` lists them. Everything is installed into $(VENV), nothing outside of it.
PYTHON ?= python3
VENV ?= .venv
# Options for the server, as in: make run ARGS="--listen tcp:2526"
ARGS ?=
# Options for pytest, as in: make test TESTS="tests/envelope -x"
TESTS ?=
# What to fuzz (grammar, content or session), and for how many seconds.
TARGET ?= session
SECONDS ?= 60

BIN := $(VENV)/bin
# One stamp for each set of extras: newer than the packaging files, it says that the set is installed.
RUN := $(VENV)/run.stamp
TEST := $(VENV)/test.stamp
DEV := $(VENV)/dev.stamp
FUZZ := $(VENV)/fuzz.stamp
BENCH := $(VENV)/bench.stamp

.DEFAULT_GOAL := help
.PHONY: help run test lint types format torture coverage fuzz bench bench-idle bench-queue bench-dead bench-nodes soak docs changelog clean

help:  ## Say what there is to make
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-11s %s\n", $$1, $$2}' Makefile

run: $(RUN)  ## Start the server (ARGS="--help" shows its options); ^C stops it
	@exec $(BIN)/twistd -n --pidfile= mailagent $(ARGS)

test: lint types  ## Run lint, types and all tests (TESTS="tests/smtp -x" for some)
	$(BIN)/pytest $(TESTS)

torture: $(TEST)  ## Run the long forms of tests that `make test` has only in short (TESTS="tests/peers" for some)
	$(BIN)/pytest -m torture $(TESTS)

lint: $(TEST)  ## Check style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(TEST)  ## Check types
	$(BIN)/mypy

format: $(TEST)  ## Put the sources into the common format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

coverage: $(TEST)  ## Run the tests and show the lines that none of them reached
	$(BIN)/pytest --cov --cov-report=term $(TESTS)

fuzz: $(TEST) $(FUZZ)  ## Fuzz with atheris (TARGET=session SECONDS=60); what it finds goes to .fuzz
	$(BIN)/python -m tests.fuzz $(TARGET) -max_total_time=$(SECONDS)

bench: $(TEST) $(BENCH)  ## Measure beside Postfix, Exim and aiosmtpd (ARGS="--work new-connection --peers postfix --rounds 3")
	$(BIN)/python -m bench $(ARGS)

bench-idle: $(TEST)  ## Measure the memory of 10,000 idle connections (docs/benchmarks.md)
	$(BIN)/python -m bench.idle_connections $(ARGS)

bench-queue: $(TEST)  ## Measure what the queue's steps cost, however much waits (docs/benchmarks.md)
	$(BIN)/python -m bench.queue_cost $(ARGS)

bench-dead: $(TEST)  ## Measure what a dead destination costs a living one (docs/benchmarks.md)
	$(BIN)/python -m bench.dead_destination $(ARGS)

bench-nodes: $(TEST)  ## Measure one, two and three nodes on one PostgreSQL (docs/benchmarks.md)
	$(BIN)/python -m bench.nodes $(ARGS)

soak: $(TEST)  ## Run mixed mail for half an hour: nothing may be lost or grow (ARGS="--minutes 5 --rate 100")
	$(BIN)/python -m bench.soak $(ARGS)

docs: $(DEV)  ## Build the API documentation into apidocs/
	$(BIN)/pydoctor --project-name=mailagent --docformat=epytext --html-output=apidocs mailagent

changelog: $(DEV)  ## Gather changes/ into CHANGELOG.md, for a release
	$(BIN)/towncrier build --yes

clean:  ## Remove what was built (the mail and $(VENV) stay)
	rm -rf build dist *.egg-info apidocs htmlcov .coverage .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find mailagent tests twisted -name __pycache__ -prune -exec rm -rf {} +
	rm -f twisted/plugins/dropin.cache

define install
@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	{ echo "mailagent needs Python 3.11 or newer, which $(PYTHON) is not; name one that is: make PYTHON=python3.11 ..." >&2; exit 1; }
@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	{ echo "$(PYTHON) lacks its venv module; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
@echo "Setting up $(VENV), which takes a moment the first time ..."
@$(PYTHON) -m venv $(VENV)
@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.$(1)'
@touch $@
endef

$(RUN): setup.cfg pyproject.toml
	$(call install,)

$(TEST): setup.cfg pyproject.toml
	$(call install,[test])

$(FUZZ): setup.cfg pyproject.toml
	$(call install,[fuzz])

$(BENCH): setup.cfg pyproject.toml
	$(call install,[bench])

$(DEV): setup.cfg pyproject.toml
	$(call install,[dev])
