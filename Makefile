# SPDX-License-Identifier: MIT
# A thin front to Meson. `make demo` and `make check` install what is missing first.
BUILD ?= build

all: $(BUILD)/build.ninja
	@ninja -C $(BUILD) --quiet
	@ln -sf tools/vferry $(BUILD)/vferry

$(BUILD)/build.ninja:
	@scripts/setup
	@meson setup $(BUILD) >/dev/null

check:
	@scripts/setup
	@scripts/check

.PHONY: all check
