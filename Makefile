# Two environments: .venv (runtime only) and .venv-dev (everything). Each is made once and again when its pins change.
PYTHON ?= python3.11
PIP = -m pip --disable-pip-version-check -q install -c constraints.txt

.PHONY: help serve tag test soak lint clean
help:
	@echo "make serve   start the service on http://127.0.0.1:3000"
	@echo "make tag     tag the seed article in the terminal"
	@echo "make test    run every test"
	@echo "make soak    the tests of full size, minutes long"
	@echo "make lint    ruff and mypy"

.venv/.done: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	.venv/bin/python $(PIP) -e .
	@touch $@

.venv-dev/.done: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-dev
	.venv-dev/bin/python $(PIP) -e ".[train,tracking,batch,ray,dev]"
	@touch $@

serve: .venv/.done
	.venv/bin/khabar serve

tag: .venv/.done
	.venv/bin/khabar tag --readable --target auto annotations/seed/article.txt

test: .venv-dev/.done
	.venv-dev/bin/python -m pytest

soak: .venv-dev/.done
	.venv-dev/bin/python -m pytest -m soak -s

lint: .venv-dev/.done
	.venv-dev/bin/ruff format --check .
	.venv-dev/bin/ruff check .
	.venv-dev/bin/mypy

clean:
	rm -rf .venv .venv-dev
