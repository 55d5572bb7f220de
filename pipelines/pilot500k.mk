# pilot500k: the first look.  Do keys lose rank with QK-Norm and without it, in the first half million tokens?
#
# The largest model, a few steps, keys after RoPE, as the original's first study had it.

STUDY := pilot500k
COMPARED := QK NoQK
CONDITIONS ?= $(COMPARED)
SETTINGS_QK := qk_norm=learned
SETTINGS_NoQK := qk_norm=none
SEEDS ?= 42
SITE := post_rope
ENDS := combined.json combined_results.json verdict.json table.txt report.md report.html
TABLES := conditions contrasts

END_full := 500K
POINTS_full := every:102400
PROBE_full := 4x2048
VAL_full := 32768
PACK_full := --tokenizer $(CACHE)/full/tokenizer.json --no-eot
TEXT_full := $(CACHE)/full/fineweb-7M.jsonl $(CACHE)/full/cosmopedia-3M.jsonl

# mini: 98 steps of 2,048 tokens
END_mini := 200K
POINTS_mini := every:40960
PROBE_mini := 4x256
VAL_mini := 8192
PACK_mini := --train-bpe 4096 --no-eot
TEXT_mini := $(CACHE)/mini/plain.txt $(CACHE)/mini/technical.txt

END_smoke := 2560
POINTS_smoke := every:640
PROBE_smoke := 4x32
VAL_smoke := 512
PACK_smoke := --train-bpe 384 --no-eot
TEXT_smoke := $(TEXT_mini)

include pipelines/study.mk
include pipelines/rules.mk

# The original's file of both runs, under its names.
$(RUN_ROOT)/combined_results.json: $(RUN_ROOT)/combined.json
	jq '{qk_norm: .QK, no_qk_norm: .NoQK} | map_values(select(. != null) | .train_loss = .loss)' $< >$@.tmp && mv $@.tmp $@
