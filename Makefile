# `make run` and `make test` are all there is to know; both see to what they need.

.DEFAULT_GOAL := help
.PHONY: help run test clients bench lint doc ci tools clean

# rustup's folder is not in every shell's PATH.
export PATH := $(PATH):$(HOME)/.cargo/bin

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' Makefile

run: tools ## a live demo on http://127.0.0.1:8080/ with a private Postgres; Ctrl-C stops everything
	cargo build --release --locked
	target/release/latido demo

test: ## all tests; nothing needs to be running
	@.ci/tools test
	cargo test --locked --doc
	@$(MAKE) --no-print-directory clients
	cargo test --locked --all-targets

clients: tools ## build and test the TypeScript and Angular clients; needs node 20.19 or newer
	cargo build --locked
	.ci/clients

bench: tools ## measures everything beside its floor and its peers; ARGS="fan-out --rounds 1" for a part
	cargo bench --locked --bench bench -- $(ARGS)

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
