# Two commands for a newcomer: `make demo` and `make test`. Both need python3, pip and make only.

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
DEMO := runs/demo

.PHONY: demo test lint types format slow bench coverage wheel docs figures notebooks clean

demo: .venv/demo-installed
	KERAS_BACKEND=tensorflow TF_CPP_MIN_LOG_LEVEL=3 $(BIN)/keras-htaf train icbm --data digits --out $(DEMO) --overwrite
	KERAS_BACKEND=tensorflow TF_CPP_MIN_LOG_LEVEL=3 $(BIN)/keras-htaf export $(DEMO)/model.keras $(DEMO)/saved_model
	TF_CPP_MIN_LOG_LEVEL=3 $(BIN)/python tools/check_saved_model.py $(DEMO)/saved_model $(DEMO)/predictions.npz

test: .venv/test-installed lint
	$(BIN)/python tools/run_tests.py

lint: .venv/test-installed types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/test-installed
	$(BIN)/mypy

format: .venv/test-installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Trainings of minutes; MNIST is looked for in KERAS_HTAF_DATA_DIR or ../shared/tensorflow_datasets.
slow: .venv/test-installed
	$(BIN)/python tools/run_tests.py -m slow

bench: .venv/test-installed
	for backend in tensorflow jax torch; do \
		KERAS_BACKEND=$$backend $(BIN)/python tools/bench/start_up.py --check || exit 1; \
		KERAS_BACKEND=$$backend $(BIN)/python tools/bench/activations.py || exit 1; \
	done

# Into site/, strictly: a dead link or anchor ends it.
docs: .venv/docs-installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

# All of docs/figures; the report's screenshots too where CIFAR-10 and Chromium are.
figures: .venv/test-installed
	KERAS_BACKEND=jax TF_CPP_MIN_LOG_LEVEL=3 $(BIN)/python tools/figures
	if [ -d "$$KERAS_HTAF_DATA_DIR/cifar10" ]; then \
		KERAS_BACKEND=jax $(BIN)/python tools/bench/report.py --data cifar10 \
			--data-dir "$$KERAS_HTAF_DATA_DIR" --bits 64 --epochs 1 --out runs/report.html --pictures docs/images; \
	fi

notebooks: .venv/test-installed
	KERAS_BACKEND=jax TF_CPP_MIN_LOG_LEVEL=3 $(BIN)/python tools/notebooks.py

# Each takes about as long as the suite under one backend; fails below 90 % of the lines.
coverage: .venv/test-installed
	$(BIN)/python tools/measure_coverage.py

# Builds the wheel and uses it in an empty environment for each backend.
wheel: .venv/test-installed
	$(BIN)/python tools/check_wheel.py

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/demo-installed: .venv/bin/python pyproject.toml constraints.txt
	$(PIP) -e ".[tensorflow,data,cli]"
	touch $@

.venv/test-installed: .venv/bin/python pyproject.toml constraints.txt
	$(PIP) -e ".[tensorflow,jax,torch,data,cli,events,interpret,nir,packed,onnx,openvino,litert,serve,grain,ray,docs,dev]"
	touch $@ .venv/demo-installed .venv/docs-installed

.venv/docs-installed: .venv/bin/python pyproject.toml constraints.txt
	$(PIP) -e ".[docs]"
	touch $@

clean:
	rm -rf .venv runs
