# Rank of the keys per layer at the end: a bar per condition, a tick for where the layer began.
# gnuplot -e "data='F.dat'; out='F.png'" panel_c_per_layer.gp
set loadpath "pipelines/figures"
if (!exists("sheet")) {
    sheet = 0
    load "style.gp"
    base = 0
}
set xrange [*:*]
set yrange [*:*]
stats data index base using 1 nooutput
layers = STATS_records
low = 1e300; high = -1e300
first_block = base; last_block = base; cols = "4 5"
do for [i = 2:n] { cols = cols . sprintf(" %d %d", 4 * i, 4 * i + 1) }
load "scan.gp"
bar = 0.8 / n
left(i) = -0.4 + bar * (i - 0.5)
column_of(i) = 2 + 4 * (i - 1)
half = bar * 0.46
null_y = fact("head_dim")
if (null_y > high) high = null_y
set xlabel "layer"
set ylabel sheet ? "PR of the keys (directions)" : "participation ratio of the keys (directions)"
set xtics 0, (layers > 16 ? 2 : 1)
set style fill solid 1.0 noborder
note = "bars: end of training; grey ticks: before training; " . whiskers
if (!sheet) {
    title_lift = 1.6
    eval title
    set tmargin 6
    eval legend
}
if (null_y > 0) {
    null_text = sprintf("head dimension %.0f", null_y)
    eval null_line
}
set xrange [-0.6:layers - 0.4]
set yrange [0:high * 1.1]
unset key
plot for [i = 1:n] data index base using ($1 + left(i)):(column(column_of(i))):(bar * 0.92) with boxes linecolor rgb colour(number(i)) notitle, \
     for [i = 1:n] data index base using ($1 + left(i) - half):(column(column_of(i) + 3)):(2 * half):(0) with vectors nohead linecolor rgb "#707070" linewidth 1.2 * big notitle, \
     for [i = 1:seeds > 1 ? n : 0] data index base using ($1 + left(i)):(column(column_of(i) + 1)):(0):(column(column_of(i) + 2) - column(column_of(i) + 1)) with vectors nohead linecolor rgb "#303030" linewidth 1.1 * big notitle
unset arrow 1
unset label 1
set style fill transparent solid 0.18 noborder
set xtics autofreq
