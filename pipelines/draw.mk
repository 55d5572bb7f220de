# Figures: DIR/NAME.dat from a combined.json, DIR/NAME.png and DIR/NAME.svg from that and figures/NAME.gp.
# gnuplot wants a UTF-8 locale for its degree sign, whatever the caller has.

drawn = $(foreach f,$(FIGURES),$(1)/$(f).png $(1)/$(f).svg)
draw = LC_ALL=C.UTF-8 gnuplot -e "data='$<'; out='$@.tmp$(suffix $@)'" $(word 2,$^) && mv $@.tmp$(suffix $@) $@

# $(call drawing,DIR,COMBINED)
define drawing
$(FIGURES:%=$(1)/%.dat): $(1)/%.dat: $(2) | bin
	@mkdir -p $$(@D)
	bin/qk-plotdata $$* $$< -o $$@
$(FIGURES:%=$(1)/%.png): $(1)/%.png: $(1)/%.dat pipelines/figures/%.gp
	$$(draw)
$(FIGURES:%=$(1)/%.svg): $(1)/%.svg: $(1)/%.dat pipelines/figures/%.gp
	$$(draw)
endef
