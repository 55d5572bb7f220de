# Which figures each study has, what its conditions are called in combined.json, and how figures are drawn.
#
# DIR/NAME.dat from a combined.json (or what INPUT_NAME says), DIR/NAME.png and DIR/NAME.svg from that and figures/NAME.gp.
# gnuplot wants a UTF-8 locale for its degree sign, whatever the caller has.

STUDIES := causal50m pilot500k ablation25m sweep20m main300m

FIGURES_causal50m := 1_loss 2_key_pr_causal 3_per_layer 4_causal_decomposition 5_gamma_cv
KEYS_causal50m := A:QK B:QK_frozen C:NoQK D:QK_scalar

FIGURES_pilot500k :=
KEYS_pilot500k := QK:QK NoQK:NoQK

# The key of a condition in combined.json.  $(call key,STUDY,CONDITION)
key = $(or $(patsubst %:$(2),%,$(filter %:$(2),$(KEYS_$(1)))),$(2))

drawn = $(foreach f,$(2),$(1)/$(f).png $(1)/$(f).svg)
draw = LC_ALL=C.UTF-8 gnuplot -e "data='$<'; out='$@.tmp$(suffix $@)'" $(word 2,$^) && mv $@.tmp$(suffix $@) $@

# $(call drawing,DIR,FIGURES,INPUT): INPUT is a function of the figure's name
define drawing
$(foreach f,$(2),$(eval $(1)/$(f).dat: $(call $(3),$(f))))
$(2:%=$(1)/%.dat): $(1)/%.dat: | bin
	@mkdir -p $$(@D)
	bin/qk-plotdata $$* $$^ -o $$@
$(2:%=$(1)/%.png): $(1)/%.png: $(1)/%.dat pipelines/figures/%.gp
	$$(draw)
$(2:%=$(1)/%.svg): $(1)/%.svg: $(1)/%.dat pipelines/figures/%.gp
	$$(draw)
endef
