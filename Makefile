# Two commands matter: `make demo` (the whole path on a made corpus) and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo demo-bundle test bench bench-peers bench-collect bench-page bench-readme lint audit format wheel constraints soak soak-docs fuzz clean

demo: $(VENV)/.demo
	$(BIN)/hemogat demo

# Two processes, a file's tests in one of them: they share what is dear to make.
test: $(VENV)/.tools
	$(BIN)/pytest -n 2 --dist loadfile

# The bundle that is committed: the demo's run, exported in fp32 and int8.
demo-bundle: demo
	$(BIN)/hemogat export build/demo/run --recipe export/onnx-int8.yaml --out build/demo/bundle \
	  --inputs build/demo/gate/manifest.csv
	rm -rf export/models/demo
	cp -r build/demo/bundle export/models/demo

# Suites that need no GPU, and the peers where `make bench-peers` prepared their environment; each
# goes on where it was stopped. BENCH_OUT keeps runs apart.
SUITES := cpu-base paper-table5 bank-scaling serving-load
BENCH_OUT ?= build/bench

bench: $(VENV)/.dev
	@started=$$(date +%s); \
	for suite in $(SUITES); do \
	  began=$$(date +%s); \
	  $(BIN)/hemogat bench suite benchmarks/suites/$$suite.yaml --out $(BENCH_OUT)/$$suite || exit 1; \
	  echo "$$suite: $$(( $$(date +%s) - began )) s"; \
	done; \
	echo "suites: $$(( ($$(date +%s) - started + 59) / 60 )) minutes"; \
	if [ -n "$$(ls $(BENCH_OUT)/peers/base/*.json 2>/dev/null)" ]; then echo "peers: done before"; \
	elif [ -f build/peers/engines.json ]; then \
	  $(BIN)/python benchmarks/peers/measure.py --out $(BENCH_OUT)/peers/base || exit 1; \
	else echo "peers: left out, as their environment is not there; make bench-peers prepares it"; fi; \
	echo "all: $$(( ($$(date +%s) - started + 59) / 60 )) minutes"
	$(BIN)/hemogat bench report $$(find $(BENCH_OUT) -mindepth 3 -name '*.json' ! -name step.json | sort) \
	  --title "HemoGAT: measurements" --bundle export/models/demo --out $(BENCH_OUT)/report.html

# Beside plain transformers, torch.compile and optimum-onnx, which get an environment of their own.
bench-peers: $(VENV)/.dev
	$(BIN)/python benchmarks/peers/prepare.py
	$(BIN)/python benchmarks/peers/measure.py --out $(BENCH_OUT)/peers/base

# What `make bench` measured, into the committed results.
bench-collect: $(VENV)/.dev
	$(BIN)/python benchmarks/collect_results.py $(BENCH_OUT)

# One page of all committed reports, but of the method's own.
bench-page: $(VENV)/.dev
	$(BIN)/hemogat bench report \
	  $$(grep -l '"schema_version": 2' benchmarks/results/*.json | grep -v /steady-work-) \
	  --title "HemoGAT: measurements" --bundle export/models/demo --out benchmarks/results/report.html

# Results of a busy machine are refused, unless with ALLOW_NOISY=--allow-noisy.
bench-readme: $(VENV)/.dev
	$(BIN)/python benchmarks/readme_tables.py $(ALLOW_NOISY)

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	@$(MAKE) --no-print-directory audit

# Known vulnerabilities of what is installed, where their data can be reached: where an old release
# that has some is said to have some.
audit: $(VENV)/.dev
	@echo 'jinja2==2.4.1' > $(VENV)/vulnerable.txt
	@if $(BIN)/pip-audit --no-deps --disable-pip -r $(VENV)/vulnerable.txt --timeout 5 \
	  --progress-spinner off 2>/dev/null | grep -qE 'GHSA|PYSEC|CVE'; \
	then $(BIN)/pip-audit --skip-editable --progress-spinner off; \
	else echo "pip-audit: skipped, its data cannot be reached or tell of no vulnerabilities"; fi

# The wheel, and beside it a bill of materials (CycloneDX) of what it needs to predict and to serve.
wheel: $(VENV)/.dev
	$(BIN)/python -m build --wheel --no-isolation --outdir dist
	$(BIN)/python .ci/resolved.py 'hemogat[cpu,serve]' \
	  | $(BIN)/cyclonedx-py requirements --pyproject pyproject.toml --mc-type library \
	    --output-reproducible -o dist/hemogat.cdx.json -

# All that the direct dependencies need in turn, as it installs today. Test it before you commit it.
constraints:
	rm -rf build/constraints
	$(PYTHON) -m venv build/constraints
	build/constraints/bin/pip install --quiet --constraint constraints.txt --editable '.[demo,dev]'
	build/constraints/bin/python .ci/resolved.py 'hemogat[demo,dev]' --beside constraints.txt > constraints-indirect.new
	mv constraints-indirect.new constraints-indirect.txt

# Hostile requests, valid ones and kills against real servers (docs/reliability.md); run again, it goes
# on with the phases that the result lacks.
SOAK_OUT ?= build/soak.json
soak: $(VENV)/.dev
	PYTHONPATH=benchmarks $(BIN)/python -m reliability export/models/demo --out $(SOAK_OUT)

# The result of `make soak`, where there is one, into the committed results, and these into the docs.
soak-docs: $(VENV)/.dev
	PYTHONPATH=benchmarks $(BIN)/python benchmarks/soak_tables.py $(wildcard $(SOAK_OUT))

# Each parser of untrusted files for FUZZ_S seconds, guided by coverage.
FUZZ_S ?= 300
PARSERS ?= audio,bundle,pipeline,manifest,checkpoint,features
fuzz: $(VENV)/.dev
	@mkdir -p build
	PYTHONPATH=benchmarks $(BIN)/python -m reliability.fuzz $(PARSERS) export/models/demo \
	  -max_total_time=$(FUZZ_S) -artifact_prefix=build/fuzz-

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build dist *.egg-info

$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' \
	  || { echo "error: expected Python 3.10 to 3.12, found $$($(PYTHON) --version); name one with: make PYTHON=python3.11 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(BIN)/pip pyproject.toml constraints.txt constraints-indirect.txt
	$(BIN)/pip install --quiet --constraint constraints.txt --constraint constraints-indirect.txt --editable '.[demo]'
	@touch $@

$(VENV)/.dev: $(VENV)/.demo
	$(BIN)/pip install --quiet --constraint constraints.txt --constraint constraints-indirect.txt --editable '.[demo,dev]'
	@touch $@

# Where one of them cannot be had, its tests skip, and the next run tries again.
$(VENV)/.tools: $(VENV)/.dev tests/deployment/get_tools.py
	@if $(BIN)/python tests/deployment/get_tools.py $(BIN); then touch $@; fi
