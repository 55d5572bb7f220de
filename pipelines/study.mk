# What every study derives from its tables (pipelines/NAME.mk), before the rules (rules.mk):
#
#   END POINTS MARKS PROBE VAL PACK TEXT, each _full, _mini, _smoke, and for a VARIANT also _full_VARIANT;
#   SETTINGS likewise and optional        VARIANTS    names of them
#   and so SELECT, TEST  tokens of those splits;  VAL_AT  of split val, where validations take less than all of it;
#   ONCE        yes: no token is to be seen twice, and it is said where the text does not last
#   SPECTRA     points whose singular values are kept: all, or POINTS for pipelines/plan
#
# TOKENS= is the end instead of END.  DATA=FILE.h5 is the pack as it is, other DATA is text in place of ours.

scales := full mini smoke
$(if $(filter $(SCALE),$(scales)),,$(error SCALE=$(SCALE): $(STUDY) knows $(scales)))
$(if $(filter-out $(VARIANTS),$(VARIANT)),$(error VARIANT=$(VARIANT): $(STUDY) knows $(or $(VARIANTS),none)))
variant := $(if $(VARIANT),_$(VARIANT))
pick = $(or $($(1)_$(SCALE)$(variant)),$($(1)_$(SCALE)))

RUN_ROOT := $(RUNS)/$(STUDY)/$(SCALE)$(if $(VARIANT),-$(VARIANT))
CONFIG := pipelines/$(STUDY)/$(SCALE).json
SETTINGS := $(call pick,SETTINGS)
POINTS := $(call pick,POINTS)
VAL_TOKENS := $(or $(call pick,VAL_AT),$(call pick,VAL))
SPECTRA := $(call pick,SPECTRA)
PROBE := $(call pick,PROBE)
END := $(or $(TOKENS),$(call pick,END))

# Tokens per optimiser step: the config's numbers, unless a setting says otherwise.
number = $(or $(patsubst $(1)=%,%,$(filter $(1)=%,$(SETTINGS))),$(shell sed -n 's/.*"$(1)": *\([0-9]*\).*/\1/p' $(CONFIG)))
SEQ_LEN := $(call number,seq_len)
STEP := $(shell expr $(call number,batch_size) \* $(call number,grad_accum) \* $(SEQ_LEN))
PLAN := $(shell pipelines/plan $(STEP) $(POINTS) $(END) $(call pick,MARKS))
$(if $(PLAN),,$(error TOKENS=$(TOKENS): a number of tokens, as 500K or 50M))

END_TOKENS := $(shell numfmt --from=si $(END))

# A rate that falls needs to know the end: this many tokens, 2 % of them for warming up.
falling := $(shell awk 'BEGIN { printf "train_tokens=%.0f warmup_tokens=%.0f", $(END_TOKENS), $(END_TOKENS) / 50 }')

# ---- stamps: compared while reading, so that `make -n` changes nothing; $(call stamp,FILE,TEXT) ----
# New settings cannot go on from what was begun under the old ones: params takes the .partial away.
# strip: GNU Make 4.3 may leave the newline of a long file.
same = $(and $(findstring <$(1)>,<$(2)>),$(findstring <$(2)>,<$(1)>))
define stamp
$(1): text := $(2)
$(1): $(if $(call same,$(strip $(file <$(1))),$(strip $(2))),,FORCE)
	@mkdir -p $$(@D) $(if $(filter %/params,$(1)),&& rm -f $$(@D)/*.partial )&& printf '%s\n' '$$(text)' >$$@
endef
.PHONY: FORCE

# ---- the token packs ----
# $(call pack,NAME,FLAGS,TEXT,what else it needs): RUN_ROOT/NAME.h5, and NAME.txt with what qk-tokpack tells of it.
# New tokens cannot be gone on with: what was begun on old ones is taken away.
once = @awk -v need=$(END_TOKENS) '$$1 == "train" && $$2 < need { print "make: $@: runs of " need " tokens see its " $$2 " more than once" }' $(@:.h5=.txt) >&2
define pack
$(call stamp,$(RUN_ROOT)/$(1).params,$(2) $(3))
$(RUN_ROOT)/$(1).h5: $(3) $(4) $(RUN_ROOT)/$(1).params | bin
	rm -f $$(patsubst %,%/*.partial,$$(call runs_on,$$@))
	$$(HEAVY) bin/qk-tokpack $(2) $(3) -o $$@ | tee $$(@:.h5=.txt)
	$(if $(ONCE),$$(once))
endef
# A window more than the tokens asked for, for the last target.
split_of = $(1)=$(shell expr $$(numfmt --from=si $(2)) + $(SEQ_LEN))

TOKENS_H5 := $(if $(filter %.h5,$(DATA)),$(DATA),$(RUN_ROOT)/tokens.h5)
TEXT := $(or $(DATA),$(call pick,TEXT))
space := $(subst ,, )
asked_split = $(if $(call pick,$(2)),$(call split_of,$(1),$(call pick,$(2))))
splits := $(subst $(space),$(comma),$(strip $(call asked_split,val,VAL) $(call asked_split,select,SELECT) $(call asked_split,test,TEST)))
PACK := $(call pick,PACK) --split $(splits) --probe $(PROBE)
