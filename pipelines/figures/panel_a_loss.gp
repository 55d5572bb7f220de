# Training (solid) and validation (dashed) loss of two conditions.  The axis leaves out the loss before
# training, which would flatten the rest.
# gnuplot -e "data='F.dat'; out='F.png'" panel_a_loss.gp
set loadpath "pipelines/figures"
if (!exists("sheet")) {
    sheet = 0
    load "style.gp"
    base = 0
    set rmargin at screen 0.73
}
low = 1e300; high = -1e300
first_block = base; last_block = base + n - 1; cols = "2 3 4 5 6 7"
after = 0
load "scan.gp"
after = -1
span = high - low
set xrange [0:millions(last)]
set xlabel tokens_label
set ylabel "loss (nats per token)"
note = "solid: training, mean since the point before; dashed: validation (above the axis before training); " . one_seed
if (!sheet) {
    site = ""
    eval title
    unset label 110
}
m = n
array end_y[m]; array end_text[m]; array end_colour[m]
do for [i = 1:n] {
    set datafile missing "no such word"
    value = "NaN"
    set xrange [*:*]
    stats data index base + i - 1 using (v = stringcolumn(2), v ne "NaN" ? (value = v) : 0, 1) nooutput
    set datafile missing "NaN"
    end_y[i] = value + 0
    end_text[i] = label(i) . sprintf("  %.3f", value + 0)
    end_colour[i] = colour(number(i))
}
gap = 0.055 * span * (sheet ? 1.5 : 1)
load "ends.gp"
set xrange [0:millions(last)]
set yrange [low - 0.06 * span:high + 0.04 * span]
unset key
plot for [i = 1:seeds > 1 ? n : 0] data index base + i - 1 using (millions($1)):3:4 with filledcurves linecolor rgb colour(number(i)), \
     for [i = 1:n] data index base + i - 1 using (millions($1)):2 with linespoints linestyle number(i), \
     for [i = 1:n] data index base + i - 1 using (millions($1)):5 with lines linestyle number(i) dashtype (9, 9) linewidth 1.2 * big
