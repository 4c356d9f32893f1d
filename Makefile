# make demo | test | faults | slurm | lab | notebooks | clean     PYTHON=python3.12 picks another interpreter
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
DEMO   := reports/dynamic_finetuning/demo
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: demo test faults slurm lab notebooks clean

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
	@echo "installing into $(VENV) (torch is large: some minutes the first time)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@
