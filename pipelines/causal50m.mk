# causal50m: is it the learned gain of QK-Norm, or the normalisation itself?
#
# Three runs that differ in one setting, from the same weights on the same batches, keys measured on the way.

STUDY := causal50m
COMPARED := QK QK_frozen NoQK
CONDITIONS ?= $(COMPARED)
SETTINGS_QK := qk_norm=learned
SETTINGS_QK_frozen := qk_norm=frozen
SETTINGS_NoQK := qk_norm=none
SETTINGS_QK_scalar := qk_norm=scalar
SEEDS ?= 42
SITE := post_norm
VARIANTS := plan
ENDS := combined.json verdict.json table.txt report.md report.html
PUBLISHED := yes

# ---- by scale: points every 30 optimiser steps of 65,536 tokens in the study as published ----
END_full := 50M
POINTS_full := every:1966080
MARKS_full := 10M 25M
PROBE_full := 8x2048
VAL_full := 65536
PACK_full := --tokenizer $(CACHE)/full/tokenizer.json --no-eot
# 70 % and 30 % of 300 MB: some 65 M tokens
TEXT_full := $(CACHE)/full/fineweb-210M.jsonl $(CACHE)/full/cosmopedia-90M.jsonl

# mini: 245 steps of 4,096 tokens, points every 10 of them; heads of 32 dimensions
END_mini := 1M
POINTS_mini := every:40960
MARKS_mini := 200K 500K
PROBE_mini := 8x256
VAL_mini := 16384
PACK_mini := --train-bpe 4096 --no-eot
TEXT_mini := $(CACHE)/mini/plain.txt $(CACHE)/mini/technical.txt

# smoke: the whole DAG in seconds, for the tests
END_smoke := 5120
POINTS_smoke := every:1280
MARKS_smoke := 1280 2560
PROBE_smoke := 4x32
VAL_smoke := 512
PACK_smoke := --train-bpe 384 --no-eot
TEXT_smoke := $(TEXT_mini)

# VARIANT=plan: the plan's batch (4x2 at full scale), twice as many points per token, half the measuring
# rows, and at full scale data of 26 M tokens that are looped.
SETTINGS_full_plan := batch_size=4 grad_accum=2
POINTS_full_plan := every:983040
PROBE_full_plan := 4x2048
VAL_full_plan := 32768
TEXT_full_plan := $(CACHE)/full/fineweb-84M.jsonl $(CACHE)/full/cosmopedia-36M.jsonl
SETTINGS_mini_plan := batch_size=4
POINTS_mini_plan := every:20480
PROBE_mini_plan := 4x256
VAL_mini_plan := 8192

include pipelines/study.mk
include pipelines/rules.mk
