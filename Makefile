# SPDX-License-Identifier: MIT
#
# A small front for Meson: `make` builds, and every target first sees to the packages it needs.

BUILD ?= build
PREFIX ?= /usr/local
DESTDIR ?=
export BUILD

all: deps-build $(BUILD)/build.ninja
	@ninja -C $(BUILD)

$(BUILD)/build.ninja: | deps-build
	meson setup $(BUILD) --prefix='$(PREFIX)'

# run: the tour, five minutes of reading in one minute of watching
run: deps-run all
	@scripts/tour

# test: everything, a quarter of an hour; the last line is "N passed, N failed"
test: deps-test
	@scripts/test

# soak: the long forms of the tests, hours
soak: deps-test
	@scripts/test --soak

lint: deps-lint
	@scripts/lint

bench: deps-bench
	@scripts/bench

fuzz: deps-fuzz
	@scripts/fuzz

install: all
	@meson configure $(BUILD) -Dprefix='$(PREFIX)'
	@DESTDIR='$(DESTDIR)' meson install -C $(BUILD)
	@[ -n '$(DESTDIR)' ] || [ "$$(id -u)" -ne 0 ] || ldconfig

clean:
	rm -rf $(BUILD) $(BUILD)-*

DEPS = deps-build deps-run deps-test deps-lint deps-bench deps-fuzz
$(DEPS):
	@scripts/install-deps $(@:deps-%=%)

.PHONY: all run test soak lint bench fuzz install clean $(DEPS)
