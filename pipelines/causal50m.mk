# causal50m: is it the learned gain of QK-Norm, or the normalisation itself?
#
# Three runs that differ in one setting, from the same weights on the same batches, keys measured on the way.

STUDY := causal50m
CONDITIONS ?= QK QK_frozen NoQK
QK_NORM_QK := learned
QK_NORM_QK_frozen := frozen
QK_NORM_NoQK := none
QK_NORM_QK_scalar := scalar
LETTER_QK := A
LETTER_QK_frozen := B
LETTER_NoQK := C
LETTER_QK_scalar := D
SEEDS ?= 42
SITE := post_norm
FIGURES := 1_loss 2_key_pr_causal 3_per_layer 4_causal_decomposition 5_gamma_cv

# ---- by scale: points every 30 optimiser steps of 65,536 tokens in the study as published ----
END_full := 50M
EVERY_full := 1966080
MARKS_full := 10M 25M
PROBE_full := 8x2048
VAL_full := 65536
PACK_full := --tokenizer $(CACHE)/full/tokenizer.json --no-eot
# 70 % and 30 % of 300 MB: some 65 M tokens
TEXT_full := $(CACHE)/full/fineweb-210M.jsonl $(CACHE)/full/cosmopedia-90M.jsonl

# mini: 245 steps of 4,096 tokens, points every 10 of them; heads of 32 dimensions
END_mini := 1M
EVERY_mini := 40960
MARKS_mini := 200K 500K
PROBE_mini := 8x256
VAL_mini := 16384
PACK_mini := --train-bpe 4096 --no-eot
TEXT_mini := $(CACHE)/mini/plain.txt $(CACHE)/mini/technical.txt

# smoke: the whole DAG in seconds, for the tests
END_smoke := 5120
EVERY_smoke := 1280
MARKS_smoke := 1280 2560
PROBE_smoke := 4x32
VAL_smoke := 512
PACK_smoke := --train-bpe 384 --no-eot
TEXT_smoke := $(TEXT_mini)

# VARIANT=plan: the plan's batch (4x2 at full scale), twice as many points per token, half the measuring
# rows, and at full scale data of 26 M tokens that are looped.
SETTINGS_full_plan := batch_size=4 grad_accum=2
EVERY_full_plan := 983040
PROBE_full_plan := 4x2048
VAL_full_plan := 32768
TEXT_full_plan := $(CACHE)/full/fineweb-84M.jsonl $(CACHE)/full/cosmopedia-36M.jsonl
SETTINGS_mini_plan := batch_size=4
EVERY_mini_plan := 20480
PROBE_mini_plan := 4x256
VAL_mini_plan := 8192

scales := full mini smoke
$(if $(filter $(SCALE),$(scales)),,$(error SCALE=$(SCALE): $(STUDY) knows $(scales)))
$(if $(filter-out plan,$(VARIANT)),$(error VARIANT=$(VARIANT): $(STUDY) knows plan))
variant := $(if $(VARIANT),_$(VARIANT))
pick = $(or $($(1)_$(SCALE)$(variant)),$($(1)_$(SCALE)))

RUN_ROOT := $(RUNS)/$(STUDY)/$(SCALE)$(if $(VARIANT),-$(VARIANT))
CONFIG := pipelines/$(STUDY)/$(SCALE).json
SETTINGS := $(call pick,SETTINGS)
EVERY := $(call pick,EVERY)
VAL_TOKENS := $(call pick,VAL)
PROBE := $(call pick,PROBE)

# Tokens per optimiser step: the config's numbers, unless a setting says otherwise.
number = $(or $(patsubst $(1)=%,%,$(filter $(1)=%,$(SETTINGS))),$(shell sed -n 's/.*"$(1)": *\([0-9]*\).*/\1/p' $(CONFIG)))
STEP := $(shell expr $(call number,batch_size) \* $(call number,grad_accum) \* $(call number,seq_len))
PLAN := $(shell pipelines/plan $(STEP) $(EVERY) $(or $(TOKENS),$(call pick,END)) $(call pick,MARKS))
$(if $(PLAN),,$(error TOKENS=$(TOKENS): a number of tokens, as 500K or 50M))

# ---- the token pack: DATA=FILE.h5 is taken as it is, other DATA is text in place of ours ----
TOKENS_H5 := $(if $(filter %.h5,$(DATA)),$(DATA),$(RUN_ROOT)/tokens.h5)
TEXT := $(or $(DATA),$(call pick,TEXT))
PACK := $(call pick,PACK) --split val=$(shell expr $(VAL_TOKENS) + $(call number,seq_len)) --probe $(PROBE)

include pipelines/rules.mk

$(eval $(call stamp,$(RUN_ROOT)/tokens.params,$(PACK) $(TEXT)))
$(RUN_ROOT)/tokens.params:
	@mkdir -p $(@D) && printf '%s\n' '$(text)' >$@
$(if $(filter $(TOKENS_H5),$(RUN_ROOT)/tokens.h5),$(RUN_ROOT)/tokens.h5): $(TEXT) $(RUN_ROOT)/tokens.params \
    $(filter $(CACHE)/full/tokenizer.json,$(PACK)) | bin
	rm -f $(RUN_ROOT)/*/seed-*/*.partial
	$(HEAVY) bin/qk-tokpack $(PACK) $(TEXT) -o $@

.PHONY: pipelines/$(STUDY)
pipelines/$(STUDY): $(RUN_ROOT)/show
