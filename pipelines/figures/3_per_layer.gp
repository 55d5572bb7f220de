# Rank of the keys per layer at the end: a bar per condition, a tick for where the layer began.
# gnuplot -e "data='F.dat'; out='F.png'" 3_per_layer.gp
set loadpath "pipelines/figures"
load "style.gp"

stats data using 1 nooutput
layers = STATS_records
bar = 0.8 / n
left(i) = -0.4 + bar * (i - 0.5)
column_of(i) = 2 + 4 * (i - 1)
stats data using 2 name "PR" nooutput
top = known("head_dim") ? meta("head_dim") + 0 : PR_max * 1.15
set yrange [0:top * 1.08]
set xrange [-0.6:layers - 0.4]
set xlabel "layer"
set ylabel "participation ratio of the keys (directions)"
step = layers > 16 ? 2 : 1
set xtics 0, step
set style fill solid 1.0 noborder
note = "bars: end of training; grey ticks: before training; " . whiskers
title_lift = 1.6
eval title
unset key
set tmargin 6
eval legend

if (known("head_dim")) {
    set arrow 1 from graph 0, first top to graph 1, first top nohead linestyle 10 front
    set label 1 sprintf("head dimension %.0f", top) at graph 1, first top right offset -0.5, 0.6 textcolor rgb "#606060"
}
half = bar * 0.46
plot for [i = 1:n] data using ($1 + left(i)):(column(column_of(i))):(bar * 0.92) with boxes linecolor rgb colour(number(i)) notitle, \
     for [i = 1:n] data using ($1 + left(i) - half):(column(column_of(i) + 3)):(2 * half):(0) with vectors nohead linecolor rgb "#707070" linewidth 1.2 * big notitle, \
     for [i = 1:seeds > 1 ? n : 0] data using ($1 + left(i)):(column(column_of(i) + 1)):(0):(column(column_of(i) + 2) - column(column_of(i) + 1)) with vectors nohead linecolor rgb "#303030" linewidth 1.1 * big notitle
