# How each file of a study is made.  A study (pipelines/NAME.mk) says which, in these variables:
#
#   STUDY       its name                      RUN_ROOT    RUNS/NAME/SCALE
#   CONFIG      its model, JSON               SETTINGS    key=value beside the config
#   CONDITIONS  names, with QK_NORM_name and LETTER_name  SEEDS  numbers
#   PLAN        NAME=POINT,... per checkpoint (pipelines/plan)
#   TOKENS_H5   the token pack                VAL_TOKENS  tokens per validation
#   SITE        the headline site             FIGURES     names of pipelines/figures/NAME.gp
#
# and gets, below RUN_ROOT:
#
#   tokens.h5
#   CONDITION/seed-N/   params, ckpt-TOKENS.h5, keys/, log-TOKENS.jsonl, timing-TOKENS.jsonl,
#                       log.jsonl, probe.jsonl, results.json
#   CONDITION/results.json   of the first seed
#   combined.json verdict.json table.txt figures/NAME.{dat,png,svg} report.md report.html
#
# Tools are order-only: a rebuilt tool does not retrain.  Settings are in stamps, rewritten only when their
# text changes.  Heavy steps take a lock, so that one runs at a time with all threads, whatever -j says.

LOCK ?= $(if $(shell command -v flock),$(RUNS)/.lock)
RUN ?=
MICRO ?=
THREADS ?=
HEAVY = $(if $(LOCK),flock --no-fork $(LOCK)) $(RUN)

# CONDITION and N of a path below RUN_ROOT
below = $(subst /, ,$(patsubst $(RUN_ROOT)/%,%,$(1)))
condition = $(word 1,$(call below,$@))
seed = $(patsubst seed-%,%,$(word 2,$(call below,$@)))

RUN_DIRS := $(foreach c,$(CONDITIONS),$(foreach s,$(SEEDS),$(RUN_ROOT)/$(c)/seed-$(s)))
MARKS := $(foreach p,$(PLAN),$(firstword $(subst =, ,$(p))))
CHECKPOINTS := $(foreach d,$(RUN_DIRS),$(MARKS:%=$(d)/ckpt-%.h5))
points = $(lastword $(subst =, ,$(filter $(1)=%,$(PLAN))))
KEYS := $(shell printf 'keys-%012d.h5 ' $(foreach m,$(MARKS),$(subst $(comma), ,$(call points,$(m)))))

# ---- stamps: compared while reading, so that `make -n` changes nothing; $(call stamp,FILE,TEXT) ----
# New settings cannot go on from what was begun under the old ones: params takes the .partial away.
same = $(and $(findstring <$(1)>,<$(2)>),$(findstring <$(2)>,<$(1)>))
define stamp
$(1): text := $(2)
$(1): $(if $(call same,$(file <$(1)),$(2)),,FORCE)
STAMPS += $(1)
endef
STAMPS :=
settings_of = qk_norm=$(QK_NORM_$(1)) seed=$(2) $(SETTINGS)
config_text := $(shell tr -d ' \n' <$(CONFIG))
$(foreach c,$(CONDITIONS),$(foreach s,$(SEEDS),$(eval $(call stamp,$(RUN_ROOT)/$(c)/seed-$(s)/params,$(call \
    settings_of,$(c),$(s)) every=$(EVERY) val=$(VAL_TOKENS) tokens=$(TOKENS_H5) config=$(config_text)))))
$(foreach d,$(RUN_DIRS),$(eval $(call stamp,$(d)/results.params,points=$(PLAN) site=$(SITE))))
$(eval $(call stamp,$(RUN_ROOT)/combined.params,$(CONDITIONS) $(SEEDS)))

.PHONY: FORCE
$(STAMPS):
	@mkdir -p $(@D) $(if $(filter %/params,$@),&& rm -f $(@D)/*.partial )&& printf '%s\n' '$(text)' >$@

# ---- training: an edge from the checkpoint before, or from the config to tokens 0 ----
# Keys dumps come out of training, at the points on the way.  MICRO and THREADS cannot change the content.
before = $(filter $(@D)/ckpt-%.h5,$^)
$(CHECKPOINTS): mark = $(patsubst ckpt-%.h5,%,$(@F))
$(CHECKPOINTS): $(TOKENS_H5) | bin
	$(HEAVY) bin/qk-train $(if $(before),--from $(before),--config $(CONFIG) $(addprefix --set ,$(call \
	    settings_of,$(condition),$(seed)))) --data $(TOKENS_H5) --until $(shell printf %.0f $(mark)) \
	    --keys-at $(call points,$(mark)) --keys-dir $(@D)/keys --val-at $(call points,$(mark)) --val-tokens $(VAL_TOKENS) \
	    --log $(@D)/log-$(mark).jsonl --timing $(@D)/timing-$(mark).jsonl \
	    $(if $(MICRO),--micro-batch $(MICRO)) $(if $(THREADS),--threads $(THREADS)) -o $@

define edge_from
$(RUN_DIRS:%=%/ckpt-$(2).h5): %/ckpt-$(2).h5: %/ckpt-$(1).h5
endef
$(foreach i,$(wordlist 2,$(words $(MARKS)),$(shell seq $(words $(MARKS)))),$(eval $(call \
    edge_from,$(word $(shell expr $(i) - 1),$(MARKS)),$(word $(i),$(MARKS)))))
$(foreach d,$(RUN_DIRS),$(eval $(MARKS:%=$(d)/ckpt-%.h5): $(d)/params))
# Interrupted, they stay; measured, they may be deleted to save space: nothing is retrained for that alone.
.PRECIOUS: $(CHECKPOINTS)
.SECONDARY: $(CHECKPOINTS)

# ---- measuring ----
define run_files
$(1)/log.jsonl: $(MARKS:%=$(1)/ckpt-%.h5) $(1)/results.params
	cat $(MARKS:%=$(1)/log-%.jsonl) >$$@
$(1)/probe.jsonl: $(MARKS:%=$(1)/ckpt-%.h5) $(1)/results.params | bin
	$(HEAVY) bin/qk-probe --of k,q,qk $(KEYS:%=$(1)/keys/%) -o $$@ || { echo "make: keys dumps are written while training goes by: to have them \
	again remove $(1)/ckpt-*.h5 and train, or measure a checkpoint itself: bin/qk-probe $(1)/ckpt-$(lastword $(MARKS)).h5" >&2; exit 1; }
$(1)/results.json: $(1)/probe.jsonl $(1)/log.jsonl | bin
	bin/qk-aggregate results --tag $$(condition) --site $(SITE) --probe $(1)/probe.jsonl --log $(1)/log.jsonl -o $$@
endef
$(foreach d,$(RUN_DIRS),$(eval $(call run_files,$(d))))

FIRST_RESULTS := $(CONDITIONS:%=$(RUN_ROOT)/%/results.json)
$(FIRST_RESULTS): $(RUN_ROOT)/%/results.json: $(RUN_ROOT)/%/seed-$(firstword $(SEEDS))/results.json
	cp $< $@

$(RUN_ROOT)/combined.json: $(RUN_DIRS:%=%/results.json) $(RUN_ROOT)/combined.params | bin
	bin/qk-aggregate combine $(foreach c,$(CONDITIONS),$(patsubst %,$(LETTER_$(c))=$(RUN_ROOT)/$(c)/seed-%/results.json,$(SEEDS))) \
	    --timing $(foreach d,$(RUN_DIRS),$(MARKS:%=$(d)/timing-%.jsonl)) -o $@

$(RUN_ROOT)/verdict.json: $(RUN_ROOT)/combined.json | bin
	bin/qk-aggregate verdict --study $(STUDY) $< -o $@

$(RUN_ROOT)/table.txt: $(RUN_ROOT)/combined.json | bin
	bin/qk-aggregate table --study $(STUDY) $< >$@.tmp && mv $@.tmp $@

# ---- drawing (pipelines/draw.mk) and reporting ----
DRAWN := $(call drawn,$(RUN_ROOT)/figures)
$(eval $(call drawing,$(RUN_ROOT)/figures,$(RUN_ROOT)/combined.json))

$(RUN_ROOT)/report.md $(RUN_ROOT)/report.html: $(RUN_ROOT)/report.%: $(RUN_ROOT)/combined.json $(RUN_ROOT)/verdict.json $(DRAWN) | bin
	bin/qk-aggregate report --study $(STUDY) --combined $< --verdict $(word 2,$^) --figures $(RUN_ROOT)/figures --published --format $* -o $@

# What a study ends with.
.PHONY: $(RUN_ROOT)/show
$(RUN_ROOT)/show: $(RUN_ROOT)/verdict.json $(RUN_ROOT)/table.txt $(RUN_ROOT)/report.md $(RUN_ROOT)/report.html $(FIRST_RESULTS)
	@echo; jq -r '"Verdict: " + .sentence' $<; echo; cat $(word 2,$^); echo; echo "Report: $(RUN_ROOT)/report.html and report.md"
