# make install: only install.
# make demo: train on 4x4 Sudoku and solve unseen puzzles.   make test: the checks of CI.
# Needs Python 3.11 or newer and git; all else goes into .venv. Another Python: make demo PYTHON=/path/to/python3
# On Linux with an NVIDIA GPU: make demo EXTRAS=cuda13,plot (or cuda12)

WAY_OUT = hrm-mlx needs Python 3.11 or newer with venv: brew install python@3.13 on a Mac, apt install python3 python3-venv on \
	Debian or Ubuntu; one that is elsewhere is named with PYTHON=/path/to/python3
IS_USABLE = import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))
USABLE = $(shell for python in $(or $(PYTHON),python3 python3.13 python3.12 python3.11); do \
	$$python -c '$(IS_USABLE)' 2>/dev/null && echo $$python && break; done)

ifeq ($(shell uname -s),Linux)
EXTRAS = cpu,plot
endif
EXTRAS ?= plot
ifeq ($(shell uname -sm),Linux x86_64)
# MLX's own BLAS for Linux is slow; a system OpenBLAS is used where there is one
BLAS = $(shell .venv/bin/python -c 'import ctypes; ctypes.CDLL("libopenblas.so.0")' 2>/dev/null || echo ,blas)
endif

PIP_INSTALL = .venv/bin/python -m pip install -qq --disable-pip-version-check --constraint constraints.txt --editable
# a line every five seconds as long as the shell of a recipe lives
STILL = shell=$$$$; (seconds=0; while sleep 5 >/dev/null 2>&1 && kill -0 $$shell 2>/dev/null; do \
	seconds=$$((seconds + 5)); echo "installing, $$seconds s"; done) & still=$$!; trap "kill $$still" EXIT;

.PHONY: demo install test check lint clean

install: .venv/demo.stamp
	@echo 'installed; "source .venv/bin/activate" makes hrm available'

demo: .venv/demo.stamp
	.venv/bin/hrm demo

test: lint
	.venv/bin/python -m pytest -n 2 --dist loadfile

check: test

lint: .venv/test.stamp
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	.venv/bin/lint-imports

clean:
	rm -rf .venv

.venv/demo.stamp: pyproject.toml setup.py constraints.txt | .venv/bin/pip
	@echo 'installing into .venv, a minute or two the first time'
	@$(STILL) $(PIP_INSTALL) '.[$(EXTRAS)$(BLAS)]'
	@touch $@

.venv/test.stamp: pyproject.toml setup.py constraints.txt | .venv/bin/pip
	@echo 'installing into .venv, a minute or two the first time'
	@$(STILL) $(PIP_INSTALL) '.[$(EXTRAS)$(BLAS),torch,hub,text,bench,dicom,web,wandb,test]'
	@touch .venv/demo.stamp $@

.venv/bin/pip:
	$(if $(USABLE),,$(error $(WAY_OUT)))
	@$(USABLE) -m venv --clear .venv
