# sweep20m: which learning rate suits each optimiser, with QK-Norm and without?
#
# Short runs at five rates a configuration; the winner has the least loss on split `select`.  A winner at the edge of
# its grid has not been shown to be one: the next rate outwards is tried too, EXTEND times at most, and it is said.
#
# CONDITIONS= names configurations, RATES_Muon="0.02 0.03" replaces a grid.  TOKENS= can only shorten.
#
# Made for main300m (its chosen.json is the goal, not the study), it keeps the rates and seeds that it was last asked
# for: SEEDS there is main300m's.  SWEEP_SEEDS= is the sweep's whoever asks.

STUDY := sweep20m
include pipelines/model88m.mk

was := $(if $(filter pipelines/%,$(MAKECMDGOALS)),,$(patsubst %/results.json,%,$(filter %/results.json,$(file <$(RUNS)/$(STUDY)/$(SCALE)/asked.txt))))
was_seeds := $(patsubst $(firstword $(subst /, ,$(was)))/seed-%,%,$(filter $(firstword $(subst /, ,$(was)))/%,$(was)))
was_rates = $(patsubst $(1)-%/seed-$(firstword $(was_seeds)),%,$(filter $(1)-%/seed-$(firstword $(was_seeds)),$(was)))
$(foreach c,$(if $(was),$(CONFIGURATIONS)),$(if $(call was_rates,$(c)),$(eval RATES_$(c) ?= $(call was_rates,$(c)))))
SWEEP_SEEDS ?= $(or $(if $(filter pipelines/%,$(MAKECMDGOALS)),$(SEEDS)),$(was_seeds),42)

ifeq ($(SCALE),smoke)
RATES_AdamW ?= 1e-3 2e-3
RATES_AdamW_QK ?= 1e-3 2e-3
RATES_Muon ?= 0.012 0.024
RATES_Muon_QK ?= 0.012 0.024
endif
RATES_AdamW ?= 1e-4 3e-4 6e-4 1e-3 2e-3
RATES_AdamW_QK ?= 3e-4 6e-4 1e-3 2e-3 4e-3
RATES_Muon ?= 0.006 0.012 0.024 0.036 0.048
RATES_Muon_QK ?= 0.012 0.024 0.036 0.048 0.072
EXTEND_full := 3
EXTEND_mini := 3

END_full := 20M
POINTS_full := end
VAL_AT_full := 65536

END_mini := 300K
POINTS_mini := end
VAL_AT_mini := 16384

END_smoke := 1280
POINTS_smoke := end
EXTEND_smoke := 1

SWEPT := $(or $(CONDITIONS),$(CONFIGURATIONS))
$(if $(filter-out $(CONFIGURATIONS),$(SWEPT)),$(error CONDITIONS: $(STUDY) has no $(filter-out $(CONFIGURATIONS),$(SWEPT)); it knows $(CONFIGURATIONS)))
override SEEDS := $(SWEEP_SEEDS)
ifneq ($(TOKENS),)
override TOKENS := $(shell numfmt --from=si $(TOKENS) $(END_$(SCALE)) | sort -n | head -n 1)
endif

include pipelines/study.mk
SCHEDULE := lr_schedule=cosine $(falling)
TRAIN_FLAGS := --weights-only
EVALS := select
EVAL_select = --task loss --data $(call pack_of,$(1)) --split select

# A run is CONFIGURATION-RATE; Muon's AdamW part goes at a quarter of the rate.
EXTENDED := $(RUN_ROOT)/extended.txt
added = $(patsubst $(1)-%,%,$(filter $(1)-%,$(file <$(EXTENDED))))
rates = $(filter-out $(call added,$(1)),$(RATES_$(1))) $(call added,$(1))
rate_settings = $(if $(filter Muon%,$(1)),muon_lr=$(2) adamw_lr=$(shell awk 'BEGIN { printf "%.6g", $(2) / 4 }'),adamw_lr=$(2))
$(foreach c,$(SWEPT),$(foreach r,$(call rates,$(c)),$(eval SETTINGS_$(c)-$(r) := $(MODEL_$(c)) $(call rate_settings,$(c),$(r)))))
override CONDITIONS := $(foreach c,$(SWEPT),$(foreach r,$(call rates,$(c)),$(c)-$(r)))
ENDS := chosen.json verdict.json table.txt report.md report.html
JUDGED := chosen.json
TABLES := rates grid

include pipelines/rules.mk

# The last line makes it again with the rates that the one before it has added; not with make -n, which adds none and
# would not come to an end where chosen.json is missing.
dry = $(findstring n,$(firstword -$(MAKEFLAGS)))
$(RUN_ROOT)/chosen.json: $(RUN_DIRS:%=%/results.json) $(RUN_ROOT)/combined.params | bin $(RUN_ROOT)/asked.txt
	bin/qk-aggregate pick-lr -q $(foreach c,$(SWEPT),$(patsubst %,--added $(c):%,$(call added,$(c)))) $(foreach c,$(SWEPT),$(foreach r,$(call rates,$(c)),$(SEEDS:%=$(c):$(r)=$(RUN_ROOT)/$(c)-$(r)/seed-%/results.json))) -o $@
	@pipelines/extend $@ $(EXTENDED) $(call pick,EXTEND)
	$(if $(dry),,+@if [ $(EXTENDED) -nt $@ ]; then $(MAKE) --no-print-directory SCALE=$(SCALE) ONE_STUDY=$(STUDY) SWEEP_SEEDS="$(SEEDS)" $@ $(@D)/asked.txt; fi)
