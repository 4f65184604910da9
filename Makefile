# What a person runs. CI runs `make test` and nothing else.
.PHONY: run test bench scale fuzz-http fuzz-plugins fmt lint help

help: ## Show what there is
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

run: ## Chain, contracts, broker and two recorded feeds on this machine
	@tools/run.sh

test: ## Everything that CI checks
	@tools/test.sh

bench: ## Throughput and latency of a broker of its own, beside NATS JetStream, and what plugins cost
	@tools/plugins.sh >/dev/null
	@tools/plugins.sh secp256k1+wide-arithmetic >/dev/null
	@cargo run --release --quiet --package mainstem --features flamegraph,guests -- bench

scale: ## A table and a picture of 1,000 and 10,000 brokers in virtual time (BROKERS, SPAN, TABLE); takes a while
	@BROKERS=$${BROKERS:-1000,10000} SPAN=$${SPAN:-60} TABLE=$${TABLE:-$(CURDIR)/target/scale} \
		cargo test --release --quiet --package mainstem-protocol --test network relays_bring -- --nocapture

fuzz-http: ## Schemathesis against a node of its own (CASES, SEED)
	@tools/fuzz-http.sh

fuzz-plugins: ## What a node reads of plugins, by a fuzzer (RUNS, KEEP=1, SANITIZER)
	@tools/fuzz-plugins.sh

fmt: ## Format the code
	@cargo fmt --all

lint: ## What the compiler and clippy say
	@cargo clippy --workspace --all-targets -- -D warnings
