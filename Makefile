# Every target works in a fresh clone: `setup` comes first by itself. Python 3.11 or 3.12.
PYTHON ?= python3
BIN := .venv/bin
SEED ?= 1
ROUNDS ?= 1
STORM_S ?= 30

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.venv/installed: requirements-dev.txt pyproject.toml
	$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if v in ((3, 11), (3, 12)) else f"Python 3.11 or 3.12 is needed, this is {v[0]}.{v[1]}: make PYTHON=python3.12 …")'
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
test: setup ## unit, contract and architecture tests; the integration tier too where Java 17 and Maven are
	$(BIN)/pytest

.PHONY: test-integration
test-integration: setup ## the integration tier and the chaos scenarios, on real Apache Kafka; needs Go too
	REQUIRE_INTEGRATION=1 $(BIN)/pytest tests/integration tests/chaos

.PHONY: test-gpu
test-gpu: setup ## the engine's tests that need a GPU
	$(BIN)/pytest tests/workers/serving/engine -m gpu

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
chaos: setup ## storms of the seeds SEED, SEED+1 … (ROUNDS of them, STORM_S seconds each) on three Kafka servers; needs Go too
	$(BIN)/python -m tests.chaos --seed $(SEED) --rounds $(ROUNDS) --seconds $(STORM_S)

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
	$(BIN)/python infra/metrics_page.py
	$(BIN)/python infra/chart_copies.py
	$(BIN)/python infra/chart_schema.py

.PHONY: fmt-helm
fmt-helm: fmt ## writes the chart's README.md and what its examples render to; needs Go
	$(BIN)/python -m tests.helm.go_tools
	$(BIN)/python -m tests.helm.examples

.PHONY: bench
bench: kafka-up ## the stream benchmark on real Kafka, beside its baseline
	$(BIN)/weir bench stream

.PHONY: kafka-up
kafka-up: setup ## starts one real Kafka broker on 127.0.0.1:9092
	$(BIN)/python -m tests.kafka.cluster up

.PHONY: kafka-down
kafka-down: setup ## stops it
	$(BIN)/python -m tests.kafka.cluster down

.PHONY: lock
lock: setup ## writes the pinned files anew
	infra/lock.sh

.PHONY: audit
audit: setup ## known vulnerabilities of what is pinned; needs a network that reaches the advisory database
	$(BIN)/uv tool run --from pip-audit==2.10.1 pip-audit --disable-pip --require-hashes --requirement requirements.txt

.PHONY: sbom
sbom: setup ## bill of materials of the installed environment, build/sbom.json
	@mkdir -p build
	$(BIN)/uv tool run --from cyclonedx-bom==7.5.0 cyclonedx-py environment --pyproject pyproject.toml --output-reproducible --output-file build/sbom.json $(BIN)/python
