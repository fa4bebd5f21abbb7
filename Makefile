# One command each. PYTHON chooses the interpreter, CONSTRAINTS a file of versions:
# make test PYTHON=python3.12 CONSTRAINTS=constraints/tested.txt
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed

.PHONY: help install demo test test-slow test-exhaustive lint docs audit reproduce benchmark soak clean

help:                   ## this list
	@sed -n 's/^\([a-z-]*\):[^#]*## */  make \1|/p' $(firstword $(MAKEFILE_LIST)) | awk -F'|' '{ printf "%-24s%s\n", $$1, $$2 }'
	@echo
	@echo "After make install, in $(BIN): discrete-latents-train, -eval, -search, -summarize, -explore, -export; each has --help."

$(INSTALLED): pyproject.toml
	@$(PYTHON) -c "import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))" || \
	  { echo "error: Python 3.11 to 3.13 is needed; name one: make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[dev]' $(if $(CONSTRAINTS),--constraint $(CONSTRAINTS))
	@touch $@

install: $(INSTALLED)   ## the environment alone, in .venv

demo: install           ## train the default experiment: a VAE on handwritten digits, nothing downloaded
	$(BIN)/python train.py

test: install           ## the tests, in about 8 minutes on two cores
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow and not exhaustive"

test-slow: install      ## the long tests: whole runs, distributed training, the wheel
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "slow and not exhaustive"

test-exhaustive: install ## the cases that take so long that CI leaves them out
	$(BIN)/python -m pytest -n 2 --dist worksteal -m exhaustive

lint: install           ## ruff and pyright through pre-commit; a minute the first time
	$(BIN)/pre-commit run --all-files

docs: install           ## the documentation, in site/; open site/index.html
	NO_MKDOCS_2_WARNING=1 DISABLE_MKDOCS_2_WARNING=true $(BIN)/python -m mkdocs build --strict --quiet

audit: install          ## known vulnerabilities of the dependencies; needs the public package index
	$(BIN)/python -m pip install --quiet pip-audit
	$(BIN)/pip-audit --skip-editable

reproduce: install      ## Table 1 of Jang et al. on MNIST, 28 cells, two at a time; hours
	$(BIN)/python -m scripts.reproduce jang_table1 --jobs 2

benchmark: install      ## the speed of a step, an evaluation and a start, against loops by hand; needs MNIST
	$(BIN)/python -m scripts.benchmark

soak: install           ## a run killed and resumed 50 times, against an undisturbed one; a minute
	$(BIN)/python -m scripts.soak

clean:                  ## remove the environment and what tools left
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis build dist
