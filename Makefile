# Every target brings the environment that it needs: on a fresh machine, `make demo` is all there is to do.
FULL  := $(if $(VENV),$(VENV),.venv)
LIGHT := $(if $(LIGHT_VENV),$(LIGHT_VENV),.venv-light)
OUT   ?= demo-output

# OpenMP threads that spin make a busy machine twenty times slower; tests should not depend on cores.
export OMP_NUM_THREADS ?= 1
export OMP_WAIT_POLICY ?= passive

# Two processes on two cores: 4 minutes instead of 8, for many tests wait. A file stays in one, with what it prepares.
SIDE_BY_SIDE := -n 2 --dist loadfile

.DEFAULT_GOAL := help
.PHONY: help setup light demo test test-all lint format wheel clean

help:  ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-9s %s\n", $$1, $$2}'

setup:  ## make the full environment (.venv): training, export, tests
	@VENV=$(FULL) sh setup.sh full

light:  ## make the light environment (.venv-light): no torch, as a user's installation
	@VENV=$(LIGHT) sh setup.sh light

demo: light  ## hear a few recordings, picture them, write a report to demo-output/
	@$(LIGHT)/bin/avgan demo -o $(OUT)
	@for page in $(OUT)/*.html; do [ ! -f "$$page" ] || echo "The report: $$page (open it in a browser)"; done

test: setup  ## run the tests (ARGS="-k audio" to choose)
	@$(FULL)/bin/python -m pytest -q $(SIDE_BY_SIDE) $(ARGS)

test-all: setup  ## run the tests with the slow ones
	@$(FULL)/bin/python -m pytest -q $(SIDE_BY_SIDE) -m "slow or not slow" $(ARGS)

lint: setup  ## check style, format and types
	@$(FULL)/bin/ruff check .
	@$(FULL)/bin/ruff format --check .
	@$(FULL)/bin/mypy

format: setup  ## put the code into the one format
	@$(FULL)/bin/ruff check --fix .
	@$(FULL)/bin/ruff format .

wheel: setup  ## build the wheel into dist/
	@$(FULL)/bin/pip wheel --disable-pip-version-check --quiet --no-deps -w dist .
	@ls dist/*.whl

clean:  ## remove caches and build results (environments stay)
	@rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis $(OUT)
	@find . -name __pycache__ -not -path './.venv*' -prune -exec rm -rf {} +
