# Every target installs what it needs: a machine with Python 3.11+ and make is enough.
PYTHON ?= python3
PORT ?= 8000
VENV := .venv
BIN := $(VENV)/bin
CLIENTS := $(VENV)/clients/installed $(VENV)/clients-older/installed
VERCEL := tests/clients/vercel
NODE := $(VERCEL)/node_modules/.package-lock.json
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: run install test check bench scorecard soak lock format chromium bench-pages screenshots

run: $(VENV)/production
	@exec $(BIN)/python manage.py quickstart --port $(PORT)

install: $(VENV)/production

test: $(VENV)/dev $(CLIENTS) $(NODE) chromium
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

# How fast the console is over ten million rows of the request log, on PostgreSQL.
bench-pages: $(VENV)/dev chromium
	$(BIN)/python -m tests.load.pages

# Takes minutes: 90 days of traffic are written first.
screenshots: $(VENV)/dev chromium
	$(BIN)/python -m tests.browser.screenshots

scorecard: $(VENV)/dev $(CLIENTS) $(NODE)
	$(BIN)/python -m tests.run --scorecard

# Watches one process for ten minutes, where the suite does for one.
soak: $(VENV)/dev
	MOBIUS_TEST_SOAK_S=600 $(BIN)/python -m tests.run --scorecard -n 0 \
		tests/fleet/test_creep.py -k stays_as_it_is

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

# What others build on goes into environments of its own: tests run it before the gateway.
$(CLIENTS): $(VENV)/%/installed: requirements/%.txt $(VENV)/dev
	@echo "Installing clients that tests run into $(VENV)/$* ..."
	@$(PYTHON) -m venv --clear $(VENV)/$*
	@$(VENV)/$*/bin/python -m pip install --quiet --require-hashes --no-deps --requirement requirements/$*.txt
	@touch $@

$(NODE): $(VERCEL)/package-lock.json
	@if command -v npm > /dev/null; then \
		npm ci --silent --ignore-scripts --no-audit --no-fund --prefix $(VERCEL) && touch $@; \
	else \
		echo "There is no npm: the tests' leg named Node will be absent."; \
	fi

# Only where nobody has to be asked for it.
chromium:
	@for name in chromium chromium-browser google-chrome google-chrome-stable; do \
		if command -v $$name > /dev/null; then exit 0; fi; \
	done; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null; then \
		echo "Installing Chromium (once) ..."; \
		apt-get update -qq > /dev/null && apt-get install -qq -y chromium > /dev/null && exit 0; \
	fi; \
	echo "There is no Chromium: the tests' leg named Browser will be absent."

lock:
	@$(PYTHON) -m venv $(VENV)/lock && $(VENV)/lock/bin/pip install --quiet uv
	@for target in "run:pyproject.toml" "production:pyproject.toml --extra postgres --extra redis" \
		"dev:pyproject.toml --all-extras --group dev --group lint" "clients:--group clients" \
		"clients-older:--group clients-older"; do \
		$(VENV)/lock/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
			--no-emit-index-url --no-annotate --custom-compile-command "make lock" \
			$${target#*:} --output-file requirements/$${target%%:*}.txt; \
	done
	@npm install --silent --package-lock-only --ignore-scripts --prefix $(VERCEL)
