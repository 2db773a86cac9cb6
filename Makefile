# rkface: `make help` lists what there is.
SHELL := /bin/bash
.DEFAULT_GOAL := help

PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.10 || command -v python3)
# Only asked when the usual package index has no CPU build of torch.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu

BIN := .venv/bin
TOOLKIT := 2.5.0
TORCH := torch==2.13.0+cpu
PIP_OPTIONS := --quiet --disable-pip-version-check
PIP = $(BIN)/python -m pip install $(PIP_OPTIONS) --no-deps
INSTALLED := .venv/installed
DEMO := build/demo
PEERS := build/peers
INSIGHTFACE := 2.1

# What `make convert` converts: see `make help` and `.venv/bin/rkface convert --help`.
PACK ?= demo
TARGET ?= rk3588
DEMO_BUNDLE = build/$(TARGET)/manifest.json
convert_options = --pack $(PACK) --target $(TARGET) $(if $(filter yes,$(ACCEPT_LICENSE)),--accept-license) \
  $(if $(CALIBRATION),--calibration '$(CALIBRATION)') $(if $(EVALUATION),--evaluation '$(EVALUATION)') $(OPTIONS)

.PHONY: $(shell sed -n 's/^\([a-z-]*\):.*\#\#.*/\1/p' Makefile)  # all that `make help` lists

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

venv: $(INSTALLED)  ## create .venv and install everything (no CUDA; repeated runs do nothing)

# torch: the toolkit imports it but never trains with it, so the CPU build without its dependencies is enough; plain
# resolution of either would bring several GB of CUDA packages.
$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 13))' 2>/dev/null || \
	  { echo "rkface needs Python 3.10, 3.11 or 3.12 (rknn-toolkit2 has no wheel for others): make PYTHON=/path/to/python3.11" >&2; exit 2; }
	@echo "installing into .venv with $(PYTHON): about 1.7 GB, once"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(PIP) '$(TORCH)' 2>/dev/null || $(PIP) --index-url $(TORCH_INDEX) '$(TORCH)'
	@$(BIN)/python -m pip install $(PIP_OPTIONS) -c constraints.txt -e '.[reference,convert,dev]'
	@$(PIP) 'rknn-toolkit2==$(TOOLKIT)'
	@touch $@

convert: $(INSTALLED)  ## convert the demo pack (or PACK=buffalo_l ACCEPT_LICENSE=yes CALIBRATION=photos/ TARGET=rk3588)
	@$(BIN)/rkface convert $(convert_options)

deploy: $(INSTALLED)  ## put a bundle on boards over ssh: BOARD=rock-5b HOST='radxa@rock-5b.local …' OPTIONS=--prepare
	@test -n '$(HOST)' || { echo "say which: make deploy BOARD=rock-5b HOST=user@board" >&2; exit 2; }
	@$(BIN)/rkface deploy $(if $(BOARD),--board '$(BOARD)') $(OPTIONS) $(HOST)

test: lint types $(INSTALLED)  ## lint, types and tests
	$(BIN)/python -m pytest tests -n 2

twin: $(INSTALLED)  ## build a stand-in board: rknn-toolkit-lite2 under emulation, over a librknnrt of our own (no speed)
	@$(BIN)/python -m rkface.boards.twin $(if $(wildcard build/$(TARGET)/manifest.json),--bundle build/$(TARGET))

twin-test: $(INSTALLED)  ## the NPU backend, selftest and every failure on the twin (part of `make test` where it can be)
	RKFACE_SLOW=1 $(BIN)/python -m pytest tests/twin tests/boards/test_deploy_twin.py -v

parity: $(INSTALLED)  ## hold the INT8 simulator to ONNX Runtime, and our runtime to InsightFace's own code
	$(BIN)/python -m pytest tests/parity -v

bench: $(INSTALLED) $(PEERS)/installed  ## rkface beside insightface on this machine (OPTIONS=--quick for minutes)
	$(BIN)/python tests/bench/peers.py --peer $(PEERS)/bin/python $(OPTIONS)

# In an environment of its own: insightface is no dependency of rkface. Both sides use the same versions of the rest.
$(PEERS)/installed: constraints.txt
	@echo "installing insightface $(INSIGHTFACE) into $(PEERS), once"
	@test -x $(PEERS)/bin/python || $(BIN)/python -m venv $(PEERS)
	@$(PEERS)/bin/python -m pip install $(PIP_OPTIONS) -c constraints.txt 'insightface==$(INSIGHTFACE)'
	@touch $@

bench-less: $(INSTALLED)  ## smaller and rectangular detector inputs: what they cost and what they miss
	$(BIN)/python tests/bench/less_work.py $(OPTIONS)

bench-growth: $(INSTALLED)  ## time and memory against faces, resolution, gallery and cameras, drawn
	$(BIN)/python tests/bench/growth.py $(OPTIONS)

bench-convert: $(INSTALLED)  ## time and memory of converting IResNet-50, beside the bare toolkit calls
	$(BIN)/python tests/bench/convert.py

bench-recipes: $(INSTALLED)  ## what each way to quantize keeps (OPTIONS='--detector … --recognizer … --photos …')
	$(BIN)/python tests/bench/recipes.py $(OPTIONS)

bench-cost: $(INSTALLED)  ## the cost model beside the toolkit's own compiler, chip by chip (OPTIONS='model.onnx')
	$(BIN)/python tests/bench/cost.py $(OPTIONS)

bench-hot: $(INSTALLED)  ## what rkface itself costs the CPU, all but inference, by stage
	$(BIN)/python tests/bench/hot.py

FAISS := build/faiss/faiss/__init__.py
$(FAISS): $(INSTALLED)
	@$(PIP) --upgrade --target build/faiss 'faiss-cpu==1.15.1'
	@touch $@

bench-search: $(INSTALLED) $(FAISS)  ## the gallery's search beside faiss-cpu, on one core (installed into build/faiss)
	$(BIN)/python tests/bench/search.py $(OPTIONS)

bench-calibration: $(INSTALLED)  ## chosen calibration faces beside random ones (OPTIONS as above)
	$(BIN)/python tests/bench/calibration.py $(OPTIONS)

bench-cores: $(INSTALLED)  ## the scheduler beside what three, two and one NPU cores allow (simulated: no NPU, no board)
	$(BIN)/python tests/bench/cores.py $(OPTIONS)

bench-watch: $(INSTALLED)  ## what following and recognizing faces costs the CPU, all but inference
	$(BIN)/python tests/bench/watch.py $(OPTIONS)

bench-visits: $(INSTALLED)  ## whether people who walk by the rendered camera are one appearance each, and recognized
	$(BIN)/python tests/bench/visits.py $(OPTIONS)

bench-run: $(DEMO_BUNDLE)  ## the service over 24 simulated hours, its memory, and how soon it knows somebody
	@$(BIN)/python -m rkface.convert.demo.camera --people 1 --portraits $(DEMO)/portraits
	$(BIN)/python tests/bench/run.py --bundle build/$(TARGET) --still $(DEMO)/portraits/Ada/1.jpg $(OPTIONS)

demo: $(DEMO_BUNDLE)  ## the camera service on rendered people, with its page on http://127.0.0.1:8080 (two are known)
	@test -e $(DEMO)/gallery.sqlite || { $(BIN)/python -m rkface.convert.demo.camera --portraits $(DEMO)/portraits && \
	  for name in Ada Bela; do $(BIN)/rkface enroll --bundle build/$(TARGET) --backend reference \
	  --gallery $(DEMO)/gallery.sqlite $$name $(DEMO)/portraits/$$name/*.jpg; done; }
	@$(BIN)/python -m rkface.convert.demo.camera --size 960x540 --rate 10 | $(BIN)/rkface run --bundle build/$(TARGET) \
	  --backend reference --gallery $(DEMO)/gallery.sqlite --camera demo=- $(OPTIONS)

$(DEMO_BUNDLE): | $(INSTALLED)
	@$(BIN)/rkface convert --pack demo --target $(TARGET)

pictures: $(DEMO_BUNDLE)  ## make the pictures of README and docs again, and run the notebook (needs Chromium)
	$(BIN)/python docs/pictures.py --bundle build/$(TARGET) $(OPTIONS)

demo-models: $(INSTALLED)  ## train the demo models again from rendered faces (hours, see convert/demo/figures.json)
	$(BIN)/python -m rkface.convert.demo.train

lint: $(INSTALLED)  ## ruff, and hadolint on the Dockerfile
	$(BIN)/ruff check .
	$(BIN)/hadolint boards/Dockerfile

types: $(INSTALLED)  ## mypy --strict
	MYPYPATH=src $(BIN)/mypy -p rkface
	MYPYPATH=src $(BIN)/mypy examples/*.py

clean:  ## remove build/, keep .venv
	rm -rf build
