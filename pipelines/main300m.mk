# main300m: does the rank of keys matter?  Each optimiser at its best rate, with QK-Norm and without, to 300 M tokens.
#
# Rates come from the sweep's chosen.json (sweep20m is made first when it is missing or old); CHOSEN=FILE is another.

STUDY := main300m
include pipelines/model88m.mk
COMPARED := $(CONFIGURATIONS)
CONDITIONS ?= $(COMPARED)
SEEDS ?= 42 137
ENDS := combined.json chosen.json verdict.json table.txt report.md report.html experiment_config.md $(if $(word 2,$(SEEDS)),power.json)
WITH := chosen.json
TABLES := runs rates configs headline
DATA_IN_WORDS = $(if $(DATA),$(DATA),$(if $(filter full,$(SCALE)),70 % FineWeb-Edu (dedup) and 30 % Cosmopedia v2 of the SmolLM corpus,prose of Debian packages (data/README.md)))
TOKENIZER_IN_WORDS = $(if $(filter %.h5,$(DATA)),that of $(DATA),$(if $(filter full,$(SCALE)),SmolLM2,byte-level BPE trained on the text))

END_full := 300M
POINTS_full := every:8192000,1M
MARKS_full := 1M 50M 100M 150M 200M 250M
SPECTRA_full := every:81920000

# mini: 245 steps of 4,096 tokens, points every 10 of them
END_mini := 1M
POINTS_mini := every:40960,20K
MARKS_mini := 20K 200K 400K 600K 800K
SPECTRA_mini := every:327680

END_smoke := 2560
POINTS_smoke := every:640,128
MARKS_smoke := 128 1280
SPECTRA_smoke := every:1280

include pipelines/study.mk
SCHEDULE := lr_schedule=cosine $(falling)

# ---- learning rates, read while planning: a run is trained again when its own rates change ----
CHOSEN ?= $(RUNS)/sweep20m/$(SCALE)/chosen.json
chosen_lr = $(or $(shell [ ! -e $(CHOSEN) ] || jq -r --arg c $(1) '.[$$c] // empty | .lr | to_entries[] | select(.value) | "\(.key)_lr=\(.value)"' $(CHOSEN)),lr=chosen.json:$(1))
$(foreach c,$(filter $(CONFIGURATIONS),$(CONDITIONS)),$(eval SETTINGS_$(c) := $(MODEL_$(c)) $(call chosen_lr,$(c))))

# ---- what the final checkpoints can do: items of the published test sets at full scale, else a few (data/data.mk) ----
ITEMS := $(if $(filter full,$(SCALE)),$(CACHE)/full,$(RUN_ROOT)/items)
EVALS := hellaswag lambada wikitext
EVAL_hellaswag = --task hellaswag --data $(ITEMS)/hellaswag.jsonl --shots 10 $(if $(filter full,$(SCALE)),--shots-data $(ITEMS)/hellaswag_train.jsonl)
EVAL_NEEDS_hellaswag = $(ITEMS)/hellaswag.jsonl $(if $(filter full,$(SCALE)),$(ITEMS)/hellaswag_train.jsonl)
EVAL_lambada = --task lambada --data $(ITEMS)/lambada.jsonl
EVAL_NEEDS_lambada = $(ITEMS)/lambada.jsonl
EVAL_wikitext = --task wikitext --data $(ITEMS)/wiki.test.raw
EVAL_NEEDS_wikitext = $(ITEMS)/wiki.test.raw

include pipelines/rules.mk

$(if $(filter full,$(SCALE)),,$(eval $(call few_items,$(ITEMS),$(TEXT),$(if $(filter smoke,$(SCALE)),12,100))))

# The rates that were used stay beside what they made.
$(RUN_ROOT)/chosen.json: $(CHOSEN)
	@mkdir -p $(@D)
	cp $< $@
$(CHOSEN):
	@echo "make: $@ is made by the sweep: make pipelines/sweep20m" >&2; exit 1
