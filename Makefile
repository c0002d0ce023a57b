# `make run` and `make test` are all there is to know; both see to what they need.

.DEFAULT_GOAL := help
.PHONY: help run demo-angular test sim chaos churn clients bench conformance sbom lint doc ci tools clean

# rustup's folder is not in every shell's PATH.
export PATH := $(PATH):$(HOME)/.cargo/bin

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile

run: tools ## a live demo on http://127.0.0.1:8080/ with a private Postgres; Ctrl-C stops everything
	cargo build --release --locked
	target/release/latido demo

demo-angular: tools ## the same with an Angular dashboard on http://127.0.0.1:4200/ (Node 20.19 or later); Ctrl-C stops everything
	@node -e 'const [a, b] = process.versions.node.split("."); process.exit(a > 20 || (a == 20 && b >= 19) ? 0 : 1)' 2>/dev/null \
		|| { echo "Node 20.19 or later is needed: https://nodejs.org" >&2; exit 1; }
	cargo build --release --locked
	cd clients && { [ node_modules/.package-lock.json -nt package-lock.json ] || npm ci --no-audit --no-fund; } && npm run build
	node clients/demo/serve/main.mjs --latido target/release/latido

test: ## all tests; nothing needs to be running
	@.ci/tools test
	cargo test --locked --doc
	@$(MAKE) --no-print-directory clients
	cargo test --locked --lib --bins --tests

sim: ## the deterministic simulator over SEEDS seeds; LATIDO_SEED=n replays one
	SEEDS=$(or $(SEEDS),$(if $(LATIDO_SEED),1,100000)) cargo test --locked --profile sim --lib simulation -- --nocapture

chaos: ## ten minutes of faults on real processes, with a table of what was survived; SECONDS=n for another time
	LATIDO_CHAOS_SECONDS=$(or $(SECONDS),600) cargo test --locked --test it chaos::nothing -- --nocapture

churn: ## clients that come and go for ten minutes, and the slope of the server's memory; SECONDS=n for another time
	LATIDO_CHURN_SECONDS=$(or $(SECONDS),600) cargo test --locked --test it chaos::churn -- --nocapture

clients: tools ## build and test the TypeScript and Angular clients; needs node 20.19 or newer
	cargo build --locked --bins --examples
	.ci/clients

bench: tools ## measures everything beside its floor and its peers; ARGS="fan-out --rounds 1" for a part
	cargo bench --locked --bench bench -- $(ARGS)

conformance: ## an echo server on 127.0.0.1:9001 (PORT, HOST), for public WebSocket suites
	cargo run --release --locked --example conformance

sbom: ## what the server is made of, as CycloneDX, in target/sbom.json
	@mkdir -p target
	.ci/sbom > target/sbom.json && echo target/sbom.json

lint: ## rustfmt and clippy, warnings are errors
	cargo fmt --check
	cargo clippy --all-targets --locked -- -D warnings

doc: ## the documentation of the code, in target/doc
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --document-private-items --locked

ci: ## everything that must hold before a change is merged
	.ci/run

tools:
	@.ci/tools

clean: ## remove what was built; the demo's data stays
	cargo clean
