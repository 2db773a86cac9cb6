# rkface: `make help` lists all targets.
SHELL := /bin/bash
.DEFAULT_GOAL := help

PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.10 || command -v python3)
# Used only if the configured package index has no CPU build of torch.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu

# `make convert TOOLKIT=2.3.2` converts with an older rknn-toolkit2, in a virtual environment of its own.
OWN_TOOLKIT := $(shell sed -n 's/^TOOLKIT = "\([^"]*\)".*/\1/p' runtime/core/versions.py)
TOOLKIT := $(OWN_TOOLKIT)
VENV := .venv$(addprefix -,$(filter-out $(OWN_TOOLKIT),$(TOOLKIT)))
BIN := $(VENV)/bin
TORCH := torch==2.13.0+cpu
# rknn-toolkit2 does not work with numpy 2, which the wheels of OpenCV 4.14 ask for. That OpenCV works with both.
TOOLKIT_NUMPY := 1.26.4
PIP_OPTIONS := --quiet --disable-pip-version-check
PIP = $(BIN)/python -m pip install $(PIP_OPTIONS) --no-deps
INSTALLED := $(VENV)/installed
DEMO := build/demo
PEERS := build/peers
INSIGHTFACE := 2.1
DOCS_ENV := build/docs-env
DOCS_INSTALLED := $(DOCS_ENV)/installed
DOCS_SCRIPTS := build/docs-assets
ANSIBLE_ENV := build/ansible-env
ANSIBLE_INSTALLED := $(ANSIBLE_ENV)/installed
MERMAID := 11.17.2
IFRAME_WORKER := 1.0.4

# What `make convert` converts: see `make help` and `.venv/bin/rkface convert --help`.
PACK ?= demo
TARGET ?= rk3588
DEMO_BUNDLE = build/$(TARGET)/manifest.json
convert_options = --pack $(PACK) --target $(TARGET) $(if $(filter yes,$(ACCEPT_LICENSE)),--accept-license) \
  $(if $(CALIBRATION),--calibration '$(CALIBRATION)') $(if $(EVALUATION),--evaluation '$(EVALUATION)') $(OPTIONS)

.PHONY: $(shell sed -n 's/^\([a-z-]*\):.*\#\#.*/\1/p' Makefile)  # all targets that `make help` lists

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

venv: $(INSTALLED)  ## create .venv and install everything (no CUDA; repeated runs do nothing)

# torch: the toolkit imports it but never trains with it, so the CPU build without its dependencies is enough; plain
# resolution of either would bring several GB of CUDA packages.
$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 13))' 2>/dev/null || \
	  { echo "rkface needs Python 3.10, 3.11 or 3.12 (rknn-toolkit2 has no wheel for others): make PYTHON=/path/to/python3.11" >&2; exit 2; }
	@echo "installing into $(VENV) with $(PYTHON): about 1.7 GB, once"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) '$(TORCH)' 2>/dev/null || $(PIP) --index-url $(TORCH_INDEX) '$(TORCH)'
	@$(BIN)/python -m pip install $(PIP_OPTIONS) -c constraints.txt -e '.[reference,convert,dev]'
	@$(PIP) 'rknn-toolkit2==$(TOOLKIT)' 'numpy==$(TOOLKIT_NUMPY)'
	@touch $@

convert: $(INSTALLED)  ## convert the demo pack (or PACK=open CALIBRATION=photos/ TARGET=rk3588 TOOLKIT=2.3.2; see `rkface packs`)
	@$(BIN)/rkface convert $(convert_options)

# Rockchip's public repository ends with the librknnrt of this version.
OLDER_TOOLKIT := $(shell sed -n 's/^TOOLKITS = (TOOLKIT, "\([^"]*\)").*/\1/p' runtime/core/versions.py)
OLDER_BUNDLE := build/toolkit-$(OLDER_TOOLKIT)
older-toolkit: $(INSTALLED)  ## convert the demo pack with the older rknn-toolkit2, and run its selftest on a twin with that version
	@$(MAKE) convert TOOLKIT=$(OLDER_TOOLKIT) PACK=demo OPTIONS='--out $(OLDER_BUNDLE)'
	@$(BIN)/rkface twin run --toolkit $(OLDER_TOOLKIT) --bundle $(OLDER_BUNDLE) -- \
	  rkface selftest --bundle $(OLDER_BUNDLE) --runs 3

deploy: $(INSTALLED)  ## install a bundle on boards over ssh: BOARD=rock-5b HOST='radxa@rock-5b.local …' OPTIONS=--prepare
	@test -n '$(HOST)' || { echo "name a host: make deploy BOARD=rock-5b HOST=user@board" >&2; exit 2; }
	@$(BIN)/rkface deploy $(if $(BOARD),--board '$(BOARD)') $(OPTIONS) $(HOST)

# Three processes on two cores, because many tests wait for a browser, a camera or a conversion of another process.
# Compiling rkface and the tests takes 10 s in each process of pytest, and a part of each start of the command.
test test-fast test-slow test-durations: export PYTHONDONTWRITEBYTECODE :=

test: lint types $(INSTALLED)  ## lint, types and tests
	$(BIN)/python -m pytest tests -n 3

# Conversions, the twin and the browser are in other folders, or marked as slow.
test-fast: $(INSTALLED)  ## the tests for a change in runtime/, without conversion, twin and browser (OPTIONS='-k gallery')
	$(BIN)/python -m pytest tests/runtime tests/test_*.py -n 3 -m 'not slow' $(OPTIONS)

test-slow: $(INSTALLED)  ## all tests, with the variants that `make test` leaves out: half an hour and 100 MB of downloads
	RKFACE_SLOW=1 $(BIN)/python -m pytest tests -n 2

test-durations: $(INSTALLED)  ## the tests with the most CPU seconds, their fixtures and programs included (OPTIONS=tests/convert)
	RKFACE_CPU_SECONDS=40 $(BIN)/python -m pytest $(or $(OPTIONS),tests) -n 3

twin: $(INSTALLED)  ## build an emulated board: the real rknn-toolkit-lite2 over our own librknnrt (says nothing about speed)
	@$(BIN)/rkface twin run $(if $(wildcard build/$(TARGET)/manifest.json),--bundle build/$(TARGET))

twin-test: $(DEMO_BUNDLE)  ## test the NPU backend, selftest and every failure on the twin (part of `make test` if possible)
	RKFACE_SLOW=1 $(BIN)/python -m pytest tests/twin tests/boards/deploy/test_deploy_twin.py -v

parity: $(INSTALLED)  ## compare the INT8 simulator with ONNX Runtime, and rkface with InsightFace's own code
	RKFACE_SLOW=1 $(BIN)/python -m pytest tests/parity -v

bench: $(INSTALLED) $(PEERS)/installed  ## compare rkface with insightface on this machine (OPTIONS=--quick takes minutes)
	$(BIN)/python tests/bench/insightface_comparison.py --peer $(PEERS)/bin/python $(OPTIONS)

# In its own environment: insightface is not a dependency of rkface. Both sides use the same versions of everything else.
$(PEERS)/installed: constraints.txt
	@echo "installing insightface $(INSIGHTFACE) into $(PEERS), once"
	@test -x $(PEERS)/bin/python || $(BIN)/python -m venv $(PEERS)
	@$(PEERS)/bin/python -m pip install $(PIP_OPTIONS) -c constraints.txt 'insightface==$(INSIGHTFACE)'
	@$(PEERS)/bin/python -m pip install $(PIP_OPTIONS) --no-deps 'numpy==$(TOOLKIT_NUMPY)'
	@touch $@

bench-faces: $(INSTALLED)  ## the recognizer's time for several faces, on several threads (OPTIONS='--recognizer model.onnx')
	$(BIN)/python tests/bench/faces_at_once.py $(OPTIONS)

bench-bulk: $(INSTALLED) $(PEERS)/installed  ## photos a second of a folder, compared with insightface in a loop
	$(BIN)/python tests/bench/bulk_photos.py --peer $(PEERS)/bin/python $(OPTIONS)

bench-less: $(INSTALLED)  ## cost and recall of smaller and rectangular detector inputs
	$(BIN)/python tests/bench/detector_size.py $(OPTIONS)

bench-growth: $(INSTALLED)  ## plot time and memory against faces, resolution, gallery and cameras
	$(BIN)/python tests/bench/scaling.py $(OPTIONS)

bench-convert: $(INSTALLED)  ## time and memory of converting IResNet-50, compared with the bare toolkit
	$(BIN)/python tests/bench/conversion_time.py $(OPTIONS)

bench-recipes: $(INSTALLED)  ## accuracy of each recipe (OPTIONS='--detector … --recognizer … --photos …')
	$(BIN)/python tests/bench/recipe_accuracy.py $(OPTIONS)

bench-iresnet: $(INSTALLED)  ## each recipe on an IResNet-50 with trained and with generated weights
	$(BIN)/python tests/bench/iresnet50_recipes.py $(OPTIONS)

bench-activations: $(INSTALLED)  ## what makes activations hard for INT8: trained, generated and your recognizers (OPTIONS='model.onnx')
	$(BIN)/python tests/bench/activation_statistics.py $(OPTIONS)

bench-cost: $(INSTALLED)  ## compare the cost model with the toolkit's compiler for each chip (OPTIONS='model.onnx')
	$(BIN)/python tests/bench/cost_model_check.py $(OPTIONS)

bench-copies: $(INSTALLED)  ## bytes that are copied for one inference, counted by the twin's library
	$(BIN)/python tests/bench/npu_copies.py $(OPTIONS)

bench-layers: $(INSTALLED)  ## how far rounding alone moves inner tensors: the tolerance of `rkface selftest --layers`
	$(BIN)/python tests/bench/layer_noise.py $(OPTIONS)

bench-hot: $(INSTALLED)  ## CPU time of rkface by stage, without inference
	$(BIN)/python tests/bench/cpu_stages.py $(OPTIONS)

bench-own: $(INSTALLED)  ## own work of rkface on a frame and its bound, in turns (OPTIONS='--rounds 10', OPTIONS='--calls 5')
	$(BIN)/python tests/bench/own_work.py $(OPTIONS)

bench-shrink: $(INSTALLED)  ## ways to shrink a 3840×2160 frame with the same bits, right after an inference (OPTIONS='--rounds 10')
	$(BIN)/python tests/bench/shrink_ways.py $(OPTIONS)

FAISS := build/faiss/faiss/__init__.py
$(FAISS): $(INSTALLED)
	@$(PIP) --upgrade --target build/faiss 'faiss-cpu==1.15.1'
	@touch $@

bench-search: $(INSTALLED) $(FAISS)  ## compare the gallery's search with faiss-cpu on one core (installed into build/faiss)
	$(BIN)/python tests/bench/gallery_search.py $(OPTIONS)

bench-million: $(INSTALLED) $(FAISS)  ## search among 1,000 to 1,000,000 samples beside faiss' flat and HNSW indices, with recall
	$(BIN)/python tests/bench/search_growth.py $(OPTIONS)

bench-hub: $(INSTALLED) $(FAISS)  ## search over all people of a hub beside faiss, and what following a hub costs (SEARCH='--sizes 10000', SYNC='--people 1000')
	$(BIN)/python tests/bench/hub_search.py $(SEARCH)
	$(BIN)/python tests/bench/hub_sync.py $(SYNC)

bench-quality: $(INSTALLED)  ## time and memory of `rkface gallery check --quality` with 10,000 people (OPTIONS='--people 1000')
	$(BIN)/python tests/bench/gallery_quality.py $(OPTIONS)

bench-kills: $(INSTALLED)  ## kill -9 a process that changes a gallery, 500 times, and check that nothing acknowledged is lost
	$(BIN)/python tests/bench/gallery_kills.py $(OPTIONS)

bench-calibration: $(INSTALLED)  ## compare chosen with random calibration faces (OPTIONS as for bench-recipes)
	$(BIN)/python tests/bench/calibration_choice.py $(OPTIONS)

FUZZ := build/fuzz/packages/installed
$(FUZZ): $(INSTALLED)
	@$(PIP) --upgrade --target $(@D) 'atheris==3.0.0'
	@touch $@

fuzz: $(FUZZ)  ## search for inputs that break a reader (OPTIONS='--seconds 600 picture onnx'; default: 60 s for each)
	PYTHONPATH=$(<D) $(BIN)/python tests/fuzz/fuzz.py $(OPTIONS)

bench-photos: $(INSTALLED)  ## sideways photos and close-ups: what more looks find and cost (OPTIONS as for bench-recipes)
	$(BIN)/python tests/bench/photo_looks.py $(OPTIONS)

bench-dlib: $(INSTALLED)  ## dlib's recognizer at its own 150×150 chip (OPTIONS='--model … --detector … --photos … --pairs …')
	$(BIN)/python tests/bench/dlib_crop.py $(OPTIONS)

bench-center: $(INSTALLED)  ## the constant in a recognizer's embeddings (OPTIONS='--detector … --recognizer … --photos … --pairs …')
	$(BIN)/python tests/bench/embedding_center.py $(OPTIONS)

bench-strangers: $(INSTALLED)  ## strangers over their visits: purity and completeness of clusters, and their cost (OPTIONS as for bench-center)
	$(BIN)/python tests/bench/stranger_clusters.py $(OPTIONS)

bench-cores: $(INSTALLED)  ## compare the scheduler with the limit of three, two and one NPU cores (simulated, no NPU)
	$(BIN)/python tests/bench/scheduler_cores.py $(OPTIONS)

bench-watch: $(INSTALLED)  ## CPU time of tracking and recognizing faces, without inference
	$(BIN)/python tests/bench/tracking_cpu.py $(OPTIONS)

bench-cameras: $(INSTALLED)  ## CPU time of a 1080p camera by stage, cameras that two cores carry, and ways to decode less of H.264
	$(BIN)/python tests/bench/camera_cpu.py $(OPTIONS)
	$(BIN)/python tests/bench/h264_decoding.py

bench-visits: $(INSTALLED)  ## check that each person who walks by the rendered camera is recognized in one appearance
	$(BIN)/python tests/bench/appearances.py $(OPTIONS)

bench-run: $(INSTALLED)  ## memory of the service over 24 simulated hours
	$(BIN)/python tests/bench/service_day.py $(OPTIONS)

bench-start: $(INSTALLED)  ## start of the commands, and of the service until the first recognized person, by stage
	$(BIN)/python tests/bench/start_up.py $(OPTIONS)

bench-attacks: $(DEMO_BUNDLE)  ## attack the web console of a real service: memory, sign-in and health meanwhile
	$(BIN)/python tests/bench/web_attacks.py --bundle build/$(TARGET) $(OPTIONS)

bench-api: $(DEMO_BUNDLE)  ## what a request to identify a photo costs beyond the pipeline that it calls
	$(BIN)/python tests/bench/photo_api.py --bundle build/$(TARGET) $(OPTIONS)

HOURS ?= 72
soak: $(DEMO_BUNDLE)  ## 72 simulated hours of the service stay flat, 500 kills, attacks (HOURS=240; 20 minutes)
	$(BIN)/python tests/bench/service_day.py --hours $(HOURS) --flat
	$(BIN)/python tests/bench/gallery_kills.py
	$(BIN)/python tests/bench/web_attacks.py --bundle build/$(TARGET)

soak-hub: $(INSTALLED)  ## random histories of a hub and three boards: nothing lost, nothing left (OPTIONS='--histories 2000')
	$(BIN)/python -m tests.runtime.hub.histories $(OPTIONS)

# With PHOTOS, what was enrolled before is deleted: build/photo-demo holds nothing else.
PHOTO_DEMO := build/photo-demo
PHOTO_CAMERA = $(BIN)/python -m rkface.convert.demo.photo_camera '$(PHOTOS)' $(if $(NESTED),--nested $(NESTED))
OPEN_BUNDLE = $(if $(shell grep -sl '"name": "open' build/$(TARGET)/manifest.json),build/$(TARGET),build/open/$(TARGET))
ifdef PHOTOS
demo: $(INSTALLED)
	@test -e $(OPEN_BUNDLE)/manifest.json || $(BIN)/rkface convert --pack open --calibration '$(PHOTOS)' \
	  --target $(TARGET) --out $(OPEN_BUNDLE)
	@rm -rf $(PHOTO_DEMO) && $(PHOTO_CAMERA) --enroll $(PHOTO_DEMO)/enrolled
	@$(BIN)/rkface enroll --bundle $(OPEN_BUNDLE) --backend reference --gallery $(PHOTO_DEMO)/gallery.sqlite \
	  --folder $(PHOTO_DEMO)/enrolled || test $$? = 1  # 1: some photos were refused
	@$(PHOTO_CAMERA) | $(BIN)/rkface run --bundle $(OPEN_BUNDLE) \
	  --backend reference --gallery $(PHOTO_DEMO)/gallery.sqlite --camera photos=- $(OPTIONS)
else
demo: $(DEMO_BUNDLE)  ## run the camera demo on rendered people, or with PHOTOS=folder on yours; console on port 8080
	@grep -q '"synthetic": true' $(DEMO_BUNDLE) || { echo "build/$(TARGET) has models for real faces, which do not know \
	rendered ones: make demo PHOTOS=folder, or make convert for the demo pack" >&2; exit 2; }
	@test -e $(DEMO)/gallery.sqlite || { $(BIN)/python -m rkface.convert.demo.camera --portraits $(DEMO)/portraits && \
	  for name in Ada Bela; do $(BIN)/rkface enroll --bundle build/$(TARGET) --backend reference \
	  --gallery $(DEMO)/gallery.sqlite $$name $(DEMO)/portraits/$$name/*.jpg; done; }
	@$(BIN)/python -m rkface.convert.demo.camera --size 960x540 --rate 10 | $(BIN)/rkface run --bundle build/$(TARGET) \
	  --backend reference --gallery $(DEMO)/gallery.sqlite --camera demo=- $(OPTIONS)
endif

demo-hub: $(DEMO_BUNDLE)  ## two boards with rendered cameras and a hub: who is enrolled at one is recognized at the other; page on port 8090
	@grep -q '"synthetic": true' $(DEMO_BUNDLE) || { echo "build/$(TARGET) has models for real faces, which do not know \
	rendered ones: make convert for the demo pack" >&2; exit 2; }
	@$(BIN)/python -m rkface.convert.demo.hub --bundle build/$(TARGET) $(OPTIONS)

# The emulated board has its own gallery, because people are enrolled there with INT8 embeddings.
BOARD_DEMO := build/board-demo
demo-board: $(DEMO_BUNDLE)  ## the demo on an emulated Rock 5B: real binding, the simulator's numbers, no speed; console on port 8080
	@grep -q '"synthetic": true' $(DEMO_BUNDLE) || { echo "build/$(TARGET) has models for real faces, which do not know \
	rendered ones: make convert for the demo pack" >&2; exit 2; }
	@rm -rf $(BOARD_DEMO) && $(BIN)/python -m rkface.convert.demo.camera --portraits $(BOARD_DEMO)/portraits
	@$(BIN)/python -m rkface.convert.demo.camera --size 960x540 --rate 2 --slow 10 | $(BIN)/rkface twin run --simulate \
	  --board $(or $(BOARD),rock-5b) --bundle build/$(TARGET) -- sh -c 'for name in Ada Bela; do rkface enroll \
	  --bundle build/$(TARGET) --gallery $(BOARD_DEMO)/gallery.sqlite $$name $(BOARD_DEMO)/portraits/$$name/*.jpg \
	  </dev/null || exit; done; exec rkface run --bundle build/$(TARGET) --gallery $(BOARD_DEMO)/gallery.sqlite \
	  --camera demo=- $(OPTIONS)'

$(DEMO_BUNDLE): | $(INSTALLED)
	@$(BIN)/rkface convert --pack demo --target $(TARGET)

pictures: $(DEMO_BUNDLE)  ## make the pictures of README and docs again, and run the notebook (needs Chromium)
	$(BIN)/python docs/pictures.py --bundle build/$(TARGET) $(OPTIONS)

demo-models: $(INSTALLED)  ## train the demo models again from rendered faces (hours, see convert/demo/figures.json)
	$(BIN)/python -m rkface.convert.demo.train

trained-iresnet: $(INSTALLED)  ## train an IResNet-50 of w600k_r50's size on rendered faces, into the cache (OPTIONS='--hours 8'; run again to go on)
	$(BIN)/python -m rkface.convert.demo.iresnet50 $(OPTIONS)

lint: $(INSTALLED)  ## ruff, formatting, spelling, and hadolint on the Dockerfile
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	git ls-files -z | xargs -0 -r $(BIN)/codespell
	$(BIN)/hadolint boards/Dockerfile

lint-ansible: $(ANSIBLE_INSTALLED) $(INSTALLED)  ## lint the Ansible role, and run it against an ssh server on this machine (about 90 MB)
	cd boards/ansible && PATH=$(abspath $(ANSIBLE_ENV))/bin:$$PATH ANSIBLE_HOME=$(abspath $(ANSIBLE_ENV))/home ansible-lint
	$(BIN)/python -m pytest tests/boards/deploy/test_ansible_role.py tests/boards/deploy/test_inventory.py

# In an environment of its own: rkface needs no Ansible, only its inventories do.
$(ANSIBLE_INSTALLED): constraints.txt
	@echo "installing Ansible into $(ANSIBLE_ENV), once"
	@test -x $(ANSIBLE_ENV)/bin/python || $(PYTHON) -m venv $(ANSIBLE_ENV)
	@$(ANSIBLE_ENV)/bin/python -m pip install $(PIP_OPTIONS) -c constraints.txt ansible-core ansible-lint
	@touch $@

types: $(INSTALLED)  ## mypy --strict
	MYPYPATH=src $(BIN)/mypy -p rkface
	MYPYPATH=src $(BIN)/mypy examples/*.py

docs: $(DOCS_INSTALLED) $(DOCS_SCRIPTS)  ## build the documentation site with search: build/site/index.html
	NO_MKDOCS_2_WARNING=1 $(DOCS_ENV)/bin/mkdocs build --quiet --strict
	@echo "documentation: build/site/index.html"

# In an environment of its own: the site needs neither rkface nor its dependencies, the API is read from the source.
$(DOCS_INSTALLED): constraints.txt
	@echo "installing MkDocs into $(DOCS_ENV), once"
	@test -x $(DOCS_ENV)/bin/python || $(PYTHON) -m venv $(DOCS_ENV)
	@$(DOCS_ENV)/bin/python -m pip install $(PIP_OPTIONS) -c constraints.txt mkdocs mkdocs-material 'mkdocstrings[python]' ruff
	@touch $@

# The site loads nothing from a CDN, so it brings these two scripts along. Without npm it is built without them.
$(DOCS_SCRIPTS):
	@mkdir -p $@.new && cd $@.new && if ! { command -v npm && \
	  tar xzf "$$(npm pack --silent mermaid@$(MERMAID))" -O package/dist/mermaid.min.js >mermaid.min.js && \
	  tar xzf "$$(npm pack --silent iframe-worker@$(IFRAME_WORKER))" -O package/shim/index.js >iframe-worker.js; } \
	  >/dev/null; then echo "npm is missing or failed: diagrams are shown as text" >&2; rm -f *.js; fi; rm -f *.tgz
	@mv $@.new $@

clean:  ## remove build/, keep .venv
	rm -rf build
