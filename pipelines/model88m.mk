# What the fair comparison of optimisers has in common, in its sweep of learning rates (sweep20m) and its long runs
# (main300m): four conditions of one model, one way of packing one text, so that split `select`, by which rates are
# chosen, is never reported, and a rate that warms up over 2 % of the tokens and falls as a cosine.

CONFIGURATIONS := AdamW AdamW_QK Muon Muon_QK
MODEL_AdamW := optimizer=adamw qk_norm=none
MODEL_AdamW_QK := optimizer=adamw qk_norm=learned
MODEL_Muon := optimizer=muon+adamw qk_norm=none
MODEL_Muon_QK := optimizer=muon+adamw qk_norm=learned
SITE := post_rope

PROBE_full := 8x2048
VAL_full := 5M
SELECT_full := 5M
TEST_full := 1M
PACK_full := --tokenizer $(CACHE)/full/tokenizer.json
# 70 % and 30 % of 1.5 GB: some 325 M tokens
TEXT_full := $(CACHE)/full/fineweb-1050M.jsonl $(CACHE)/full/cosmopedia-450M.jsonl

PROBE_mini := 8x256
VAL_mini := 32K
SELECT_mini := 64K
TEST_mini := 16K
PACK_mini := --train-bpe 4096
TEXT_mini := $(CACHE)/mini/plain.txt $(CACHE)/mini/technical.txt

PROBE_smoke := 4x32
VAL_smoke := 512
SELECT_smoke := 512
TEST_smoke := 512
PACK_smoke := --train-bpe 384
TEXT_smoke := $(TEXT_mini)
