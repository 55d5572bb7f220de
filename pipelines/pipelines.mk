# The studies: pipelines/NAME.mk says which files are wanted, rules.mk how each is made.  Read only when
# asked for, so that building needs none of it.

RUNS ?= runs
comma := ,
study_goals := $(filter pipelines/% $(RUNS)/% data/cache/%,$(MAKECMDGOALS))

ifneq ($(study_goals),)
ifeq ($(SCALE),)
# A card that the programs of this build can use: the driver is asked, for they may not be there yet.
CARD := $(if $(NVCC),$(shell nvidia-smi --query-gpu=compute_cap,name --format=csv,noheader 2>/dev/null | awk -F', *' '$$1 >= 8 { print $$2; exit }'))
SCALE := $(if $(CARD),full,mini)
$(info $(if $(CARD),SCALE=full: the study as published$(comma) on $(CARD); SCALE=mini is a small model that two cores train in minutes.,SCALE=mini: a small model \
that two cores train in minutes$(comma) for this build has no CUDA device to use; SCALE=full is the study as published.))
endif
include data/data.mk
include pipelines/draw.mk
include pipelines/causal50m.mk
endif

# ---- make figures RESULTS=DIR: a combined.json there, or the results.json of three conditions ----
ifneq ($(filter figures,$(MAKECMDGOALS)),)
ifeq ($(RESULTS),)
$(error make figures draws from results: RESULTS=DIR, a folder with combined.json or {QK,QK_frozen,NoQK}/results.json)
endif
OUT ?= $(RESULTS)/figures
FIGURES := 1_loss 2_key_pr_causal 3_per_layer 4_causal_decomposition 5_gamma_cv
ifeq ($(study_goals),)
include pipelines/draw.mk
endif
found := $(wildcard $(RESULTS)/combined.json)
given := $(foreach c,A:QK B:QK_frozen C:NoQK,$(addprefix $(firstword $(subst :, ,$(c)))=,$(wildcard $(RESULTS)/$(lastword $(subst :, ,$(c)))/results.json)))
$(if $(strip $(found) $(given)),,$(error make figures: no combined.json and no QK/results.json, QK_frozen/results.json or NoQK/results.json in $(RESULTS)))
$(OUT)/combined.json: $(foreach g,$(given),$(lastword $(subst =, ,$(g)))) | bin
	@mkdir -p $(@D)
	bin/qk-aggregate combine $(given) -o $@
$(eval $(call drawing,$(OUT),$(or $(found),$(OUT)/combined.json)))
.PHONY: figures
figures: $(call drawn,$(OUT))
	@printf '%s\n' $^
endif

# ---- looking after runs ----
.PHONY: health status
health:
	@pipelines/health $(RUNS)
status:
	@pipelines/status $(RUNS)
