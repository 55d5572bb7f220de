# Singular values of the keys relative to the largest, at the end, of the first, middle and last layer.
# gnuplot -e "data='F.dat'; out='F.png'" sv_spectra.gp
set loadpath "pipelines/figures"
width = 2000
height = 900
load "style.gp"
panels = words(meta("chosen"))
columns = panels; rows = 1; top_edge = 0.74; bottom_edge = 0.16; gap_x = 0.065; left_edge = 0.08; right_edge = 0.985
low = 1e300; high = -1e300
first_block = 0; last_block = panels * n - 1; cols = "2 3 5"
load "scan.gp"
low = low > 1e-6 ? low : 1e-6
stats data index 0 using 1 nooutput
values = STATS_records
note = sprintf("solid: after %.3g M tokens; thin: after %.3g M; %smean over key heads; ", millions(fact("to")), millions(fact("from")), known("gaussian") ? "dashed: Gaussian keys; " : "") . one_seed
set multiplot
eval sheet_title
eval sheet_legend
unset key
set logscale y
set format y "%g"
do for [k = 1:panels] {
    eval cell
    panel = "layer " . word(meta("chosen"), k)
    eval panel_title
    set xrange [1:values]
    set yrange [low / 1.3:1.3]
    set xlabel "index i"
    if (k == 1) { set ylabel "σ_i / σ_1 of the keys" } else { unset ylabel }
    plot for [i = 1:known("gaussian") ? 1 : 0] data index panels * n using 1:2 with lines linestyle 10 linewidth 1.8 * big, \
         for [i = 1:seeds > 1 ? n : 0] data index (k - 1) * n + i - 1 using 1:3:4 with filledcurves linecolor rgb colour(number(i)), \
         for [i = 1:n] data index (k - 1) * n + i - 1 using 1:5 with lines linecolor rgb colour(number(i)) linewidth 0.8 * big, \
         for [i = 1:n] data index (k - 1) * n + i - 1 using 1:2 with lines linecolor rgb colour(number(i)) linewidth 2.2 * big
    eval sheet_off
}
unset multiplot
