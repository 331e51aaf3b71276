PYTHON ?= python3
BIN := .venv/bin

.PHONY: help install install-dev demo report figures calibration bench growth test test-faults check schema clean

help:            ## this list
	@grep -E '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

.venv/installed: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || (echo "Python 3.11 or later is needed; name it with: make PYTHON=python3.12 ..." && false)
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "Installing into .venv: about 5 GB to download the first time, 7 GB on disk."
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -r requirements.txt
	@touch $@

.venv/installed-dev: .venv/installed requirements-dev.txt requirements-ray.txt
	$(BIN)/python -m pip install --quiet -r requirements-dev.txt
	@touch $@

.venv/installed-bench: .venv/installed requirements-bench.txt
	$(BIN)/python -m pip install --quiet -r requirements-bench.txt
	@touch $@

install: .venv/installed ## make .venv and install requirements.txt

install-dev: .venv/installed-dev ## the same with the development tools

demo: install    ## the learning-rate ablation in miniature, on built-in data
	$(BIN)/python runner.py experiments/lr_sweep.yaml --preset demo
	@echo
	@echo "This was experiments/lr_sweep.yaml in miniature: synthetic pets, 64 x 64, two seeds. Next:"
	@echo "  .venv/bin/mlflow ui                                             compare the runs at http://127.0.0.1:5000"
	@echo "  make report                                                     report/index.html: verdicts, figures, methods"
	@echo "  .venv/bin/python runner.py --list --preset demo                 the ablations that there are"
	@echo "  .venv/bin/python runner.py experiments/lr_sweep.yaml --preset pets64 data.download=true"
	@echo "                                                                  the real dataset (800 MB) at 64 x 64"

report: install  ## report/ from what MLflow holds: index.html, report.md, LaTeX tables, figures
	$(BIN)/python -m analysis.report --output report

figures: install ## the report's figures alone, as PNG and PDF
	$(BIN)/python -m analysis.report --figures-only --output report

calibration: install ## how often the verdicts err, by simulation: under 5 minutes on 2 cores
	$(BIN)/python -m analysis.calibration

bench: .venv/installed-bench ## everything that is measured, against what else one would use; 35 minutes on 2 idle cores
	$(BIN)/python -m benchmarks.data_way
	$(BIN)/python -m benchmarks.training --model resnet34_unet --images 48
	$(BIN)/python -m benchmarks.training --model unet --images 8 --repeats 1
	$(BIN)/python -m benchmarks.means --repeats 2
	$(BIN)/python -m benchmarks.compilation
	$(BIN)/python -m benchmarks.parts
	$(BIN)/python -m benchmarks.checkpoints
	$(BIN)/python -m benchmarks.overhead --epochs 2 20
	$(BIN)/python -m benchmarks.load_results --runs 200 --epochs 100

growth: .venv/installed-bench ## how time and memory grow with images, their size, batches and runs; 20 minutes on 2 idle cores
	$(BIN)/python -m benchmarks.growth --figure growth.png

test: install-dev ## all tests
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test-faults: install-dev ## long tests of faults: killed processes, full disks, dead servers, fuzzing; an hour on 2 cores
	$(BIN)/python -m pytest -n 2 -m faults -rA tests

check: install-dev ## style, types, import rules, file sizes, known vulnerabilities
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy runner.py call.py segcore analysis benchmarks tests
	$(BIN)/lint-imports
	$(BIN)/python tests/check_files.py
	$(BIN)/python tests/check_advisories.py

schema: install  ## experiments/schema.json, for editors
	$(BIN)/python -m segcore.schema

clean:           ## remove what the suite made here: runs, tracking database, cache, report
	rm -rf runs mlruns mlflow.db data/cache report
