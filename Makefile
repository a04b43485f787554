# Every target installs what it needs: a machine with Python 3.11+ and make is enough.
PYTHON ?= python3
PORT ?= 8000
VENV := .venv
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: run install test check bench scorecard lock format

run: $(VENV)/production
	@exec $(BIN)/python manage.py quickstart --port $(PORT)

install: $(VENV)/production

test: $(VENV)/dev
	$(BIN)/python -m tests.run

check: $(VENV)/dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy .
	$(BIN)/lint-imports
	$(BIN)/vulture
	$(BIN)/deptry .
	$(BIN)/python manage.py makemigrations --check --dry-run

bench: $(VENV)/dev
	$(BIN)/python -m tests.load.bench

scorecard: $(VENV)/dev
	$(BIN)/python -m tests.run --scorecard

format: $(VENV)/dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# A lock is installed once and again when it changes. The marker stands for what is installed.
$(VENV)/production: requirements/production.txt
	@test -x $(BIN)/python || $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Mobius needs Python 3.11 or newer.")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing Mobius into $(VENV) (once) ..."
	@$(BIN)/python -m pip install --quiet --require-hashes --requirement requirements/production.txt
	@touch $@

$(VENV)/dev: requirements/dev.txt $(VENV)/production
	@echo "Installing what tests and checks need ..."
	@$(BIN)/python -m pip install --quiet --require-hashes --requirement requirements/dev.txt
	@touch $@

lock:
	@$(PYTHON) -m venv $(VENV)/lock && $(VENV)/lock/bin/pip install --quiet uv
	@for target in "run:" "production:--extra postgres --extra redis" "dev:--all-extras --group dev --group lint"; do \
		$(VENV)/lock/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
			--no-emit-index-url --no-annotate --custom-compile-command "make lock" pyproject.toml \
			$${target#*:} --output-file requirements/$${target%%:*}.txt; \
	done
