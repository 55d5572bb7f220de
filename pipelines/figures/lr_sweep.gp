# Validation loss and rank of the keys at every learning rate; a star on each winner.
# gnuplot -e "data='F.dat'; out='F.png'" lr_sweep.gp
set loadpath "pipelines/figures"
height = 1100
load "style.gp"
left_edge = 0.1; right_edge = 0.975; columns = 1; rows = 2; gap_y = 0.09; top_edge = 0.81; bottom_edge = 0.135
edges = ""
do for [i = 1:n] { if (meta("edge " . letter(i)) eq "yes") { edges = edges . (edges eq "" ? "" : ", ") . short(i) } }
note = "star: least validation loss on the split for choosing; Muon: its own rate, the AdamW part at a quarter"
set multiplot
sites = site
site = ""
eval sheet_title
eval sheet_legend
low = 1e300; high = -1e300
first_block = 0; last_block = n - 1; cols = "1"
load "scan.gp"
x_low = low / 1.4; x_high = high * 1.4
set logscale x
set grid xtics
unset key
k = 1
eval cell
panel = "validation loss" . (edges eq "" ? "" : "; winner at the edge of its grid: " . edges)
eval panel_title
low = 1e300; high = -1e300
cols = "2"
load "scan.gp"
span = high > low ? high - low : 1
set xrange [x_low:x_high]
set yrange [low - 0.1 * span:high + 0.08 * span]
set format x ""
set ylabel "validation loss (nats per token)"
plot for [i = 1:n] data index i - 1 using 1:2 with linespoints linestyle number(i), \
     for [i = 1:n] data index i - 1 using 1:($4 == 1 ? $2 : NaN):("★") with labels font (svg ? ",24" : ",36") textcolor rgb colour(number(i))
eval sheet_off
k = 2
eval cell
panel = "rank: participation ratio of the keys" . sites
eval panel_title
low = 1e300; high = -1e300
cols = "3"
load "scan.gp"
set xrange [x_low:x_high]
set datafile missing "no such word"
array there[n]
there_are = 0
set xrange [*:*]
do for [i = 1:n] {
    found = 0
    stats data index i - 1 using (v = stringcolumn(3), v ne "NaN" ? (found = 1) : 0, 1) nooutput
    if (found) { there_are = there_are + 1; there[there_are] = i }
}
set datafile missing "NaN"
set xrange [x_low:x_high]
span = high > low ? high - low : 1
if (there_are == 0) { low = 0; high = 1 }
set yrange [low - 0.1 * span:high + 0.1 * span]
set format x "%g"
set xlabel "learning rate"
set ylabel "PR of the keys (directions)"
if (there_are > 0) {
    plot for [j = 1:there_are] data index there[j] - 1 using 1:3 with linespoints linestyle number(there[j]), \
         for [j = 1:there_are] data index there[j] - 1 using 1:($4 == 1 ? $3 : NaN):("★") with labels font (svg ? ",24" : ",36") textcolor rgb colour(number(there[j]))
} else {
    set label 109 "not measured" at graph 0.5, graph 0.5 center textcolor rgb "#808080"
    plot low - 1e9 notitle
}
unset multiplot
