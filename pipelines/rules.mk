# How each file of a study is made.  A study (pipelines/NAME.mk) says which, in these variables and those of study.mk:
#
#   STUDY       its name                      RUN_ROOT    RUNS/NAME/SCALE
#   CONFIG      its model, JSON               SETTINGS    key=value beside the config
#   CONDITIONS  names, each with SETTINGS_name, and PACK_name where its tokens are not TOKENS_H5
#   COMPARED    those without which nothing can be judged
#   SEEDS       numbers
#   PLAN        NAME=POINT,... per checkpoint (pipelines/plan)
#   TOKENS_H5   the token pack                VAL_TOKENS  tokens per validation
#   SITE        the headline site             TRAIN_FLAGS of qk-train beside the usual ones
#   EVALS       of each final checkpoint, with EVAL_name (what qk-eval is asked) and EVAL_NEEDS_name (files);
#               EVALS_condition               those of one condition only
#
# and gets, below RUN_ROOT:
#
#   tokens.h5 tokens.txt
#   CONDITION/seed-N/   params, ckpt-TOKENS.h5, keys/, log-TOKENS.jsonl, timing-TOKENS.jsonl,
#                       log.jsonl, probe.jsonl, spectra.jsonl, eval-NAME.json, results.json
#   CONDITION/results.json   of the first seed
#   combined.json verdict.json table.txt figures/NAME.{dat,png,svg} report.md report.html
#   asked.txt           names of the files it ends with, for `make status`
#
# Tools are order-only: a rebuilt tool does not retrain.  Settings are in stamps, rewritten only when their
# text changes.  Heavy steps take a lock, so that one runs at a time with all threads, whatever -j says.

# A condition is what its settings say: one without would be trained as the config alone says.
unknown := $(strip $(foreach c,$(CONDITIONS),$(if $(strip $(SETTINGS_$(c))),,$(c))))
$(if $(unknown),$(error CONDITIONS: $(STUDY) has no $(unknown); it knows $(patsubst SETTINGS_%,%,$(filter-out SETTINGS_full% SETTINGS_mini%,$(filter SETTINGS_%,$(.VARIABLES))))))

# Some of what is compared: that much is trained and measured, and the rest can follow.
absent := $(filter-out $(CONDITIONS),$(COMPARED))
ifneq ($(absent),)
$(info CONDITIONS=$(CONDITIONS): $(STUDY) is not judged without $(absent); what is there is measured and combined)
ENDS := $(filter combined.json combined_results.json table.txt,$(ENDS)) $(if $(strip $(foreach c,$(CONDITIONS),$(SURGERY_$(c)))),surgery.json)
FIGURES_$(STUDY) :=
TABLES := conditions
WITH :=
endif

LOCK ?= $(if $(shell command -v flock),$(RUNS)/.lock)
RUN ?=
MICRO ?=
THREADS ?=
HEAVY = $(if $(LOCK),flock --no-fork $(LOCK)) $(RUN)

# CONDITION and N of a path below RUN_ROOT
below = $(subst /, ,$(patsubst $(RUN_ROOT)/%,%,$(1)))
condition_of = $(word 1,$(call below,$(1)))
condition = $(call condition_of,$@)
seed = $(patsubst seed-%,%,$(word 2,$(call below,$@)))

RUN_DIRS := $(foreach c,$(CONDITIONS),$(foreach s,$(SEEDS),$(RUN_ROOT)/$(c)/seed-$(s)))
MARKS := $(foreach p,$(PLAN),$(firstword $(subst =, ,$(p))))
LAST := $(lastword $(MARKS))
CHECKPOINTS := $(foreach d,$(RUN_DIRS),$(MARKS:%=$(d)/ckpt-%.h5))
points = $(patsubst $(1)=%,%,$(filter $(1)=%,$(PLAN)))
keys_at = $(if $(1),$(shell printf 'keys-%012d.h5 ' $(1)))
KEYS := $(call keys_at,$(foreach m,$(MARKS),$(subst $(comma), ,$(call points,$(m)))))
pack_of = $(or $(PACK_$(1)),$(TOKENS_H5))
runs_on = $(foreach d,$(RUN_DIRS),$(if $(filter $(1),$(call pack_of,$(call condition_of,$(d)))),$(d)))

# ---- what runs depend on ----
settings_of = $(SETTINGS_$(1)) seed=$(2) $(SCHEDULE) $(SETTINGS)
config_text := $(shell tr -d ' \n' <$(CONFIG))
$(foreach c,$(CONDITIONS),$(foreach s,$(SEEDS),$(eval $(call stamp,$(RUN_ROOT)/$(c)/seed-$(s)/params,$(strip $(call \
    settings_of,$(c),$(s)) points=$(POINTS) val=$(VAL_TOKENS) tokens=$(call pack_of,$(c)) $(TRAIN_FLAGS) config=$(config_text))))))
$(foreach d,$(RUN_DIRS),$(eval $(call stamp,$(d)/results.params,points=$(PLAN) site=$(SITE) spectra=$(SPECTRA))))
$(eval $(call stamp,$(RUN_ROOT)/combined.params,$(CONDITIONS) $(SEEDS)))

# ---- training: an edge from the checkpoint before, or from the config to tokens 0 ----
# Keys dumps come out of training, at the points on the way.  MICRO and THREADS cannot change the content.
$(if $(filter $(TOKENS_H5),$(RUN_ROOT)/tokens.h5),$(eval $(call pack,tokens,$(PACK),$(TEXT),$(filter %tokenizer.json,$(PACK)))))
before = $(filter $(@D)/ckpt-%.h5,$^)
$(CHECKPOINTS): mark = $(patsubst ckpt-%.h5,%,$(@F))
$(CHECKPOINTS): | bin
	$(HEAVY) bin/qk-train $(if $(before),--from $(before),--config $(CONFIG) $(addprefix --set ,$(call \
	    settings_of,$(condition),$(seed)))) --data $(call pack_of,$(condition)) --until $(shell printf %.0f $(mark)) \
	    $(if $(call points,$(mark)),--keys-at $(call points,$(mark)) --keys-dir $(@D)/keys --val-at $(call points,$(mark)) --val-tokens $(VAL_TOKENS)) \
	    --log $(@D)/log-$(mark).jsonl --timing $(@D)/timing-$(mark).jsonl $(TRAIN_FLAGS) \
	    $(if $(MICRO),--micro-batch $(MICRO)) $(if $(THREADS),--threads $(THREADS)) -o $@

define edge_from
$(RUN_DIRS:%=%/ckpt-$(2).h5): %/ckpt-$(2).h5: %/ckpt-$(1).h5
endef
$(foreach i,$(wordlist 2,$(words $(MARKS)),$(shell seq $(words $(MARKS)))),$(eval $(call \
    edge_from,$(word $(shell expr $(i) - 1),$(MARKS)),$(word $(i),$(MARKS)))))
$(foreach d,$(RUN_DIRS),$(eval $(MARKS:%=$(d)/ckpt-%.h5): $(call pack_of,$(call condition_of,$(d))) $(d)/params))
# Interrupted, they stay; measured, they may be deleted to save space: nothing is retrained for that alone.
.PRECIOUS: $(CHECKPOINTS)
.SECONDARY: $(CHECKPOINTS)

# ---- measuring: keys without their singular values, and with them at the points of SPECTRA ----
spectra_points := $(if $(filter-out all,$(SPECTRA)),$(shell pipelines/plan $(STEP) $(SPECTRA) $(END) | sed 's/.*=//; y/,/ /'))
KEYS_SPECTRA := $(filter $(if $(filter all,$(SPECTRA)),%,$(call keys_at,$(spectra_points))),$(KEYS))
KEYS_PLAIN := $(filter-out $(KEYS_SPECTRA),$(KEYS))
measured := $(if $(KEYS_PLAIN),probe) $(if $(KEYS_SPECTRA),spectra)
no_dump = { echo "make: keys dumps are written while training goes by: to have them again remove $(1)/ckpt-*.h5 and train, or measure \
	a checkpoint itself: bin/qk-probe $(1)/ckpt-$(LAST).h5" >&2; exit 1; }
evals_of = $(EVALS) $(EVALS_$(1))
# $(call run_files,DIR,CONDITION)
define run_files
$(1)/log.jsonl: $(MARKS:%=$(1)/ckpt-%.h5) $(1)/results.params
	cat $(MARKS:%=$(1)/log-%.jsonl) >$$@
$(measured:%=$(1)/%.jsonl): $(MARKS:%=$(1)/ckpt-%.h5) $(1)/results.params | bin
$(1)/probe.jsonl:
	$$(HEAVY) bin/qk-probe --of k,q,qk $(KEYS_PLAIN:%=$(1)/keys/%) -o $$@ || $$(call no_dump,$(1))
$(1)/spectra.jsonl:
	$$(HEAVY) bin/qk-probe --of k,q,qk --spectra $(KEYS_SPECTRA:%=$(1)/keys/%) -o $$@ || $$(call no_dump,$(1))
$(foreach e,$(call evals_of,$(2)),$(eval $(call eval_file,$(1),$(2),$(e))))
$(1)/results.json: $(measured:%=$(1)/%.jsonl) $(1)/log.jsonl $(foreach e,$(call evals_of,$(2)),$(1)/eval-$(e).json) | bin
	bin/qk-aggregate results --tag $(2) --site $(SITE) $(measured:%=--probe $(1)/%.jsonl) --log $(1)/log.jsonl \
	    $(foreach e,$(call evals_of,$(2)),--eval $(e)=$(1)/eval-$(e).json) -o $$@
endef
# $(call eval_file,DIR,CONDITION,NAME); EVAL_NAME and EVAL_NEEDS_NAME are functions of the condition
define eval_file
$(call stamp,$(1)/eval-$(3).params,$(call EVAL_$(3),$(2)))
$(1)/eval-$(3).json: $(1)/ckpt-$(LAST).h5 $(call EVAL_NEEDS_$(3),$(2)) $(1)/eval-$(3).params | bin
	$$(HEAVY) bin/qk-eval $(call EVAL_$(3),$(2)) $$< -o $$@
endef
$(foreach d,$(RUN_DIRS),$(eval $(call run_files,$(d),$(call condition_of,$(d)))))

FIRST_RESULTS := $(if $(filter combined.json,$(ENDS)),$(CONDITIONS:%=$(RUN_ROOT)/%/results.json))
$(FIRST_RESULTS): $(RUN_ROOT)/%/results.json: $(RUN_ROOT)/%/seed-$(firstword $(SEEDS))/results.json
	cp $< $@

$(RUN_ROOT)/combined.json: $(RUN_DIRS:%=%/results.json) $(RUN_ROOT)/combined.params | bin
	bin/qk-aggregate combine $(foreach c,$(CONDITIONS),$(patsubst %,$(call key,$(STUDY),$(c))=$(RUN_ROOT)/$(c)/seed-%/results.json,$(SEEDS))) \
	    --timing $(foreach d,$(RUN_DIRS),$(MARKS:%=$(d)/timing-%.jsonl)) -o $@

# ---- judging: JUDGED (combined.json, or what a study says) and WITH=FILE beside it, by its verdict's rules; TABLES for people ----
JUDGED ?= combined.json
WITH_FILES := $(addprefix $(RUN_ROOT)/,$(WITH))
with := $(foreach w,$(WITH),--$(basename $(w)) $(RUN_ROOT)/$(w))
TABLES ?= conditions
$(RUN_ROOT)/verdict.json: $(RUN_ROOT)/$(JUDGED) $(WITH_FILES) | bin
	bin/qk-aggregate verdict --study $(STUDY) $(with) $< -o $@

$(RUN_ROOT)/table.txt: $(RUN_ROOT)/$(JUDGED) $(WITH_FILES) | bin
	{ $(foreach t,$(TABLES),bin/qk-aggregate table --study $(STUDY) --of $(t) $(with) $<; $(if $(filter $(t),$(lastword $(TABLES))),,echo;)) } >$@.tmp && mv $@.tmp $@

# Every setting, in words and numbers; the seeds that a difference of one PR would need.
$(RUN_ROOT)/experiment_config.md: $(RUN_ROOT)/combined.json | bin
	bin/qk-aggregate experiment-config --title "$(STUDY), SCALE=$(SCALE): experiment configuration" --data "$(DATA_IN_WORDS)" --tokenizer "$(TOKENIZER_IN_WORDS)" $< -o $@
$(RUN_ROOT)/power.json: $(RUN_ROOT)/combined.json | bin
	bin/qk-aggregate power $< -o $@

# ---- drawing (pipelines/figures.mk) and reporting ----
FIGURES := $(FIGURES_$(STUDY))
DRAWN := $(call drawn,$(RUN_ROOT)/figures,$(FIGURES))
drawn_from = $(addprefix $(RUN_ROOT)/,$(or $(INPUT_$(1)),combined.json) $(ALSO_$(1)))
$(eval $(call drawing,$(RUN_ROOT)/figures,$(FIGURES),drawn_from))

# A report that claims without number or figure is no report.
$(RUN_ROOT)/report.md $(RUN_ROOT)/report.html: $(RUN_ROOT)/report.%: $(RUN_ROOT)/verdict.json $(RUN_ROOT)/$(JUDGED) $(WITH_FILES) $(DRAWN) | bin
	bin/qk-aggregate report --study $(STUDY) $(if $(filter chosen.json,$(JUDGED)),--chosen,--combined) $(RUN_ROOT)/$(JUDGED) $(with) --verdict $< \
	    --figures $(RUN_ROOT)/figures $(if $(PUBLISHED),--published) --format $* -o $@
	$(if $(filter md,$*),bin/qk-aggregate lint $@)

# ---- what a study ends with ----
ENDINGS := $(DRAWN) $(ENDS:%=$(RUN_ROOT)/%)
$(eval $(call stamp,$(RUN_ROOT)/asked.txt,$(strip $(patsubst $(RUN_ROOT)/%,%,$(CHECKPOINTS) $(RUN_DIRS:%=%/results.json) $(ENDINGS)))))
ended = $(filter $(RUN_ROOT)/$(1),$(ENDINGS))
.PHONY: $(RUN_ROOT)/show pipelines/$(STUDY)
pipelines/$(STUDY): $(RUN_ROOT)/show
$(RUN_ROOT)/show: $(RUN_ROOT)/asked.txt $(ENDINGS) $(FIRST_RESULTS)
	@echo$(if $(call ended,verdict.json),; jq -r '"Verdict: " + .sentence' $(call ended,verdict.json))$(if $(call ended,table.txt),; echo; cat $(call \
	    ended,table.txt)); echo; echo "$(if $(call ended,report.html),Report: $(call ended,report.html) and report.md,Results: $(firstword $(ENDS:%=$(RUN_ROOT)/%)) and $(words $(FIGURES)) figures)"
