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

# A file's tests run one after the other, files beside one another on the cores there are; with a thread each, for more
# would wait for one another. To see prints or use a debugger: make test ARGS="-n 0 -s".
test: $(DEV)
	@OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder $(ARGS)

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
