# Two commands matter: `make demo` (the whole path on a made corpus) and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo demo-bundle test bench bench-readme lint format clean

demo: $(VENV)/.demo
	$(BIN)/hemogat demo

test: $(VENV)/.dev
	$(BIN)/pytest

# The bundle that is committed: the demo's run, exported in fp32 and int8.
demo-bundle: demo
	$(BIN)/hemogat export build/demo/run --recipe export/onnx-int8.yaml --out build/demo/bundle
	rm -rf export/models/demo
	cp -r build/demo/bundle export/models/demo

# Suites that need no GPU; each goes on where it was stopped. BENCH_OUT keeps runs apart.
SUITES := cpu-base paper-table5 bank-scaling serving-load
BENCH_OUT ?= build/bench

bench: $(VENV)/.dev
	for suite in $(SUITES); do \
	  $(BIN)/hemogat bench suite benchmarks/suites/$$suite.yaml --out $(BENCH_OUT)/$$suite || exit 1; \
	done
	$(BIN)/hemogat bench report $$(find $(BENCH_OUT) -mindepth 3 -name '*.json' ! -name step.json | sort) \
	  --title "HemoGAT: measurements" --out $(BENCH_OUT)/report.html

bench-readme: $(VENV)/.dev
	$(BIN)/python benchmarks/readme_tables.py

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build dist *.egg-info

$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' \
	  || { echo "error: expected Python 3.10 to 3.12, found $$($(PYTHON) --version); name one with: make PYTHON=python3.11 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(BIN)/pip pyproject.toml constraints.txt
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[demo]'
	@touch $@

$(VENV)/.dev: $(VENV)/.demo
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[demo,dev]'
	@touch $@
