# How the programs are built.  Every set of flags has a build folder of its own, so that changing
# flags never mixes objects; bin points at the programs of the flags used last.

ifneq ($(filter default undefined,$(origin CC)),)
CC := gcc
endif
ifneq ($(filter default undefined,$(origin AR)),)
AR := ar
endif
MARCH ?= native
DEBUG ?=
SANITIZE ?=
V ?=
# Commands are shown in short unless V=1.
Q := $(if $(V),,@)
say = $(if $(V),,@echo "$(1) $@";)

WARNINGS := -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith \
    -Wwrite-strings -Wformat=2 -Wundef -Wvla -Wcast-qual -Wimplicit-fallthrough \
    -Wno-missing-field-initializers
# clang does not know GCC's pragmas, and says which loops stay scalar.
WARNINGS += $(if $(findstring clang,$(CC)),-Wno-unknown-pragmas -Wno-pass-failed)
SANITIZERS := $(if $(SANITIZE),-fsanitize=$(SANITIZE) -fno-sanitize-recover=all -fno-omit-frame-pointer)
include lib/cuda.mk

HDF5_CFLAGS := $(shell pkg-config --cflags hdf5 2>/dev/null || echo -I/usr/include/hdf5/serial)
HDF5_LIBS := $(shell pkg-config --libs hdf5 2>/dev/null || echo -lhdf5_serial)
VERSION := $(shell sed -n 's/^.define QK_VERSION "\(.*\)"/\1/p' lib/base/provenance.h)
# Ours under names of their own: CFLAGS and friends stay what the user said, and come last.
QK_CPPFLAGS := -Ilib -D_POSIX_C_SOURCE=200809L $(CPPFLAGS)
OPTIMISE := $(if $(DEBUG),-O1,-O3) -g -march=$(MARCH) -fno-math-errno -fno-trapping-math
QK_CFLAGS := -std=c11 $(WARNINGS) $(OPTIMISE) -fopenmp $(SANITIZERS) $(CFLAGS)
QK_LIBS := $(HDF5_LIBS) -lzstd -lz -llzma -lcjson -lpcre2-8 -lutf8proc -lcrypto -lopenblas $(CUDA_LIBS) -ldl -lm $(LDLIBS)

# -march=native means another thing on another machine that sees the same folder.
machine := $(if $(filter native,$(MARCH)),$(shell uname -m; grep -m1 -E '^(flags|Features)' /proc/cpuinfo 2>/dev/null))
KEY := $(shell printf '%s' '$(CC) $(QK_CPPFLAGS) $(QK_CFLAGS) $(LDFLAGS) $(machine) $(NVCC)' | cksum | cut -d' ' -f1)
BUILD := build/$(KEY)

# ---- what there is: found by name, so adding a file changes nothing here ----
LIB_SOURCES := $(sort $(wildcard lib/base/*.c lib/compute/*.c lib/compute/cpu/*.c lib/model/*.c lib/study/*/*.c))
LIB_OBJECTS := $(LIB_SOURCES:%.c=$(BUILD)/%.o) $(CUDA_OBJECTS)
PROGRAMS := $(patsubst tools/%.c,$(BUILD)/bin/%,$(sort $(wildcard tools/qk-*.c)))
UNIT_TESTS := $(patsubst tests/unit/%.c,$(BUILD)/tests/%,$(sort $(wildcard tests/unit/test_*.c)))
# What several tools share: tools/*.c that is no program.
SHARED_OBJECTS := $(patsubst %.c,$(BUILD)/%.o,$(filter-out tools/qk-%,$(sort $(wildcard tools/*.c))))
# The zstd filter as an HDF5 plugin, for h5dump and others: HDF5_PLUGIN_PATH=$PWD/bin/plugin
PLUGIN := $(if $(wildcard lib/base/h5zstd.c),$(BUILD)/bin/plugin/libh5zstd.so)

.PHONY: all
all: bin

# bin is what people type; it follows the flags used last.
.PHONY: bin
bin: $(PROGRAMS) $(PLUGIN)
	@[ "$$(readlink bin)" = $(BUILD)/bin ] || ln -sfn $(BUILD)/bin bin

# Asked once per build folder, so that a missing library is a sentence and not a page of errors.
$(BUILD)/libraries: lib/deps.mk
	@mkdir -p $(@D); command -v $(firstword $(CC)) >/dev/null || { \
	    echo "make: no C compiler '$(firstword $(CC))' found: install the package gcc, or let 'make deps' do it" >&2; exit 1; }; \
	missing=; for need in $(NEEDS); do \
	    printf '#define PCRE2_CODE_UNIT_WIDTH 8\n#include <%s>\n' $${need%%:*} | \
	    $(CC) $(QK_CPPFLAGS) $(HDF5_CFLAGS) -E -x c - >/dev/null 2>&1 || missing="$$missing $${need#*:}"; done; \
	[ -z "$$missing" ] || { echo "make: a library is missing: install Debian's$$missing, or let 'make deps' do it" >&2; exit 1; }; \
	touch $@

$(BUILD)/%.o: %.c | $(BUILD)/libraries
	@mkdir -p $(@D)
	$(call say,CC)$(CC) $(QK_CPPFLAGS) $(if $(findstring lib/base/h5,$<),$(HDF5_CFLAGS)) $(QK_CFLAGS) -MMD -MP -c $< -o $@

# The only file that knows whether there is CUDA.
$(BUILD)/lib/compute/device.o: QK_CPPFLAGS += $(if $(NVCC),-DQK_WITH_CUDA)

# --version tells how the program was built.
$(BUILD)/tools/common.o: QK_CPPFLAGS += -DQK_BUILD_FLAGS='"$(strip $(OPTIMISE) $(SANITIZERS) $(CFLAGS))"'

$(BUILD)/libqk.a: $(LIB_OBJECTS)
	$(call say,AR)rm -f $@ && $(AR) rcs $@ $^

$(PROGRAMS): $(BUILD)/bin/%: $(BUILD)/tools/%.o $(SHARED_OBJECTS) $(BUILD)/libqk.a
	@mkdir -p $(@D)
	$(call say,LD)$(CC) $(QK_CFLAGS) $(LDFLAGS) $^ $(QK_LIBS) -o $@

# Without the sanitizers: it is loaded by other people's programs.
$(PLUGIN): lib/base/h5zstd.c | $(BUILD)/libraries
	@mkdir -p $(@D)
	$(call say,LD)$(CC) $(QK_CPPFLAGS) $(HDF5_CFLAGS) -DQK_H5_PLUGIN $(filter-out $(SANITIZERS),$(QK_CFLAGS)) \
	    -fPIC -shared $(LDFLAGS) $< $(HDF5_LIBS) -lzstd -o $@

$(UNIT_TESTS): $(BUILD)/tests/%: $(BUILD)/tests/unit/%.o $(BUILD)/libqk.a
	@mkdir -p $(@D)
	$(call say,LD)$(CC) $(QK_CFLAGS) $(LDFLAGS) $^ -lcmocka $(QK_LIBS) -o $@

.PHONY: unit
unit: $(UNIT_TESTS)

.PHONY: clean
clean:
	rm -rf build bin

-include $(shell for folder in $(BUILD) $(CUDA_BUILD); do [ ! -d $$folder ] || find $$folder -name '*.d'; done)
