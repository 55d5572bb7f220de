# Which figures each study has, what its conditions are called in combined.json, and how figures are drawn.
#
# DIR/NAME.dat from a combined.json (or what INPUT_NAME and ALSO_NAME say), DIR/NAME.png and DIR/NAME.svg from that and figures/NAME.gp.
# gnuplot wants a UTF-8 locale for its degree sign, whatever the caller has.

STUDIES := causal50m pilot500k ablation25m sweep20m main300m

FIGURES_causal50m := 1_loss 2_key_pr_causal 3_per_layer 4_causal_decomposition 5_gamma_cv sites
KEYS_causal50m := A:QK B:QK_frozen C:NoQK D:QK_scalar

FIGURES_pilot500k := panel_a_loss panel_b_pr_trajectory panel_c_per_layer panel_d_delta sheet layer_pr_heatmap sites
KEYS_pilot500k := QK:QK NoQK:NoQK

FIGURES_ablation25m := trajectory sv_waterfall data_complexity surgery gamma_vs_svd rank_and_loss sites
KEYS_ablation25m := A1:A1 A2:A2 B1:B1 B2:B2 C1:C1 C2:C2

FIGURES_sweep20m := lr_sweep

FIGURES_main300m := val_loss mean_pr loss_vs_pr layer_pr_heatmap sv_spectra lr_sweep entropy_max_logit sites
KEYS_main300m := AdamW:AdamW AdamW_QK:AdamW_QK Muon:Muon Muon_QK:Muon_QK

# What a figure is drawn from where that is not combined.json, and what tells of its study beside it.
INPUT_surgery := surgery.json
ALSO_surgery := combined.json
INPUT_lr_sweep := chosen.json

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
