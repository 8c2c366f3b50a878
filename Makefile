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

# Tests on real arm64 kernels under QEMU (docs/testing.md).
check-lab:
	@tests/lab/check

# Kernel VFIO devices by character device, on a kernel that is built for it: no part of continuous integration.
lab-iommufd:
	@tests/lab/check iommufd

check-asan check-tsan: check-%:
	@scripts/setup
	@scripts/check $*

# Every decoder of outside bytes, for SECONDS each: make fuzz SECONDS=300
fuzz: SECONDS ?= 30
fuzz:
	@scripts/setup
	@SECONDS=$(SECONDS) scripts/fuzz $(TARGETS)

demo:
	@scripts/setup
	@$(MAKE) --no-print-directory all
	@$(BUILD)/tools/vferry demo

install: all
	@meson install -C $(BUILD)

# What docs/ takes from the code; a layout test fails when it is stale.
docs: all
	@VFERRY_BUILD=$(BUILD) scripts/docs

tidy: $(BUILD)/build.ninja
	@command -v run-clang-tidy >/dev/null || { echo "tidy: please install clang-tidy" >&2; exit 1; }
	@run-clang-tidy -quiet -p $(BUILD) '/(lib|vmm|devices|tools|examples)/' 2>/dev/null

# Beside QEMU and the physical limit; settings are at the top of bench/bench.py.
BENCH_PROGRAMS = engine bound filebound socket memory device guest
bench: all
	@scripts/setup bench/packages.list
	@ninja -C $(BUILD) --quiet $(BENCH_PROGRAMS:%=bench/bench-%)
	@bench/run $(BUILD)

# Whole migrations in virtual time (docs/testing.md): SEEDS of them, FIRST is the first seed.
FIRST ?= 1
SEEDS ?= 1000000
soak-sim: all
	@scripts/soak-sim $(BUILD)/tests/sim/sim_migration $(FIRST) $(SEEDS)

.PHONY: all bench check check-asan check-lab check-tsan demo docs fuzz install lab-iommufd soak-sim tidy
