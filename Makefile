# make run     builds the gateway and starts it in front of its demo origin
# make test    everything that must hold: format, lints, every test of the workspace
# make build   the release binaries
# make check   format and lints alone
# make docs    writes the pages that come from the code
#
# Each target installs the Debian packages of the commands that it needs and that are not there; where they are there,
# nothing is installed, and where there is no apt-get, what is missing is named.

SHELL := /bin/bash
CARGO ?= cargo
TARGET := $(or $(CARGO_TARGET_DIR),target)

# command:packages (joined by commas)
TO_BUILD := cc:gcc,libc6-dev ld:binutils
TO_TEST := $(TO_BUILD) curl:curl jq:jq wrk:wrk nginx:nginx-light h2load:nghttp2-client promtool:prometheus valgrind:valgrind

# Daemons among these packages. Installing must not leave them running: prometheus would take our own port 9090.
DAEMONS := nginx prometheus

.DEFAULT_GOAL := help
.PHONY: help run test build check docs

help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile

run:
	@$(call need,$(TO_BUILD))
	@$(call need_rust)
	$(CARGO) build --release --locked --package ultragate
	@exec $(TARGET)/release/ultragate --demo

build:
	@$(call need,$(TO_BUILD))
	@$(call need_rust)
	$(CARGO) build --release --locked

check:
	@$(call need,$(TO_BUILD))
	@$(call need_rust)
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings

# The binaries come first: the end-to-end tests start them.
test:
	@$(call need,$(TO_TEST))
	@$(call need_rust)
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	$(CARGO) build --workspace --bins --locked
	$(CARGO) test --workspace --locked

docs:
	@$(call need,$(TO_BUILD))
	@$(call need_rust)
	UPDATE=1 $(CARGO) test --locked --package ultragate --package telemetry fresh

define need
set -eu; \
PATH="$$PATH:/usr/local/sbin:/usr/sbin:/sbin"; \
missing=; packages=; \
for pair in $(1); do \
    command -v "$${pair%%:*}" >/dev/null || { missing="$$missing $${pair%%:*}"; packages="$$packages $${pair#*:}"; }; \
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

define need_rust
command -v $(CARGO) >/dev/null || { \
    echo "missing: cargo. Install Rust with rustup (https://rustup.rs); rust-toolchain.toml names the version." >&2; \
    exit 1; \
}
endef
