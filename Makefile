# One command each. PYTHON chooses the interpreter: make test PYTHON=python3.12
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed

.PHONY: install demo test test-slow reproduce benchmark lint audit clean

$(INSTALLED): pyproject.toml
	@$(PYTHON) -c "import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))" || \
	  { echo "error: Python 3.11 to 3.13 is needed; name one: make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

install: $(INSTALLED)   ## the environment alone, in .venv

demo: install           ## train the default experiment: a VAE on handwritten digits, nothing downloaded
	$(BIN)/python train.py

test: install           ## the tests, in under 8 minutes on two cores
	$(BIN)/python -m pytest -n 2 -m "not slow"

test-slow: install      ## the long ones: whole runs, distributed training, the wheel
	$(BIN)/python -m pytest -n 2 -m slow

reproduce: install      ## Table 1 of Jang et al. on MNIST, 28 cells, two at a time: hours
	$(BIN)/python scripts/reproduce.py jang_table1 --jobs 2

benchmark: install      ## how fast a step is, against loops by hand; needs MNIST
	$(BIN)/python scripts/benchmark.py

lint: install           ## ruff and pyright, through pre-commit
	$(BIN)/pre-commit run --all-files

audit: install          ## known vulnerabilities of the dependencies; needs the network
	$(BIN)/python -m pip install --quiet pip-audit
	$(BIN)/python scripts/audit.py

clean:                  ## the environment and what tools left
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis build dist
