# Every target sets up what it needs in .venv and does so once: `make run` on a fresh machine is enough.
# PYTHON=... picks the interpreter, ARGS="..." is passed on: make run ARGS="--port 8000", make test ARGS="-k blend".
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
ARGS ?=
export PYTHON

# Stamps say which environment is complete; they are older than the file that changed when it has to be renewed.
TORCH := $(VENV)/.torch-installed
RUNTIME := $(VENV)/.runtime-installed
DEV := $(VENV)/.dev-installed

.PHONY: run test check format clean
.DEFAULT_GOAL := run

run: $(RUNTIME)
	@$(BIN)/python app.py $(ARGS)

test: $(DEV)
	@$(BIN)/python -m pytest $(ARGS)

# All three say what they found, whichever fails.
check: $(DEV)
	@failed=0; \
	$(BIN)/ruff check . || failed=1; \
	$(BIN)/ruff format --check . || failed=1; \
	$(BIN)/mypy || failed=1; \
	exit $$failed

format: $(DEV)
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(TORCH): constraints.txt .ci/make-venv
	@.ci/make-venv $(VENV)
	@touch $@

$(RUNTIME): $(TORCH) requirements.txt
	@$(PIP) install -r requirements.txt -c constraints.txt
	@touch $@

$(DEV): $(RUNTIME) requirements-dev.txt
	@$(PIP) install -r requirements-dev.txt -c constraints.txt
	@touch $@
