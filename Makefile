# `make run` and `make test` are enough to begin with; both install what they need.

.DEFAULT_GOAL := help
.PHONY: help run demo-angular test one sim queries chaos churn clients bench conformance sbom lint fix doc ci tools clean

# rustup's folder is not in every shell's PATH.
export PATH := $(PATH):$(HOME)/.cargo/bin

# The pinned release, by the name under which it is installed.
TOOLCHAIN := $(shell .ci/toolchain)
ifneq ($(TOOLCHAIN),)
export RUSTUP_TOOLCHAIN := $(TOOLCHAIN)
endif

# The simulator's feature replaces the clock, so its package is never built together with the server.
SIMULATION := latido-simulation

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile

run: tools ## a live demo on http://127.0.0.1:8080/ with a private Postgres; Ctrl-C stops everything
	cargo run --release --locked --bin latido -- demo

demo-angular: tools ## the same with an Angular dashboard on http://127.0.0.1:4200/ (Node 20.19 or later); Ctrl-C stops everything
	@node -e 'const [a, b] = process.versions.node.split("."); process.exit(a > 20 || (a == 20 && b >= 19) ? 0 : 1)' 2>/dev/null \
		|| { echo "Node 20.19 or later is needed: https://nodejs.org" >&2; exit 1; }
	cd clients && { [ node_modules/.package-lock.json -nt package-lock.json ] || npm ci --no-audit --no-fund; } && npm run build
	program="$$(.ci/binary --release)" && exec node clients/demo/serve/main.mjs --latido "$$program"

# The tests that another version of PostgreSQL could fail.
DATABASE_TESTS := postgres:: change_path:: convergence:: history:: interest_gate:: key_types:: moves:: streams:: apps::

test: ## all tests; nothing needs to be running. PG=14 to PG=18: those of the database, on that version
	@.ci/tools test
ifdef PG
	programs="$$(.ci/postgres $(PG))" && PG_BIN="$$programs" cargo test --locked -p latido --test it -- $(DATABASE_TESTS)
else
	cargo test --locked --workspace --doc
	@$(MAKE) --no-print-directory clients
	cargo test --locked --workspace --exclude latido --lib
	cargo test --locked -p latido --lib --bins --tests
endif

one: tools ## the tests whose path contains T, and no other crate's: T=name, T=engine::dirty_set, T=it::change_path
	@.ci/one '$(T)'

sim: ## the deterministic simulator over SEEDS seeds; LATIDO_SEED=n replays one
	SEEDS=$(or $(SEEDS),$(if $(LATIDO_SEED),1,100000)) cargo test --locked --profile sim -p $(SIMULATION) --lib -- --nocapture

queries: ## random queries that try to refute the proof of lookups, QUERIES of them; LATIDO_SEED=n replays a run
	LATIDO_QUERIES=$(or $(QUERIES),10000) cargo test --locked -p latido --test it -- random_queries:: --nocapture

chaos: ## ten minutes of faults on real processes, with a table of recoveries; SECONDS=n for another time
	LATIDO_CHAOS_SECONDS=$(or $(SECONDS),600) cargo test --locked --test it chaos::no_change_is_lost -- --nocapture

churn: ## clients that come and go for ten minutes, and the slope of the server's memory; SECONDS=n for another time
	LATIDO_CHURN_SECONDS=$(or $(SECONDS),600) cargo test --locked --test it chaos::churn -- --nocapture

clients: tools ## build and test the TypeScript and Angular clients; needs node 20.19 or newer
	.ci/clients

bench: tools ## measure everything, with a lower bound and other servers beside it; ARGS="fan-out --rounds 1" for a part
	cargo bench --locked --bench bench -- $(ARGS)

conformance: ## an echo server on 127.0.0.1:9001 (PORT, HOST), for public WebSocket suites
	cargo run --release --locked --example conformance

sbom: ## the bill of materials of the server, as CycloneDX, in target/sbom.json
	@mkdir -p target
	.ci/sbom > target/sbom.json && echo target/sbom.json

lint: ## rustfmt and clippy, warnings are errors
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cargo clippy -p latido --no-default-features --locked -- -D warnings

fix: ## format everything, and apply the corrections that clippy is sure of
	cargo clippy --fix --allow-dirty --allow-staged --workspace --all-targets --locked
	cargo fmt --all

doc: ## the documentation of the code, as HTML below cargo's target folder
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items --locked

ci: ## everything that must hold before a change is merged
	.ci/run

tools:
	@.ci/tools

clean: ## remove what was built; the demo's data stays
	cargo clean
