# What a developer does, each from nothing: python3 (3.11 or newer), git and make are enough.
# With several Pythons: make run PYTHON=python3.12

PYTHON ?= python3
BIN := .venv/bin

.PHONY: help setup run test check format bench picture

help: ## say what there is
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1 - \2/p' Makefile

setup: ## put uv and the locked packages in place (.tools, .venv); at once when nothing has changed
	@$(PYTHON) scripts/bootstrap.py

run: setup ## do the main job: deskhand mends a real bug in a scratch repository
	@$(BIN)/deskhand demo

test: setup ## run every test
	@$(BIN)/python -m pytest

# Without ruff's cache, which does not notice that an import has become ours.
check: setup ## lint, formatting, types, import arrows
	@$(BIN)/ruff check --no-cache
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/python scripts/check_arrows.py

format: setup ## mend what can be mended by itself
	@$(BIN)/ruff check --no-cache --fix
	@$(BIN)/ruff format

bench: setup ## measure start, calls, CPU, memory and request size beside a bare script
	@$(BIN)/python -m benchmarks

picture: setup ## make docs/demo.svg from a real run
	@$(BIN)/python scripts/picture.py
