# The kernels of lib/compute/cuda compiled for the host, over the emulation of a card in this folder, always
# under AddressSanitizer and UBSan; no CUDA toolkit is looked at.  README.md beside this tells more.

ifneq ($(filter default undefined,$(origin CXX)),)
CXX := $(if $(findstring clang,$(CC)),clang++,g++)
endif
EMULATED := $(BUILD)/emulated
EMULATED_SANITIZERS := -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
EMULATED_FLAGS := -std=c++20 -Itests/emulation -Ilib -Itests -O1 -g -Wall -Wextra -Werror -Wno-unknown-pragmas \
    -Wno-deprecated-enum-enum-conversion -fno-exceptions -fno-rtti \
    $(EMULATED_SANITIZERS)
# Where the emulation takes the place of something that loads NVIDIA's libraries, that file is left out.
EMULATED_SOURCES := $(filter-out lib/compute/cuda/lt.cu,$(sort $(wildcard lib/compute/cuda/*.cu))) \
    $(filter-out tests/emulation/test_%,$(sort $(wildcard tests/emulation/*.cc)))
EMULATED_OBJECTS := $(patsubst %,$(EMULATED)/%.o,$(basename $(EMULATED_SOURCES))) $(EMULATED)/lib/compute/device.o
CUDA_TESTS := $(patsubst %.c,$(BUILD)/%,$(sort $(wildcard tests/cuda/test_*.c)))
# The same tests with kernels compiled to be watched for races (races.cc): tests/run runs them after the others.
RACED := $(BUILD)/raced
RACED_TESTS := $(CUDA_TESTS:$(BUILD)/%=$(RACED)/%)
RACED_OBJECTS := $(patsubst %.cu,$(RACED)/%.o,$(filter-out lib/compute/cuda/lt.cu,$(sort $(wildcard lib/compute/cuda/*.cu))))
EMULATION_TESTS := $(patsubst %.cc,$(BUILD)/%,$(sort $(wildcard tests/emulation/test_*.cc)))
EMULATED_PROGRAMS := $(patsubst %,$(EMULATED)/bin/%,qk-train qk-probe qk-eval)
EMULATED_LIBS := $(filter-out $(CUDA_LIBS),$(QK_LIBS)) -ldl $(if $(findstring clang,$(CC)),-lomp,-fopenmp)
emulated_link = $(CXX) $(EMULATED_SANITIZERS) $(LDFLAGS) $^ $(1) $(EMULATED_LIBS) -o $@

.PHONY: emulated
emulated: $(CUDA_TESTS) $(RACED_TESTS) $(EMULATION_TESTS) $(EMULATED_PROGRAMS)

# Asked once, so that a missing compiler is a sentence.
$(EMULATED)/compiler:
	@mkdir -p $(@D); command -v $(firstword $(CXX)) >/dev/null || { \
	    echo "make: no C++ compiler '$(firstword $(CXX))' found: install the package g++, or let 'make deps' do it" >&2; exit 1; }; touch $@

$(EMULATED)/%.o: %.cu | $(EMULATED)/compiler
	@mkdir -p $(@D)
	$(call say,CXX)$(CXX) -x c++ $(EMULATED_FLAGS) -MMD -MP -c $< -o $@
$(RACED)/%.o: %.cu | $(EMULATED)/compiler
	@mkdir -p $(@D)
	$(call say,CXX)$(CXX) -x c++ $(RACED_FLAGS) -MMD -MP -c $< -o $@
$(EMULATED)/%.o: %.cc | $(EMULATED)/compiler test-tools
	@mkdir -p $(@D)
	$(call say,CXX)$(CXX) $(EMULATED_FLAGS) -MMD -MP -c $< -o $@
# What runs at every load, store and switch, and touches no number of a kernel's.
$(patsubst %,$(EMULATED)/tests/emulation/%.o,block fibers races warp): EMULATED_FLAGS := $(filter-out -O1 $(EMULATED_SANITIZERS),$(EMULATED_FLAGS)) -O2
RACED_FLAGS = $(filter-out $(EMULATED_SANITIZERS),$(EMULATED_FLAGS)) -fsanitize=thread -Wno-tsan
$(EMULATED)/tests/emulation/test_races.o: EMULATED_FLAGS := $(RACED_FLAGS)
# The only file of the library that knows whether there is CUDA.
$(EMULATED)/lib/compute/device.o: lib/compute/device.c | $(BUILD)/libraries
	@mkdir -p $(@D)
	$(call say,CC)$(CC) $(QK_CPPFLAGS) -DQK_WITH_CUDA $(QK_CFLAGS) -MMD -MP -c $< -o $@

$(EMULATED)/libqk.a: $(EMULATED_OBJECTS) $(filter-out $(CUDA_OBJECTS) $(BUILD)/lib/compute/device.o,$(LIB_OBJECTS))
	$(call say,AR)rm -f $@ && $(AR) rcs $@ $^

$(patsubst tests/cuda/%.c,$(BUILD)/tests/cuda/%.o,$(wildcard tests/cuda/*.c)): QK_CPPFLAGS += -Itests -Itests/emulation
$(CUDA_TESTS): %: %.o \
    $(patsubst %.c,$(BUILD)/%.o,$(filter-out tests/cuda/test_%,$(wildcard tests/cuda/*.c))) $(EMULATED)/libqk.a
	@mkdir -p $(@D)
	$(call say,LD)$(call emulated_link,-lcmocka)
$(RACED_TESTS): $(RACED)/%: $(BUILD)/%.o $(patsubst %.c,$(BUILD)/%.o,$(filter-out tests/cuda/test_%,$(wildcard tests/cuda/*.c))) \
    $(RACED_OBJECTS) $(EMULATED)/libqk.a
	@mkdir -p $(@D)
	$(call say,LD)$(call emulated_link,-lcmocka)
$(EMULATION_TESTS): $(BUILD)/%: $(EMULATED)/%.o $(EMULATED)/libqk.a
	@mkdir -p $(@D)
	$(call say,LD)$(call emulated_link,-lcmocka)
$(EMULATED_PROGRAMS): $(EMULATED)/bin/%: $(BUILD)/tools/%.o $(SHARED_OBJECTS) $(EMULATED)/libqk.a
	@mkdir -p $(@D)
	$(call say,LD)$(call emulated_link)
