# make quickstart   everything from nothing to a first result
# make test         the environment and the whole test suite
# Both set up what they need; the second time they find it done.

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help quickstart torture fuzz test quick environment lint docs docs-check reference results-page package clean

PINS := pyproject.toml requirements/constraints.txt requirements/compared.txt scripts/environment.sh scripts/indexes.py

help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile
	@echo "make quick        the tests without those that take long, in a few minutes"
	@echo "make lint         formatting, types, import contracts"
	@echo "make fuzz         a million messages that nobody should send; INPUTS and SEED"
	@echo "make docs         the site, in build/site; a warning is an error"
	@echo "make docs-check   the documents' snippets, links and tables"
	@echo "make reference    docs/reference and docs/figures, from the code"
	@echo "make results-page what was measured, into docs/results.md and docs/performance.md"
	@echo "make torture      tiny runs are killed at random moments; KILLS, WORKERS, SEED"
	@echo "make package      wheel and source archive, checked and tried, in dist/"
	@echo "make clean        remove the environment and caches; runs/ stays"

quickstart: .venv/run.stamp
	@.venv/bin/python scripts/quickstart.py

# tests run in as many processes as there are cores: one thread each
test: environment
	OMP_NUM_THREADS=1 .venv/bin/python -m pytest

quick: environment
	OMP_NUM_THREADS=1 .venv/bin/python -m pytest -m "not slow"

environment: .venv/test.stamp

.venv/run.stamp: $(PINS)
	@sh scripts/environment.sh lite0,emoji
	@touch $@

.venv/test.stamp: $(PINS) scripts/browser.py
	@sh scripts/environment.sh dev,docs,lite0,transformers,sentence-transformers,onnx,datasets,peft,emoji,sql,tables,flower,hub,serve,dashboard,tensorboard,mlflow,wandb
	@.venv/bin/python scripts/browser.py
	@touch $@ .venv/run.stamp

lint: environment
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	.venv/bin/lint-imports --no-logo

# notebooks are executed first, so that the site shows what comes of them
docs: environment
	OMP_NUM_THREADS=1 .venv/bin/python scripts/notebooks.py
	NO_MKDOCS_2_WARNING=1 .venv/bin/python -m mkdocs build --strict --quiet

INPUTS ?= 1000000
SEED ?= 0
fuzz: environment
	OMP_NUM_THREADS=1 .venv/bin/python scripts/fuzz_messages.py --inputs $(INPUTS) --seed $(SEED)

docs-check: environment
	OMP_NUM_THREADS=1 .venv/bin/python -m pytest tests/docs

reference: environment
	.venv/bin/python scripts/reference.py
	.venv/bin/python scripts/concept_figures.py

results-page: environment
	.venv/bin/python scripts/results.py

KILLS := 100
WORKERS := 0
SEED := 0

torture: environment
	.venv/bin/python scripts/torture.py --kills $(KILLS) --workers $(WORKERS) --seed $(SEED)

package: environment
	OMP_NUM_THREADS=1 .venv/bin/python scripts/package.py

clean:
	rm -rf .venv build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
