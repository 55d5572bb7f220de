# Training (solid) and validation (dashed) loss, and below them what sets the conditions apart:
# the difference to the first condition, on a scale of its own.
# gnuplot -e "data='F.dat'; out='F.png'" 1_loss.gp
set loadpath "pipelines/figures"
height = 1060
load "style.gp"

# Least and largest of column `c`, seeds and all, in the blocks first to last.
low = 1e300; high = -1e300
widen = "do for [c in '2 3 4 5'] { stats data index first:final using (column(int(c))) nooutput; \
    if (STATS_records > 0) { low = STATS_min < low ? STATS_min : low; high = STATS_max > high ? STATS_max : high } }"
first = 0; final = n - 1
eval widen
set multiplot
unset key
set rmargin at screen 0.80
set lmargin at screen 0.10

# ---- losses ----
set tmargin at screen 0.90
set bmargin at screen 0.44
span = high - low
set yrange [low - 0.06 * span:high + 0.04 * span]
set format x ""
set ylabel "loss (nats per token)"
site = ""
note = "solid: training, mean since the point before; dashed: validation; " . one_seed
eval title
m = n
array end_y[m]; array end_text[m]; array end_colour[m]
do for [i = 1:n] {
    stats data index i - 1 using (value = $2) nooutput
    end_y[i] = value
    end_text[i] = label(i)
    end_colour[i] = colour(number(i))
}
gap = 0.055 * span
load "ends.gp"
plot for [i = 1:seeds > 1 ? n : 0] data index i - 1 using (millions($1)):3:4 with filledcurves linecolor rgb colour(number(i)), \
     for [i = 1:n] data index i - 1 using (millions($1)):2 with linespoints linestyle number(i), \
     for [i = 1:n] data index i - 1 using (millions($1)):5 with lines linestyle number(i) dashtype (9, 9) linewidth 1.2 * big

# ---- differences ----
do for [i = 100:102] { unset label i }
do for [i = 1:n] { unset label 110 + i }
set tmargin at screen 0.37
set bmargin at screen 0.10
set format x "%g"
set xlabel tokens_label
unset ylabel
set yrange [*:*]
set xzeroaxis linestyle 12 dashtype 1
if (n > 1) {
    set label 101 sprintf("difference to %s (nats per token)", label(1)) at graph 0, graph 1.0 left offset 0, 0.8 textcolor rgb "#101010"
    low = 0; high = 0
    first = n; final = 2 * n - 2
    eval widen
    span = high - low > 0 ? high - low : 1
    set yrange [low - 0.06 * span:high + 0.06 * span]
    m = n - 1
    do for [i = 1:m] {
        stats data index n + i - 1 using (value = $2) nooutput
        end_y[i] = value
        end_text[i] = sprintf("%s−%s  %+.4f", short(i + 1), short(1), value)
        end_colour[i] = colour(number(i + 1))
    }
    gap = 0.11 * span
    load "ends.gp"
    plot for [i = 1:seeds > 1 ? m : 0] data index n + i - 1 using (millions($1)):3:4 with filledcurves linecolor rgb colour(number(i + 1)), \
         for [i = 1:m] data index n + i - 1 using (millions($1)):2 with linespoints linestyle number(i + 1), \
         for [i = 1:m] data index n + i - 1 using (millions($1)):5 with lines linestyle number(i + 1) dashtype (9, 9) linewidth 1.2 * big
}
unset multiplot
