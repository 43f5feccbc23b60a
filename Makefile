# make run     builds the gateway and starts it in front of its demo origin
# make test    everything that must hold: format, lints, every test of the workspace
# make build   the release binaries
# make check   format and lints alone
# make docs    writes the pages that come from the code
# make chaos   two minutes of origins that do everything wrong, on each driver; DURATION and SEED (docs/testing.md)
# make fuzz    every parser under cargo-fuzz, FUZZ_SECONDS (60) for all together; TARGET=request for one (docs/testing.md)
#
# Each target installs the Debian packages of the commands that it needs and that are not there; where they are there,
# nothing is installed, and where there is no apt-get, what is missing is named. hwloc alone is optional: where it cannot
# be had, the gateway is built without it.

SHELL := /bin/bash
CARGO ?= cargo
TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)

# command:packages (joined by commas); NAME.pc is a library, as pkg-config knows it
TO_BUILD := cc:gcc,libc6-dev ld:binutils
TO_PLACE := pkg-config:pkg-config hwloc.pc:libhwloc-dev libudev.pc:libudev-dev
TO_TEST := $(TO_BUILD) curl:curl jq:jq wrk:wrk nginx:nginx-light h2load:nghttp2-client promtool:prometheus valgrind:valgrind
TO_FUZZ := $(TO_BUILD) c++:g++

# Asked by the recipe's shell, after what is missing has been installed.
HAVE_HWLOC := pkg-config --exists "hwloc >= 2.8 hwloc < 3 libudev" 2>/dev/null
WITH_HWLOC := $$($(HAVE_HWLOC) && echo --features ultragate/hwloc)

# Daemons among these packages. Installing must not leave them running: prometheus would take our own port 9090.
DAEMONS := nginx prometheus

FUZZ_SECONDS ?= 60
# One of them from the command line, else all.
FUZZ_TARGETS := $(or $(TARGET),$(basename $(notdir $(wildcard fuzz/targets/*.rs))))
FUZZ_CORPUS := gateway/http/tests/corpus

.DEFAULT_GOAL := help
.PHONY: help run test build check docs fuzz chaos

help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile

run:
	@$(call need,$(TO_BUILD))
	@$(call want_hwloc)
	@$(call need_rust)
	$(CARGO) build --release --locked --package ultragate $(WITH_HWLOC)
	@exec $(TARGET_DIR)/release/ultragate --demo

build:
	@$(call need,$(TO_BUILD))
	@$(call want_hwloc)
	@$(call need_rust)
	$(CARGO) build --release --locked $(WITH_HWLOC)

check:
	@$(call need,$(TO_BUILD))
	@$(call want_hwloc)
	@$(call need_rust)
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked $(WITH_HWLOC) -- -D warnings

# The binaries come first: the end-to-end tests start them.
test:
	@$(call need,$(TO_TEST))
	@$(call want_hwloc)
	@$(call need_rust)
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked $(WITH_HWLOC) -- -D warnings
	$(CARGO) build --workspace --bins --locked $(WITH_HWLOC)
	$(CARGO) test --workspace --locked $(WITH_HWLOC)

docs:
	@$(call need,$(TO_BUILD))
	@$(call need_rust)
	UPDATE=1 $(CARGO) test --locked --package ultragate --package telemetry fresh

# What is measured beside it, is measured of the binaries that are shipped. A short storm is part of make test.
chaos:
	@$(call need,$(TO_BUILD))
	@$(call want_hwloc)
	@$(call need_rust)
	$(CARGO) build --release --locked --package ultragate --package benchmark --bins $(WITH_HWLOC)
	$(CARGO) build --release --locked --package e2e --example chaos
	@exec $(TARGET_DIR)/release/examples/chaos

# Not part of make test: it needs a nightly toolchain, and no two runs are the same.
fuzz:
	@$(call need,$(TO_FUZZ))
	@$(call need_rust)
	@$(call need_nightly)
	$(CARGO) +nightly fuzz build $(TARGET)
	@$(call run_fuzz)

define need
set -eu; \
PATH="$$PATH:/usr/local/sbin:/usr/sbin:/sbin"; \
missing=; packages=; \
there() { case "$$1" in *.pc) pkg-config --exists "$${1%.pc}" 2>/dev/null;; *) command -v "$$1" >/dev/null;; esac; }; \
for pair in $(1); do \
    there "$${pair%%:*}" || { missing="$$missing $${pair%%:*}"; packages="$$packages $${pair#*:}"; }; \
done; \
packages=$${packages//,/ }; \
if [ -z "$$missing" ]; then exit 0; fi; \
if ! command -v apt-get >/dev/null; then \
    echo "missing:$$missing. There is no apt-get here: install them (in Debian:$$packages) and try again." >&2; \
    exit 1; \
fi; \
sudo=; if [ "$$(id -u)" != 0 ]; then sudo=sudo; fi; \
if ! command -v $${sudo:-apt-get} >/dev/null; then \
    echo "missing:$$missing. There is no sudo here: as root, apt-get install$$packages, and try again." >&2; \
    exit 1; \
fi; \
echo "installing$$packages"; \
$$sudo apt-get update -qq; \
$$sudo env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -qq -y --no-install-recommends $$packages; \
for daemon in $(DAEMONS); do \
    case "$$packages" in *"$$daemon"*) \
        if [ -d /run/systemd/system ]; then $$sudo systemctl disable --now "$$daemon"; \
        elif [ -x "/etc/init.d/$$daemon" ]; then $$sudo "/etc/init.d/$$daemon" stop; fi || true;; \
    esac; \
done
endef

define want_hwloc
($(call need,$(TO_PLACE))); \
$(HAVE_HWLOC) || echo "building without hwloc (2.8 or later, with libudev): shards are placed by what sysfs shows" >&2
endef

define need_rust
command -v $(CARGO) >/dev/null || { \
    echo "missing: cargo. Install Rust with rustup (https://rustup.rs); rust-toolchain.toml names the version." >&2; \
    exit 1; \
}
endef

# A pinned toolchain in rust-toolchain.toml gives way to +nightly, which rustup's cargo alone understands.
define need_nightly
$(CARGO) +nightly --version >/dev/null 2>&1 || { \
    echo "missing: a nightly toolchain, which cargo-fuzz needs. rustup toolchain install nightly --profile minimal, and try again." >&2; \
    exit 1; \
}; \
$(CARGO) +nightly fuzz --version >/dev/null 2>&1 || { \
    echo "missing: cargo-fuzz. cargo install --locked cargo-fuzz, and try again." >&2; \
    exit 1; \
}
endef

# What is found on the way stays in fuzz/corpus; the second parser reads whole requests.
define run_fuzz
set -eu; \
set -- $(FUZZ_TARGETS); \
seconds=$$(( $(FUZZ_SECONDS) / $$# )); \
if [ $$seconds -lt 1 ]; then seconds=1; fi; \
for target in "$$@"; do \
    echo "fuzz $$target for $$seconds s"; \
    mkdir -p fuzz/corpus/$$target; \
    seeds=$(FUZZ_CORPUS)/$$target; \
    if [ ! -d $$seeds ]; then seeds="$(FUZZ_CORPUS)/request $(FUZZ_CORPUS)/body"; fi; \
    $(CARGO) +nightly fuzz run $$target fuzz/corpus/$$target $$seeds -- \
        -max_total_time=$$seconds -max_len=4096 -verbosity=0 -print_funcs=0 -print_final_stats=1; \
done
endef
