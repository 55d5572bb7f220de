# The studies: pipelines/NAME.mk says which files are wanted, rules.mk how each is made.  Read only when
# asked for, so that building needs none of it.  A study has a make of its own: several are made one after another.

RUNS ?= runs
comma := ,
study_goals := $(filter pipelines/% $(RUNS)/% data/cache/%,$(MAKECMDGOALS))

ifneq ($(study_goals)$(filter figures status,$(MAKECMDGOALS)),)
include pipelines/figures.mk
endif

ifneq ($(study_goals),)
ifeq ($(SCALE),)
# A card that the programs of this build can use: the driver is asked, for they may not be there yet.
CARD := $(if $(NVCC),$(shell nvidia-smi --query-gpu=compute_cap,name --format=csv,noheader 2>/dev/null | awk -F', *' '$$1 >= 8 { print $$2; exit }'))
SCALE := $(if $(CARD),full,mini)
$(info $(if $(CARD),SCALE=full: the study as published$(comma) on $(CARD); SCALE=mini is a small model that two cores train in minutes.,SCALE=mini: a small model \
that two cores train in minutes$(comma) for this build has no CUDA device to use; SCALE=full is the study as published.))
endif
include data/data.mk

# pipelines/NAME or RUNS/NAME/... -> NAME
study_of = $(filter $(STUDIES),$(firstword $(subst /, ,$(patsubst pipelines/%,%,$(patsubst $(RUNS)/%,%,$(1))))))
asked := $(filter $(if $(filter pipelines/all,$(study_goals)),%,$(foreach g,$(study_goals),$(call study_of,$(g)))),$(STUDIES))
# Before this study, in a make before its own: what it reads when it is planned.
FIRST_main300m = sweep20m:$(RUNS)/sweep20m/$(SCALE)/chosen.json

ifneq ($(and $(filter 1,$(words $(asked))),$(if $(FIRST_$(asked)),$(filter $(asked),$(ONE_STUDY)),$(asked))),)
include pipelines/$(asked).mk
else ifneq ($(asked),)
goals_of = $(if $(filter pipelines/all,$(study_goals)),pipelines/$(1),$(foreach g,$(study_goals),$(if $(call study_of,$(g)),$(if $(filter $(1),$(call study_of,$(g))),$(g)))))
define newline


endef
one_study = +@$(MAKE) --no-print-directory SCALE=$(SCALE) ONE_STUDY=$(1) $(2)$(newline)
.PHONY: studies $(filter-out data/cache/%,$(study_goals))
$(filter-out data/cache/%,$(study_goals)): studies ;
studies: | bin
	$(foreach s,$(asked),$(foreach f,$(FIRST_$(s)),$(call \
	    one_study,$(firstword $(subst :, ,$(f))),$(lastword $(subst :, ,$(f)))))$(call one_study,$(s),$(call goals_of,$(s))))
endif
endif

# ---- make figures RESULTS=DIR: a combined.json there (chosen.json, surgery.json), or CONDITION/results.json of a study's conditions ----
ifneq ($(filter figures,$(MAKECMDGOALS)),)
ifeq ($(RESULTS),)
$(error make figures draws from results: RESULTS=DIR, a folder with combined.json or CONDITION/results.json, such as {QK,QK_frozen,NoQK}/results.json)
endif
OUT ?= $(RESULTS)/figures
there = $(wildcard $(addprefix $(RESULTS)/,$(1)))
# Whose results: as the folder's own path says, or by the conditions that are there.
guessed := $(or $(filter $(STUDIES),$(subst /, ,$(abspath $(RESULTS)))),$(shell pipelines/whose $(RESULTS)))
RESULTS_OF := $(or $(STUDY),$(lastword $(guessed)))
$(if $(RESULTS_OF),,$(error make figures: no combined.json and no CONDITION/results.json in $(RESULTS)))
given := $(foreach k,$(KEYS_$(RESULTS_OF)),$(addprefix $(firstword $(subst :, ,$(k)))=,$(call there,$(lastword $(subst :, ,$(k)))/results.json)))
$(OUT)/combined.json: $(foreach g,$(given),$(lastword $(subst =, ,$(g)))) | bin
	@mkdir -p $(@D)
	bin/qk-aggregate combine $(given) -o $@
redrawn_from = $(or $(if $(call there,$(or $(INPUT_$(1)),combined.json)),$(call there,$(or $(INPUT_$(1)),combined.json) $(ALSO_$(1)))),$(if $(filter-out combined.json,$(INPUT_$(1))),,$(OUT)/combined.json))
FIGURES_THERE := $(foreach f,$(FIGURES_$(RESULTS_OF)),$(if $(call redrawn_from,$(f)),$(f)))
$(eval $(call drawing,$(OUT),$(FIGURES_THERE),redrawn_from))
.PHONY: figures
figures: $(call drawn,$(OUT),$(FIGURES_THERE))
	@printf '%s\n' $^
endif

# ---- looking after runs ----
.PHONY: health status
health:
	@pipelines/health $(RUNS)
status:
	@pipelines/status $(RUNS) $(STUDIES)
