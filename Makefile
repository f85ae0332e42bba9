# Two commands do everything on a fresh machine: `make demo` and `make test`. Both stand on `make setup`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Where PyTorch's CPU builds are; used when this machine has no NVIDIA driver and the index can be reached.
TORCH_CPU_INDEX ?= https://download.pytorch.org/whl/cpu
READY := $(VENV)/.ready
# Test files run side by side; the tests of one file share what they set up, so they stay together. The longest come
# first (tests/conftest.py); by itself xdist would begin with the files of most tests. One more than there are cores:
# some wait for servers and workers while others compute.
WORKERS := $(shell expr $$(nproc) + 1)

.PHONY: setup demo test check bench readme lock clean
setup: $(READY)

$(READY): constraints.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "pgolf needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version). Try: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	@extra=""; \
	if ! command -v nvidia-smi >/dev/null 2>&1 && $(BIN)/python -c 'import sys, urllib.request; urllib.request.urlopen(sys.argv[1], timeout=5)' $(TORCH_CPU_INDEX)/torch/ >/dev/null 2>&1; then \
		extra="--extra-index-url $(TORCH_CPU_INDEX)"; fi; \
	echo "installing pinned packages (a few minutes the first time)"; \
	$(BIN)/python -m pip install -qq --disable-pip-version-check $$extra -c constraints.txt -e '.[train,flows,s3,dev]'
	@touch $(READY)

demo: setup
	$(BIN)/pgolf run demo

# Hundreds of processes import this code: they share its .pyc files even where PYTHONDONTWRITEBYTECODE is set.
test: setup check
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder --durations=20

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: setup
	$(BIN)/python -m bench

# What the README shows of the demo comes out of this run.
readme: setup
	$(BIN)/python -m bench.readme

# After changing a requirement: a fresh environment, then its exact versions.
lock:
	rm -rf $(VENV) constraints.txt && touch constraints.txt
	$(MAKE) setup
	{ echo '# Exact versions of everything pgolf was tested with; written from a fresh environment by `make lock`.'; \
		$(BIN)/python -m pip freeze --exclude-editable | sed 's/+cpu$$//'; } > constraints.txt
	touch $(READY)

# What was paid for stays: artifacts and results. README.md, "Uninstall", names all places.
clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache build *.egg-info
	find pgolf flows tasks bench tests -name __pycache__ -type d -prune -exec rm -rf {} +
