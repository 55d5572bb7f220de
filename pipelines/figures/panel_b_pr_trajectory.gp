# Mean PR of the keys of two conditions against tokens, the gap between them shaded.
# gnuplot -e "data='F.dat'; out='F.png'" panel_b_pr_trajectory.gp
set loadpath "pipelines/figures"
if (!exists("sheet")) {
    sheet = 0
    load "style.gp"
    base = 0
    set rmargin at screen 0.73
}
low = 1e300; high = -1e300
first_block = base; last_block = base + n - 1; cols = "2 3 4"
load "scan.gp"
null_y = known("null") ? fact("null") : fact("head_dim")
if (null_y > high) high = null_y
span = high - low > 0 ? high - low : 1
set xlabel tokens_label
set ylabel sheet ? "PR of the keys (directions)" : "participation ratio of the keys (directions)"
note = "mean over layers and key heads; shaded: the gap; " . one_seed
if (!sheet) { eval title }
if (null_y > 0) {
    null_text = known("null") ? sprintf("Gaussian keys  %.1f", null_y) : sprintf("head dimension  %.0f", null_y)
    eval null_line
}
m = n
array end_y[m]; array end_text[m]; array end_colour[m]
do for [i = 1:n] {
    stats data index base + i - 1 using (value = $2) nooutput
    end_y[i] = value
    end_text[i] = label(i) . sprintf("  %.2f", value)
    end_colour[i] = colour(number(i))
}
gap = 0.055 * span * (sheet ? 1.5 : 1)
load "ends.gp"
set xrange [0:millions(last)]
set yrange [low - 0.06 * span:high + 0.08 * span]
unset key
plot data index base + n using (millions($1)):2:3 with filledcurves linecolor rgb "#7a6fb0", \
     for [i = 1:seeds > 1 ? n : 0] data index base + i - 1 using (millions($1)):3:4 with filledcurves linecolor rgb colour(number(i)), \
     for [i = 1:n] data index base + i - 1 using (millions($1)):2 with linespoints linestyle number(i)
unset arrow 1
unset label 1
