PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
OUT ?= runs/demo
WORKERS ?= 2
TORCH := $(shell sed -n 's/^torch==//p' requirements-dev.txt)
SLIME ?= build/slime
DOCS_VENV ?= .venv-docs
CPU_TORCH_INDEX := https://download.pytorch.org/whl/cpu

.PHONY: help demo test test-slow test-verl test-skyrl test-slime test-recipes test-swift test-axolotl test-docs check bench gpu docs wheel clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1  /p' $(MAKEFILE_LIST) | sort | awk '{name = $$1; $$1 = ""; printf "make %-10s%s\n", name, $$0}'

# The CPU build by name, so that no pip ever fetches gigabytes of CUDA; from PyTorch's own index
# where the default index does not have it.
$(VENV)/torch: requirements-dev.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet "torch==$(TORCH)+cpu" \
	  || $(BIN)/pip install --quiet --index-url $(CPU_TORCH_INDEX) "torch==$(TORCH)"
	touch $@

# What a user gets: the package and what it needs, at the pinned versions.
$(VENV)/package: $(VENV)/torch pyproject.toml
	$(BIN)/pip install --quiet --constraint requirements-dev.txt --editable .
	touch $@

$(VENV)/dev: $(VENV)/package
	$(BIN)/pip install --quiet --requirement requirements-dev.txt
	touch $@

demo: $(VENV)/package ## trace the embedded model and say where the page is
	$(BIN)/flowtracer trace --out $(OUT) --overwrite
	@echo "Training and scoring need more: $(BIN)/pip install '.[train]' (train, eval, study), '.[score]' (score)"

test: $(VENV)/dev ## run the fast tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow" --numprocesses $(WORKERS) --dist loadfile

test-slow: $(VENV)/dev ## run all tests
	$(BIN)/python -m pytest

# A framework's pins and this project's disagree, so each plug-in is tested in an environment of its own, from a
# list that is complete by itself. Few of its modules are ever imported: those are compiled then.
PLUG_INS := verl skyrl swift axolotl
$(PLUG_INS:%=.venv-%/ready): .venv-%/ready: requirements-%.txt pyproject.toml
	$(PYTHON) -m venv .venv-$*
	torch=$$(sed -n "s/^torch==//p" $<); \
	  .venv-$*/bin/pip install --quiet --no-deps --no-compile "torch==$$torch+cpu" \
	  || .venv-$*/bin/pip install --quiet --no-deps --no-compile --index-url $(CPU_TORCH_INDEX) "torch==$$torch"
	.venv-$*/bin/pip install --quiet --no-deps --no-compile --requirement $<
	.venv-$*/bin/pip install --quiet --no-deps --editable .
	touch $@

test-verl: .venv-verl/ready ## test the plug-in for verl in an environment of its own (.venv-verl)
	OMP_NUM_THREADS=1 .venv-verl/bin/python -m pytest tests_verl

test-skyrl: .venv-skyrl/ready ## test the plug-in for SkyRL in an environment of its own (.venv-skyrl)
	OMP_NUM_THREADS=1 .venv-skyrl/bin/python -m pytest tests_skyrl

test-recipes: .venv-skyrl/ready ## run the recipes of docs/engines.md on data of their engines
	OMP_NUM_THREADS=1 .venv-skyrl/bin/python -m pytest tests_recipes

test-swift: .venv-swift/ready ## test the plug-in for ms-swift in an environment of its own (.venv-swift)
	OMP_NUM_THREADS=1 .venv-swift/bin/python -m pytest tests_swift

test-axolotl: .venv-axolotl/ready ## test the plug-in for Axolotl in an environment of its own (.venv-axolotl)
	OMP_NUM_THREADS=1 .venv-axolotl/bin/python -m pytest tests_axolotl

build/slime:
	git clone --quiet --depth 1 --branch v0.3.1 https://github.com/THUDM/slime $@

test-slime: .venv-skyrl/ready $(SLIME) ## test the plug-in for slime against its source (SLIME=FOLDER)
	OMP_NUM_THREADS=1 PYTHONPATH=$(abspath $(SLIME)) .venv-skyrl/bin/python -m pytest tests_slime

test-docs: $(VENV)/dev ## run the commands of the tutorials and the examples
	OMP_NUM_THREADS=2 $(BIN)/python -m pytest tests/documentation

check: $(VENV)/dev ## lint, formatting, types and the rules for the code
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/test_architecture.py --durations=0

bench: $(VENV)/dev ## measure speed and memory (a folder with SmolLM2-135M: see docs/performance.md)
	$(BIN)/python bench/trace.py

gpu: ## measure credit on this machine's NVIDIA GPU, with the Python that has its PyTorch (minutes)
	PYTHONPATH=src $(PYTHON) bench/gpu.py --out runs/gpu

$(DOCS_VENV)/ready: requirements-docs.txt
	$(PYTHON) -m venv $(DOCS_VENV)
	$(DOCS_VENV)/bin/pip install --quiet --no-deps --requirement requirements-docs.txt
	touch $@

docs: $(DOCS_VENV)/ready ## build the documentation: build/site/index.html, which works offline
	NO_MKDOCS_2_WARNING=1 $(DOCS_VENV)/bin/mkdocs build --quiet
	$(DOCS_VENV)/bin/python scripts/site_check.py build/site

wheel: $(VENV)/dev ## build the wheel and check it
	rm -rf dist
	$(BIN)/python -m build --quiet
	$(BIN)/twine check --strict dist/*

clean: ## remove the environments and what was built
	rm -rf $(VENV) $(PLUG_INS:%=.venv-%) $(DOCS_VENV) dist build *.egg-info
