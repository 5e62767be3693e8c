# make demo   set everything up and matte two photographs into out/demo
# make test   set everything up and run the test suite
# make test-browser   the demos in a real browser (Chromium; installs it where apt-get is there and may)
# make lint   ruff and mypy
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: demo test test-browser chromium lint slow clean

demo: $(VENV)/.installed-quickstart
	$(BIN)/python demos/quickstart.py --out out/demo

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest

test-browser: $(VENV)/.installed-dev chromium
	$(BIN)/python -m pytest -m browser tests/demos

# The browser of the system; ZIM_CHROMIUM names another. Without one the tests skip and say so.
chromium:
	@if [ -n "$$ZIM_CHROMIUM" ] || command -v chromium chromium-browser google-chrome google-chrome-stable >/dev/null; then :; \
	elif command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core; \
	else echo "no Chromium found: install it with the system's package manager, or set ZIM_CHROMIUM" >&2; fi

slow: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m slow

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/mypy

$(BIN)/python:
	$(PYTHON) -c "import sys; sys.exit('Python 3.11 or newer is needed, this is ' + sys.version) if sys.version_info < (3, 11) else None"
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed-%: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) install --quiet --constraint constraints.txt --editable ".[$*]"
	touch $@

clean:
	rm -rf $(VENV) out .pytest_cache .mypy_cache .ruff_cache
