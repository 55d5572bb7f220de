# ablation25m: norm, optimiser or data?  Runs that differ in one of them each; then surgery on what they learned.
#
#   A1 QK-Norm, Muon     A2 none, Muon     B1 QK-Norm, AdamW     B2 none, AdamW     (all on the mixture)
#   C1 as A1 on simple text     C2 as A1 on complex text
#
# C1 and C2 are the outer thirds of one corpus by qk-tokpack's score of difficulty.  All runs see as many tokens, none
# of them twice; all packs have one tokenizer, and one probe batch, whose documents none of them trains on.

STUDY := ablation25m
COMPARED := A1 A2 B1 B2 C1 C2
CONDITIONS ?= $(COMPARED)
SETTINGS_A1 := optimizer=muon+adamw qk_norm=learned
SETTINGS_A2 := optimizer=muon+adamw qk_norm=none
SETTINGS_B1 := optimizer=adamw qk_norm=learned
SETTINGS_B2 := optimizer=adamw qk_norm=none
SETTINGS_C1 := $(SETTINGS_A1)
SETTINGS_C2 := $(SETTINGS_A1)
SEEDS ?= 42
SITE := post_rope
ENDS := combined.json surgery.json verdict.json table.txt report.md report.html
WITH := surgery.json
ONCE := yes
TABLES := conditions contrasts surgery

END_full := 25M
POINTS_full := marks
MARKS_full := 500K 1M 2M 4M 8M 12M 16M 20M
SPECTRA_full := all
PROBE_full := 1x1000
VAL_full := 1M
TEST_full := 1M
TOKENIZER_full := $(CACHE)/full/tokenizer.json
PACK_full := --no-eot
# 70 % and 30 % of 140 MB: some 30 M tokens; a third of 600 MB: some 40 M
TEXT_full := $(CACHE)/full/fineweb-98M.jsonl $(CACHE)/full/cosmopedia-42M.jsonl
GRADED_full := $(CACHE)/full/cosmopedia-600M.jsonl

# mini: 391 steps of 2,048 tokens
END_mini := 800K
POINTS_mini := marks
MARKS_mini := 16K 32K 64K 128K 256K 384K 512K 640K
SPECTRA_mini := all
PROBE_mini := 4x250
VAL_mini := 16K
TEST_mini := 16K
PACK_mini := --no-eot
VOCABULARY_mini := 4096
TEXT_mini := $(CACHE)/mini/plain.txt $(CACHE)/mini/technical.txt
GRADED_mini := $(TEXT_mini)

END_smoke := 2560
POINTS_smoke := marks
MARKS_smoke := 640 1280
SPECTRA_smoke := all
PROBE_smoke := 2x30
VAL_smoke := 512
TEST_smoke := 512
PACK_smoke := --no-eot
VOCABULARY_smoke := 384
TEXT_smoke := $(TEXT_mini)
GRADED_smoke := $(TEXT_mini)

# Each final checkpoint also on the other's validation text; surgery by every method there is.
EVALS_C1 := val_other
EVALS_C2 := val_other
other_pack = $(PACK_$(if $(filter C1,$(1)),C2,C1))
EVAL_val_other = --task loss --data $(call other_pack,$(1)) --split val
EVAL_NEEDS_val_other = $(call other_pack,$(1))
SURGERY_A1 := svd gamma random random-subspace
SURGERY_A2 := svd random random-subspace
SURGERY_B1 := svd gamma random random-subspace
FRACTIONS := $(if $(filter smoke,$(SCALE)),0.4 0.8,0.1 0.2 0.3 0.4 0.5 0.6 0.7 0.8 0.9)
DRAWS := 1 2 3

include pipelines/study.mk
TOKENIZER := $(or $(call pick,TOKENIZER),$(RUN_ROOT)/tokenizer.json)
PACK := --tokenizer $(TOKENIZER) $(PACK)
$(if $(and $(filter %.h5,$(DATA)),$(filter C1 C2,$(CONDITIONS))),$(error DATA=$(DATA): C1 and C2 sort text by its difficulty and need \
text, JSON lines or plain; CONDITIONS="A1 A2 B1 B2" take tokens))
GRADED := $(if $(filter %.h5,$(DATA)),,$(or $(DATA),$(call pick,GRADED)))
graded_pack = --tokenizer $(TOKENIZER) $(call pick,PACK) --filter $(1) --split $(splits) --probe-from $(TOKENS_H5)
PACK_C1 := $(RUN_ROOT)/tokens-simple.h5
PACK_C2 := $(RUN_ROOT)/tokens-complex.h5

include pipelines/rules.mk
include pipelines/surgery.mk

$(eval $(call pack,tokens-simple,$(call graded_pack,simple),$(GRADED),$(TOKENIZER) $(TOKENS_H5)))
$(eval $(call pack,tokens-complex,$(call graded_pack,complex),$(GRADED),$(TOKENIZER) $(TOKENS_H5)))
$(eval $(call stamp,$(RUN_ROOT)/tokenizer.params,$(call pick,VOCABULARY) $(TEXT)))
$(RUN_ROOT)/tokenizer.json: $(TEXT) $(RUN_ROOT)/tokenizer.params | bin
	$(HEAVY) bin/qk-tokpack --train-bpe $(call pick,VOCABULARY) $(TEXT) --export-tokenizer $@
