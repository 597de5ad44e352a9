# Every target works from a fresh clone: the first one that needs it makes the environment.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := $(VENV)/uv/bin/uv

# Tests start some hundred processes; where the environment forbids Python its cache, each would compile every module again.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: demo test check fmt bench bench-parity-peers lock clean unit e2e fuzz campaign powercut mutations

demo: $(VENV)/.done  ## Two versions of a model behind one endpoint; ARGS=--once ends by itself
	@$(BIN)/tallystick demo $(ARGS)

test: $(VENV)/.done  ## All tests, in two processes
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

unit: $(VENV)/.done  ## The tests of one part each: no process, no model, no table
	$(BIN)/pytest tests/unit -p no:hypothesispytest $(ARGS)

e2e: $(VENV)/.done  ## The tests with real processes and real clients
	$(BIN)/pytest tests/e2e $(ARGS)

fuzz: $(VENV)/.done  ## Property tests with new draws; what fails becomes a test of its own
	HYPOTHESIS_PROFILE=explore $(BIN)/pytest -n 2 tests/property --timeout 1200 $(ARGS)

campaign: $(VENV)/.done  ## Kill processes for some minutes and count rows; ARGS="--rounds 50 --seconds 60" for longer
	PYTHONPATH=tests/e2e:tests $(BIN)/python -m campaigns.kills $(ARGS)

powercut: $(VENV)/.done  ## Cut the power of a disk under load, and at chosen places; Linux, as root
	PYTHONPATH=tests/e2e:tests $(BIN)/python -m campaigns.powercuts $(ARGS)

mutations: $(VENV)/.done  ## Switch each defence of the inference table off, and see that the two above notice
	PYTHONPATH=tests/e2e:tests $(BIN)/python -m campaigns.mutations $(ARGS)

check: $(VENV)/.done  ## Format, lint, types, import layers; changes nothing
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fmt: $(VENV)/.done  ## Format, and mend what lint can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.done  ## Measure the claims of benchmarks/README.md; takes about ten minutes
	$(BIN)/python -m benchmarks $(ARGS)

bench-parity-peers: $(VENV)/.done  ## Other tools on cases of ParityBench, each in an environment of its own (some GB); ARGS="--only whylogs"
	$(BIN)/python -m benchmarks.parity.peers $(ARGS)

lock: $(UV)  ## Take the newest versions that fit
	$(UV) pip compile --universal --generate-hashes --no-header --upgrade --quiet \
		--group dev --all-extras pyproject.toml -o requirements.lock

clean:
	rm -rf $(VENV) demo-data

# uv, from a venv of its own: pip alone is needed, and nothing outside this folder is touched.
$(UV):
	$(PYTHON) -m venv $(VENV)/uv
	$(VENV)/uv/bin/pip install --quiet --disable-pip-version-check "uv>=0.8"

$(VENV)/.done: requirements.lock pyproject.toml | $(UV)
	$(UV) venv --quiet --allow-existing --python $(PYTHON) $(VENV)
	$(UV) pip install --quiet --python $(BIN)/python --require-hashes -r requirements.lock
	$(UV) pip install --quiet --python $(BIN)/python --no-deps -e .
	@touch $@
