# Mean PR of the keys against tokens, the Gaussian null above it and the pattern in words.
# gnuplot -e "data='F.dat'; out='F.png'" 2_key_pr_causal.gp
set loadpath "pipelines/figures"
load "style.gp"

stats data using 2 nooutput
top = STATS_max
ceiling = known("null") ? meta("null") + 0 : known("head_dim") ? meta("head_dim") + 0 : 0
if (ceiling > top) top = ceiling
set xlabel tokens_label
set ylabel "participation ratio of the keys (directions)"
note = "mean over layers and key heads; " . one_seed
eval title
set rmargin at screen 0.775

m = n
array end_y[m]; array end_text[m]; array end_colour[m]
do for [i = 1:n] {
    stats data index i - 1 using (value = $2) nooutput
    end_y[i] = value
    end_text[i] = sprintf("%s  %.1f", label(i), value)
    end_colour[i] = colour(number(i))
}
gap = top * 0.05
load "ends.gp"
set yrange [0:top * 1.08] # only now: `stats` sees nothing outside the range

if (ceiling > 0) {
    set arrow 1 from graph 0, first ceiling to graph 1, first ceiling nohead linestyle 10
    set label 1 sprintf(known("null") ? "Gaussian keys  %.1f" : "head dimension  %.0f", ceiling) at graph 1, first ceiling left offset 0.8, 0 textcolor rgb "#606060"
}
if (known("pattern")) {
    # two lines where one would leave the plot
    between = strlen(meta("pattern") . meta("meaning")) > 62 ? ":\n" : ": "
    set label 2 meta("pattern") . between . meta("meaning") . "\n" . meta("differences") . " (at the end)" \
        at graph 0.02, graph (between eq ": " ? 0.115 : 0.165) left boxed front textcolor rgb "#101010"
    set style textbox opaque fillcolor rgb "#f6f6f6" border rgb "#b0b0b0" margins 1.2, 1.2
}

unset key
plot for [i = 1:seeds > 1 ? n : 0] data index i - 1 using (millions($1)):3:4 with filledcurves linecolor rgb colour(number(i)), \
     for [i = 1:n] data index i - 1 using (millions($1)):2 with linespoints linestyle number(i)
