# make demo | test | faults | slurm | lab | lab-test | docs | notebooks | clean   PYTHON=python3.12: another one
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
DEMO   := reports/dynamic_finetuning/demo
export PATH := $(CURDIR)/$(BIN):$(PATH)
SHELL  := bash
.SHELLFLAGS := -o pipefail -c
# Of what pip tells: each large package, and the long step after the last.
LARGE  := awk '/^ *(Downloading|Using cached) .*[0-9.]+ [MG]B\)/ { print "  " tolower($$1), $$(NF-2), $$(NF-1), $$NF; fflush() } \
	/^Installing collected/ { print "  unpacking", NF - 3, "packages"; fflush() }'

.PHONY: demo test faults slurm lab lab-test docs notebooks clean

# The whole method on the generated digits; run again, it resumes or shows what is there.
demo: $(STAMP)
	vdistill prepare digits
	vdistill run dynamic_finetuning --recipe nbs/recipes/demo.yaml --out $(DEMO)

test: $(STAMP)
	@python .ci/test.py

# Kills, full disks, flipped bits and strangers' files, tried and counted: reports/reliability/faults.
faults: $(STAMP)
	@python .ci/faults.py

# A grid through a real SLURM of one node, this machine (root, Debian), compared with the whole run.
slurm: $(STAMP)
	@python .ci/slurm.py

lab: $(STAMP)
	jupyter lab nbs/

# JupyterLab as a person uses it, in headless Chromium; some minutes.
lab-test: $(STAMP)
	@python .ci/lab.py

# The notebooks and reports as pages in _docs/, to be read from disk or put on any server.
docs: $(STAMP)
	@python .ci/docs.py

# Execute every notebook in place, then bring the modules and README.md in step with them.
notebooks: $(STAMP)
	nbdev_export
	python .ci/notebooks.py
	nbdev_clean
	python .ci/readme.py --write

clean:
	rm -rf build dist *.egg-info _docs _proc .ipynb_checkpoints
	find nbs vdistill .ci -name __pycache__ -o -name .ipynb_checkpoints | xargs rm -rf

# The stamp lets a second call skip the installation until one of these files changes.
$(STAMP): settings.ini setup.py pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV): torch and what it needs are large, some minutes the first time"
	@$(BIN)/python -m pip install --disable-pip-version-check --progress-bar off -c constraints.txt -e '.[dev]' | $(LARGE)
	@touch $@
