# Tests that need a card, and what takes them to a machine that has one.

GPU := $(BUILD)/gpu
GPU_TESTS := $(patsubst tests/cuda/%.c,$(GPU)/%,$(sort $(wildcard tests/cuda/test_*.c)))
GPU_PACK := $(GPU)/tokens.h5

# The objects of the emulated tests, over the library as programs use it.
GPU_SHARED := $(patsubst %.c,$(BUILD)/%.o,$(filter-out tests/cuda/test_%,$(wildcard tests/cuda/*.c)))
$(GPU_TESTS): $(GPU)/%: $(BUILD)/tests/cuda/%.o $(GPU_SHARED) $(BUILD)/libqk.a
	@mkdir -p $(@D)
	$(call say,LD)$(CC) $(QK_CFLAGS) $(LDFLAGS) $^ -lcmocka $(QK_LIBS) -o $@

# Made-up words: what is trained on has to be learnable, and there on every machine.
$(GPU_PACK): tests/bench/words.awk | $(BUILD)/bin/qk-tokpack
	@mkdir -p $(@D)
	$(Q)awk -v bytes=3000000 -f $< >$@.txt
	$(Q)$| -q --no-provenance --train-bpe 2048 --split val=20K --probe 4x256 $@.txt -o $@
	$(Q)rm $@.txt

.PHONY: check-gpu
check-gpu: test-tools bin $(GPU_TESTS) $(GPU_PACK)
	@tests/cuda/check-gpu $(BUILD)/bin $(GPU) $(GPU_PACK)

# What the compiler made of every kernel; needs no card.
.PHONY: gpu-code
gpu-code: $(BUILD)/tests/cuda/test_attention
	@NVCC=$(NVCC) tests/bench/gpu-code $(BUILD)

# ---- the bundle: for any x86-64 with AVX2; HDF5 goes into the programs, without all that its library needs ----
HDF5_ARCHIVE := $(firstword $(wildcard $(patsubst -L%,%/libhdf5.a,$(filter -L%,$(HDF5_LIBS)))))
.PHONY: gpu-bundle gpu-bundle-packed
gpu-bundle:
	+@$(MAKE) --no-print-directory MARCH=x86-64-v3 $(if $(HDF5_ARCHIVE),HDF5_LIBS="$(HDF5_ARCHIVE) -lsz") gpu-bundle-packed

MANY := $(GPU)/many
MANY_BENCHES := gpu measure
MANY_PROGRAMS := qk-train qk-probe qk-eval qk-tokpack $(MANY_BENCHES) $(notdir $(GPU_TESTS))
MANY_OBJECTS := $(patsubst %,$(MANY)/%.o,$(MANY_PROGRAMS))
main_of = main_$(subst -,_,$(notdir $(basename $(1))))
$(MANY)/qk-%.o: $(BUILD)/tools/qk-%.o
	@mkdir -p $(@D)
	$(call say,OBJCOPY)objcopy --redefine-sym main=$(call main_of,$@) $< $@
$(MANY)/test_%.o: $(BUILD)/tests/cuda/test_%.o
	@mkdir -p $(@D)
	$(call say,OBJCOPY)objcopy --redefine-sym main=$(call main_of,$@) $< $@
$(MANY_BENCHES:%=$(MANY)/%.o): $(MANY)/%.o: $(BUILD)/tests/bench/%.o
	@mkdir -p $(@D)
	$(call say,OBJCOPY)objcopy --redefine-sym main=$(call main_of,$@) $< $@
$(MANY)/programs.h: $(MANY_OBJECTS)
	$(Q)printf 'PROGRAM("%s", %s)\n' $(foreach o,$^,$(basename $(notdir $o)) $(call main_of,$o)) >$@
$(BUILD)/tests/cuda/bundle/many.o: $(MANY)/programs.h
$(BUILD)/tests/cuda/bundle/many.o: QK_CPPFLAGS += -I$(MANY)
# Libraries lie beside it, and what they need too: RPATH, unlike RUNPATH, holds for both.
$(MANY)/many: $(BUILD)/tests/cuda/bundle/many.o $(MANY_OBJECTS) $(SHARED_OBJECTS) $(GPU_SHARED) $(BUILD)/libqk.a
	$(call say,LD)$(CC) $(QK_CFLAGS) $(LDFLAGS) -Wl,--disable-new-dtags,-rpath,'$$ORIGIN' $^ -lcmocka $(QK_LIBS) -o $@

gpu-bundle-packed: test-tools $(MANY)/many $(GPU_PACK)
	@tests/cuda/bundle/pack $(MANY)/many $(GPU_PACK) build/gpu-bundle $(MANY_PROGRAMS)
