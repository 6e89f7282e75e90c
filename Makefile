# make demo and make test install what they need.

CARGO ?= cargo
# cargo may be installed, but not in the PATH of this shell yet.
export PATH := $(PATH):$(HOME)/.cargo/bin:$(CURDIR)/target/tools/bin
PREFIX ?= /usr/local

help: ## list the targets
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1\t/p' Makefile

demo: ## record a demo workload, show its profile, run it under the profile, see a call refused
	@.ci/deps build
	@$(CARGO) build --release --quiet
	@sh integration/demo.sh "$${CARGO_TARGET_DIR:-target}/release/sc-record"

test: ## all tests, with real programs
	@.ci/deps build test
	@# In the background of a shell without job control, SIGINT is ignored, and tests that end programs by it would wait in vain.
	env --default-signal=INT,QUIT $(CARGO) test --locked --no-fail-fast

test-arm64: ## the tests in a virtual machine with an arm64 kernel: takes an hour; SMOKE=1 for a few minutes; TESTS='NAME…' for some
	@.ci/deps build
	@CARGO='$(CARGO)' .ci/arm64/test $(if $(SMOKE),--smoke) $(TESTS)

test-engines: ## PROGRAMS (all) of the tests in every container engine; writes the table in docs/containers.md; takes up to an hour, as root
	@.ci/deps build test
	SC_RECORD_TEST_ENGINES="$${PROGRAMS:-all}" INSTA_UPDATE=always $(CARGO) test --locked --test integration -- engines::programs --nocapture

check: ## format, lints, documentation, dependencies, shell scripts
	@.ci/deps build check
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings -A rustdoc::private_intra_doc_links' $(CARGO) doc --locked --no-deps --document-private-items
	$(CARGO) deny --locked check bans licenses sources
	shellcheck -x -P SCRIPTDIR .ci/deps .ci/run .ci/release .ci/install-data $(filter-out %.txt,$(wildcard .ci/arm64/*)) $(wildcard */*.sh integration/*/*.sh integration/real/programs/*.sh)

advisories: ## known vulnerabilities of the dependencies; downloads RustSec's database from GitHub
	@.ci/deps build check
	$(CARGO) deny --locked check advisories

check-arm64: ## compile for aarch64
	@.ci/deps build
	@CARGO='$(CARGO)' .ci/arm64/cargo check

bench: ## the cost of recording with each backend and with other tools; QUICK=1 for a rough estimate
	@.ci/deps build bench
	$(CARGO) bench --locked --bench cost -- $(if $(QUICK),--quick)

differential: ## every program of /usr/bin with --help and --version, recorded with --no-patch and without: takes half an hour, as root
	@.ci/deps build test
	$(CARGO) build --locked
	python3 integration/differential.py --sc-record "$${CARGO_TARGET_DIR:-target}/debug/sc-record"

bounds: ## every program of /usr/bin with --help against the bound that `reach` finds in its code: takes half an hour, as root
	@.ci/deps build test
	$(CARGO) build --release --locked
	python3 integration/bounds.py --sc-record "$${CARGO_TARGET_DIR:-target}/release/sc-record"

stress: ## workloads with hard cases, recorded ROUNDS times (default 200): code is changed after 1 to 10 calls, at random
	@.ci/deps build test
	SC_RECORD_TEST_ROUNDS=$${ROUNDS:-200} $(CARGO) test --locked --test integration -- known_calls \
		--skip workloads::notify --skip workloads::ebpf

fuzz: ## every fuzz target for FUZZ_SECONDS (default 30)
	CARGO='$(CARGO)' sh fuzz/run.sh

recordings: ## record the real programs again until no new calls appear; writes recordings/ and profiles/
	@.ci/deps build test
	$(CARGO) build --release --locked
	sh integration/recordings.sh "$${CARGO_TARGET_DIR:-target}/release/sc-record"

# Debian's libseccomp and glibc: both packages have the static libraries, so nothing else must be built or kept up to date.
HOST = $(shell rustc --print host-tuple)
STATIC_PROFILE = release
static: ## the program without shared libraries, for any image: target/static/sc-record
	@.ci/deps build
	LIBSECCOMP_LINK_TYPE=static LIBSECCOMP_LIB_PATH="$$(pkg-config --variable=libdir libseccomp)" \
		RUSTFLAGS="$$RUSTFLAGS -C target-feature=+crt-static" \
		$(CARGO) build --locked --profile $(STATIC_PROFILE) --target $(HOST) --target-dir target/static
	ln -f target/static/$(HOST)/$(if $(filter dev,$(STATIC_PROFILE)),debug,$(STATIC_PROFILE))/sc-record target/static/sc-record

static-arm64: ## the same for aarch64, on x86-64: target/static/aarch64-unknown-linux-gnu/release/sc-record
	@.ci/deps build
	CARGO='$(CARGO)' LIBSECCOMP_LINK_TYPE=static RUSTFLAGS='-D warnings -C target-feature=+crt-static' \
		.ci/arm64/cargo build --profile $(STATIC_PROFILE) --target-dir target/static

release: ## target/dist: the static programs for x86-64 and aarch64, manual pages, completions and checksums
	@$(MAKE) --no-print-directory STATIC_PROFILE=release static static-arm64
	.ci/release

install: ## install the program, its manual pages and completions to PREFIX (default /usr/local)
	@.ci/deps build
	$(CARGO) build --release --locked
	install -D -m 755 "$${CARGO_TARGET_DIR:-target}/release/sc-record" "$(DESTDIR)$(PREFIX)/bin/sc-record"
	.ci/install-data "$(DESTDIR)$(PREFIX)/bin/sc-record" "$(DESTDIR)$(PREFIX)"

.PHONY: help demo test test-arm64 test-engines check check-arm64 advisories bench differential bounds stress fuzz recordings static static-arm64 release install
