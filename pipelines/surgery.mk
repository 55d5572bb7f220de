# Cutting directions out of the keys of final checkpoints, and what that costs: FRACTIONS of the directions, by the
# methods SURGERY_condition, random ones DRAWS times.  The cut is calibrated on split val, its loss is of split test.
#
#   RUN_ROOT/surgery/CONDITION/0.json, METHOD/FRACTION-DRAW.json      surgery.json
#
# A cut checkpoint lives only until it is evaluated.

SURGERY_RUNS := $(foreach c,$(CONDITIONS),$(if $(SURGERY_$(c)),$(c)))
draws_of = $(if $(filter random%,$(1)),$(DRAWS),1)
# $(call cuts,CONDITION): METHOD/FRACTION-DRAW
cuts = $(foreach m,$(SURGERY_$(1)),$(foreach f,$(FRACTIONS),$(foreach d,$(call draws_of,$(m)),$(m)/$(f)-$(d))))
cut = $(subst -, ,$(notdir $*))

# $(call surgery,CONDITION,FINAL CHECKPOINT,PACK)
define surgery
$(RUN_ROOT)/surgery/$(1)/0.json: $(2) $(3) | bin
	@mkdir -p $$(@D)
	$$(HEAVY) bin/qk-eval --task loss --data $(3) --split test $(2) -o $$@
$(patsubst %,$(RUN_ROOT)/surgery/$(1)/%.json,$(call cuts,$(1))): $(RUN_ROOT)/surgery/$(1)/%.json: $(2) $(3) | bin
	@mkdir -p $$(@D)
	$$(HEAVY) bin/qk-prune -q $(2) --by $$(patsubst %/,%,$$(dir $$*)) --fraction $$(word 1,$$(cut)) --seed $$(word 2,$$(cut)) \
	    --calib $(3):val -o $$(@:.json=.h5)
	$$(HEAVY) bin/qk-eval -q --task loss --data $(3) --split test $$(@:.json=.h5) -o $$@
	@rm $$(@:.json=.h5)
SURGERY_EVALS += $(addprefix $(1)=$(RUN_ROOT)/surgery/$(1)/,0.json $(patsubst %,%.json,$(call cuts,$(1))))
endef
SURGERY_EVALS :=
$(foreach c,$(SURGERY_RUNS),$(eval $(call surgery,$(c),$(RUN_ROOT)/$(c)/seed-$(firstword $(SEEDS))/ckpt-$(LAST).h5,$(call pack_of,$(c)))))

$(eval $(call stamp,$(RUN_ROOT)/surgery.params,$(foreach c,$(SURGERY_RUNS),$(c): $(SURGERY_$(c))) fractions: $(FRACTIONS) draws: $(DRAWS)))
$(RUN_ROOT)/surgery.json: $(foreach e,$(SURGERY_EVALS),$(lastword $(subst =, ,$(e)))) $(RUN_ROOT)/surgery.params | bin
	bin/qk-aggregate surgery $(SURGERY_EVALS) -o $@
