# How unevenly the learned key gain weighs its dimensions: its coefficient of variation in a few
# layers, shallow (light) to deep (dark).
# gnuplot -e "data='F.dat'; out='F.png'" 5_gamma_cv.gp
set loadpath "pipelines/figures"
load "style.gp"

lines = int(meta("lines"))
stats data using 2 nooutput
top = STATS_max > 0 ? STATS_max : 1
set yrange [0:top * 1.08]
set xlabel tokens_label
set ylabel "CV of γ (standard deviation / mean)"
note = sprintf("condition %s, %s; ", meta("condition"), meta("label " . meta("condition"))) . one_seed
site = ""
eval title
set rmargin at screen 0.86
unset key

# One hue, light to dark with depth, so that order can be read from colour alone.
array depth[5] = ["#7fb8e0", "#4d97cf", "#1f77b4", "#125488", "#062f52"]
array marks[5] = [6, 4, 8, 12, 14]
shade(i) = lines > 1 ? depth[int((i - 1) * 4.0 / (lines - 1) + 0.5) + 1] : depth[3]
m = lines
array end_y[m]; array end_text[m]; array end_colour[m]
do for [i = 1:m] {
    stats data index i - 1 using (value = $2) nooutput
    end_y[i] = value
    end_text[i] = meta(sprintf("line %d", i - 1))
    end_colour[i] = shade(i)
}
gap = top * 0.05
load "ends.gp"
plot for [i = 1:seeds > 1 ? m : 0] data index i - 1 using (millions($1)):3:4 with filledcurves linecolor rgb shade(i), \
     for [i = 1:m] data index i - 1 using (millions($1)):2 with linespoints linecolor rgb shade(i) linewidth 2.0 * big pointtype marks[i] pointsize 0.8 * big
