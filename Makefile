.DEFAULT_GOAL := help
.PHONY: help fuzz demo test release bench fmt lint docs alerts-test storm

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

demo: ## watch a fleet move between two clusters, all on this machine (ONCE=1: one round, then exit)
	scripts/setup demo
	cargo build --workspace --bins
	$${CARGO_TARGET_DIR:-target}/debug/demo

test: ## set up what is missing, then test the rules and everything else
	scripts/setup test
	alerts/tests/run
	scripts/test

release: ## build target/dist/switchyard, one static binary
	scripts/release

storm: ## random stories until stopped (ARGS='--seed 7 --storms 100'); one that breaks a promise is shown as small as it goes
	cargo build --release -p switchyard-lab --bin storm
	$${CARGO_TARGET_DIR:-target}/release/storm $(ARGS)

bench: ## measure
	scripts/setup test
	cargo build --release --workspace --bins
	$${CARGO_TARGET_DIR:-target}/release/bench

fuzz: ## feed the parsers with nonsense (FOR=10: so many seconds for each of them)
	scripts/fuzz $(or $(FOR),10)

fmt: ## format the code
	cargo fmt --all

lint: ## formatting and clippy, without mercy
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings

docs: ## build the crate documentation and check every link in the pages
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --workspace
	scripts/check-links

alerts-test: ## test alert rules and routes with promtool and amtool
	alerts/tests/run
