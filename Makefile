# Each environment below .venv is made once, and again when pyproject.toml or its pins change.
# Another interpreter: make test PYTHON=python3.13 (after make clean).

PYTHON ?= python3
DEMO := .venv/demo
TEST := .venv/test
OLDEST := .venv/oldest
BENCH := .venv/bench
DOCS := .venv/docs
WHEEL := .venv/wheel

.DEFAULT_GOAL := help
.PHONY: help demo test test-oldest matrix kills searches peers bench bench-checkpoints bench-searches docs sklearn-pipeline sklearn-searches
.PHONY: sklearn-callbacks dist test-wheel linkcheck check format clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "%-18s %s\n", $$1, $$2}' Makefile

demo: $(DEMO)/installed ## Train and continue on real data, and draw the learning curve
	$(DEMO)/bin/python examples/demo.py

test: $(TEST)/installed ## Run the tests on two workers; below 95 % coverage is a failure
	$(TEST)/bin/python -m pytest -n 2 --cov

test-oldest: $(OLDEST)/installed ## Run the tests with the oldest supported versions
	$(OLDEST)/bin/python -m pytest -n 2

matrix: $(TEST)/installed ## Run every optimizer with every schedule (long)
	$(TEST)/bin/python -m pytest -n 2 -m matrix

sklearn-pipeline: $(TEST)/installed ## Run scikit-learn's own tests of Pipeline with ContinuablePipeline in its place
	PYTHONPATH=tests $(TEST)/bin/python -m pytest -q -p replace_pipeline --pyargs sklearn.tests.test_pipeline \
		--override-ini addopts= --override-ini filterwarnings=

sklearn-searches: $(TEST)/installed ## Run scikit-learn's own tests of searches with ours in the place of grid and randomized
	PYTHONPATH=tests $(TEST)/bin/python -m pytest -q -p replace_searches --pyargs sklearn.model_selection.tests.test_search 		sklearn.model_selection.tests.test_successive_halving --override-ini addopts= --override-ini filterwarnings=

sklearn-callbacks: $(TEST)/installed ## Run scikit-learn's own tests of callbacks with a network, a Pipeline and searches of ours
	PYTHONPATH=tests $(TEST)/bin/python -m pytest -q -p replace_callback_estimator --pyargs sklearn.callback \
		-k "not logged_values and not score_after_fit and not monitor_no_callback_support" \
		--override-ini addopts= --override-ini filterwarnings=
	PYTHONPATH=tests $(TEST)/bin/python -m pytest -q -p replace_callback_estimator -p replace_pipeline \
		-p replace_searches --pyargs sklearn.tests.test_pipeline sklearn.model_selection.tests.test_search \
		-k "callbacks and not (propagation and search1)" --override-ini addopts= --override-ini filterwarnings=

peers: $(TEST)/installed ## Run scikit-learn's own tests of searches and callbacks with ours in their place (minutes)
	$(TEST)/bin/python -m pytest -n 2 -m peers

searches: $(TEST)/installed ## Run every search with every case (minutes)
	$(TEST)/bin/python -m pytest -n 2 -m searches

kills: $(TEST)/installed ## Kill 200 trainings and 80 searches at random moments and restart them (minutes)
	$(TEST)/bin/python -m pytest -m kills -s

bench: $(BENCH)/installed ## Measure against the peers; a sample: QUICK=1, some: CASES="tiny memory" (long; alone on the machine)
	$(BENCH)/bin/python benchmarks/run.py $(CASES) $(if $(QUICK),--quick)

bench-searches: $(TEST)/installed ## Measure searches against scikit-learn's and skorch's (minutes; alone on the machine)
	$(TEST)/bin/python benchmarks/searches.py

bench-checkpoints: $(TEST)/installed ## Measure what checkpoints cost (some minutes; alone on the machine)
	$(TEST)/bin/python benchmarks/checkpoints.py

docs: $(DOCS)/installed ## Build the documentation and its gallery into docs/_build/html; a warning is a failure
	$(DOCS)/bin/python -m sphinx --fail-on-warning --keep-going --nitpicky -b html docs docs/_build/html

linkcheck: $(DOCS)/installed ## Ask every address that the documentation links to (needs a network)
	$(DOCS)/bin/python -m sphinx -D plot_gallery=0 -b linkcheck docs docs/_build/linkcheck

dist: $(TEST)/installed ## Build the sdist, and the wheel from it, into dist/
	rm -rf build dist *.egg-info
	$(TEST)/bin/python -m build --outdir dist .

# The tests come from the sdist, without its package, in a folder elsewhere: what they import can only be the wheel.
test-wheel: dist ## Install the wheel without an extra into an empty environment, and run the tests of the sdist there (minutes)
	rm -rf $(WHEEL)
	$(PYTHON) -m venv $(WHEEL)
	$(WHEEL)/bin/python -m pip install --quiet -c constraints.txt torch
	$(WHEEL)/bin/python -m pip install --quiet -c constraints.txt dist/*.whl hypothesis mypy pytest pytest-xdist
	$(WHEEL)/bin/python -m pip check
	folder=$$(mktemp -d) && trap "rm -rf $$folder" EXIT \
		&& tar -xzf dist/*.tar.gz -C $$folder --strip-components 1 && rm -r $$folder/sktorch_continue && cd $$folder \
		&& $(CURDIR)/$(WHEEL)/bin/python tests/bare_environment.py && $(CURDIR)/$(WHEEL)/bin/python -m pytest -n 2

check: $(TEST)/installed ## Check format, lint, types and layers
	$(TEST)/bin/ruff format --check .
	$(TEST)/bin/ruff check .
	$(TEST)/bin/mypy
	$(TEST)/bin/lint-imports

format: $(TEST)/installed ## Format the code and mend what ruff can mend
	$(TEST)/bin/ruff check --fix-only .
	$(TEST)/bin/ruff format .

clean: ## Remove environments, caches and build outputs
	rm -rf .venv build dist *.egg-info .coverage .coverage.*
	rm -rf docs/_build docs/api docs/gallery docs/reports
	rm -rf .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/%/installed: extras = dev
.venv/%/installed: pins = constraints.txt
$(DEMO)/installed: extras = plot,frame
$(BENCH)/installed: extras = bench
$(DOCS)/installed: extras = docs
$(OLDEST)/installed: pins = .venv/oldest.txt
$(OLDEST)/installed: .venv/oldest.txt

# torch goes first, so that the pinned build is the one everything else builds on.
.venv/%/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet -c $(pins) torch
	$(@D)/bin/python -m pip install --quiet -c $(pins) -e '.[$(extras)]'
	touch $@

# constraints-oldest.txt names only what differs; everything else is pinned as in constraints.txt.
.venv/oldest.txt: constraints-oldest.txt constraints.txt
	mkdir -p $(@D)
	awk -F == 'NR == FNR {oldest[$$1]; print; next} !($$1 in oldest)' $^ > $@
