# Tests.  tests/run finds them by name: tests/unit/test_*.c (cmocka), tests/{cli,house,pipeline,cuda}/*.bats,
# tests/cuda/test_*.c (cmocka, over the emulated card), tests/emulation/test_*.cc (the emulation's own).

TESTS ?=
needs_tests = @for need in cmocka.h:libcmocka-dev; do \
	printf '\#include <stddef.h>\n\#include <setjmp.h>\n\#include <stdarg.h>\n\#include <stdint.h>\n\#include <%s>\n' $${need%%:*} \
	    | $(CC) -E -x c - >/dev/null 2>&1 || { echo "make: $${need%%:*} is missing: install the package $${need\#*:}, or let 'make deps' do it" >&2; exit 1; }; done; \
	for need in bats:bats jq:jq h5dump:hdf5-tools gnuplot:gnuplot-nox xz:xz-utils zstd:zstd; do command -v $${need%%:*} >/dev/null || { \
	    echo "make: $${need%%:*} is missing: install the package $${need\#*:}, or let 'make deps' do it" >&2; exit 1; }; done

# cmocka and bats are asked for before the tests are compiled, not by a page of errors.
.PHONY: test-tools
test-tools:
	$(needs_tests)
$(UNIT_TESTS): | test-tools
$(patsubst tests/unit/%.c,$(BUILD)/tests/unit/%.o,$(wildcard tests/unit/test_*.c)): QK_CPPFLAGS += -Itests -Itests/unit
$(patsubst tests/unit/%.c,$(BUILD)/tests/unit/%.o,$(wildcard tests/unit/test_*.c)): | test-tools

include tests/emulation/emulation.mk
include tests/cuda/gpu.mk

# Makes the small HDF5 files, whole or wrong in one way, that tests/cli works on.
MAKE_INPUT := $(BUILD)/tests/make_input
$(MAKE_INPUT): $(BUILD)/tests/cli/make_input.o $(BUILD)/libqk.a
	@mkdir -p $(@D)
	$(call say,LD)$(CC) $(QK_CFLAGS) $(LDFLAGS) $^ $(QK_LIBS) -o $@

# What `make bench` runs beside the tools: one program per tests/bench/*.c.
BENCHES := $(patsubst tests/bench/%.c,$(BUILD)/bench/%,$(sort $(wildcard tests/bench/*.c)))
$(BUILD)/tests/bench/ceiling.o: QK_CFLAGS += -ffp-contract=fast
$(BENCHES): $(BUILD)/bench/%: $(BUILD)/tests/bench/%.o $(BUILD)/libqk.a
	@mkdir -p $(@D)
	$(call say,LD)$(CC) $(QK_CFLAGS) $(LDFLAGS) $^ $(QK_LIBS) -o $@

.PHONY: check
check: test-tools bin $(UNIT_TESTS) $(CUDA_TESTS) $(RACED_TESTS) $(EMULATION_TESTS) $(EMULATED_PROGRAMS) $(MAKE_INPUT) $(BENCHES)
	@tests/run $(BUILD) $(TESTS)

# The pipeline and the house rules are the same under sanitizers, and slow: left out.
.PHONY: check-sanitize
check-sanitize:
	+@$(MAKE) --no-print-directory SANITIZE=address,undefined DEBUG=1 \
	    TESTS="$(or $(TESTS),$(wildcard tests/unit/test_*.c tests/cuda/test_*.c tests/emulation/test_*.cc tests/cli/*.bats))" check

# Valgrind knows no AVX-512, so for a plainer processor; libraries choose their kernels by what it shows.
.PHONY: check-valgrind
check-valgrind:
	+@$(MAKE) --no-print-directory MARCH=x86-64-v2 DEBUG=1 valgrind-smoke

.PHONY: valgrind-smoke
valgrind-smoke: bin $(MAKE_INPUT)
	@tests/valgrind $(BUILD)

.PHONY: bench bench-programs
bench-programs: $(BENCHES)
bench: bin bench-programs
	@tests/bench/run $(BUILD)

.PHONY: lint
lint:
	@tests/house/lint
