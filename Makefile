# Every target does its own set-up: the only things needed are Python 3.11+ and, for a real Kafka, Java 17+ and Maven.
PYTHON ?= $(firstword $(foreach p,python3.11 python3.12 python3.13 python3,$(shell command -v $(p) 2>/dev/null)))
VENV   ?= .venv
BIN    := $(VENV)/bin
LOCKS  := deploy/locks
# What the demo may be given: ONCE=1 ends after one replay, DATA=folder plays real listens.
ONCE   ?=
DATA   ?=
# How many workers `make up` runs.
WORKERS ?= 1
# What is measured: BENCH=listens takes one, BENCH_OPTIONS goes to each (--help lists them).
BENCH  ?= listens sessions recovery catalogue tokenize tokenizers live rollout
BENCH_OPTIONS ?=

SERVE  := $(VENV)/.serve-installed
DEV    := $(VENV)/.dev-installed

.PHONY: serve up install demo demo-artifact test test-slow check format bench lock readme clean

# The default: what serves, without torch. Training, tests and checks install the development set when they are asked for.
serve: $(SERVE)
	@echo "ready: $(BIN)/sidestream demo --once shows the whole loop, $(BIN)/sidestream up runs a broker and a worker;"
	@echo "after '. $(BIN)/activate' the command is sidestream alone"

install: $(DEV)

$(BIN)/uv: $(LOCKS)/bootstrap.txt
	@test -n "$(PYTHON)" || { echo "No Python found: install Python 3.11 or newer, or run make PYTHON=/path/to/python"; exit 2; }
	@echo "preparing $(VENV) with $(PYTHON) (about 60 MB) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $(LOCKS)/bootstrap.txt
	@touch $@

# The serving set has no torch; the development set is the serving set and everything else.
$(SERVE): $(BIN)/uv $(LOCKS)/serve.txt pyproject.toml
	@test -e $(DEV) || echo "installing the serving set (about 300 MB, without torch) into $(VENV) ..."
	@test -e $(DEV) || $(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r $(LOCKS)/serve.txt
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@

$(DEV): $(BIN)/uv $(LOCKS)/dev.txt pyproject.toml
	@echo "installing the development set (about 6 GB, torch among it) into $(VENV) ..."
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r $(LOCKS)/dev.txt
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@

# With DATA a model is trained, which takes the development set; without, the shipped artifact serves. A DATA that is
# not there is refused by the command itself, before anything as large as torch is fetched for it.
demo: $(if $(shell test -e "$(DATA)" && echo there),$(DEV),$(SERVE))
	@$(BIN)/sidestream demo $(if $(ONCE),--once) $(if $(DATA),--data "$(DATA)")

up: $(SERVE)
	@$(BIN)/sidestream up --workers $(WORKERS)

demo-artifact: $(DEV)
	@$(BIN)/python -m sidestream.streams.demo.build

test: $(DEV)
	@$(BIN)/python -m pytest

test-slow: $(DEV)
	@$(BIN)/python -m pytest -m slow

check: $(DEV)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/pydoclint --quiet sidestream/*.py streams models tokenizer

format: $(DEV)
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: $(DEV)
	@for bench in $(BENCH); do $(BIN)/python -m tests.bench.$$bench $(BENCH_OPTIONS) || exit 1; done

# Pins with hashes and without any index address: the client's own settings say where packages come from.
lock: $(BIN)/uv
	@$(BIN)/uv pip compile --quiet --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate \
		--custom-compile-command "make lock" --extra cpu --extra embedded pyproject.toml -o $(LOCKS)/serve.txt
	@$(BIN)/uv pip compile --quiet --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate \
		--custom-compile-command "make lock" --extra cpu --extra embedded --extra train --extra test --extra check \
		-c $(LOCKS)/serve.txt pyproject.toml -o $(LOCKS)/dev.txt
	@$(BIN)/uv pip compile --quiet --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate \
		--custom-compile-command "make lock" --group bench -o $(LOCKS)/bench.txt

readme: $(DEV)
	@$(BIN)/python -m tests.repository.readme
	@$(BIN)/python -m tests.repository.contract

clean:
	@rm -rf $(VENV) build dist *.egg-info src/*.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis var
