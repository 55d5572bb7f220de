# Loss after cutting a share of the key directions, a panel per run, a curve per way of choosing them.
# gnuplot -e "data='F.dat'; out='F.png'" surgery.gp
set loadpath "pipelines/figures"
count = words(system(sprintf("sed -n 's/^# panels: //p' '%s'", data)))
width = count == 1 ? 1400 : 2000
height = count > 3 ? 1500 : 900
load "style.gp"
# curves are blocks in order of runs and methods; the ways keep their colours in every panel
run(k) = word(meta("panels"), k)
ways = "svd gamma random random-subspace"
array way_names[4] = ["least singular directions (svd)", "least |γ| (gamma)", "random dimensions", "random subspace"]
way(w) = w eq "svd" ? 1 : w eq "gamma" ? 2 : w eq "random" ? 3 : 4
array hues[4] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7"]
array marks[4] = [7, 5, 9, 13]
columns = count > 3 ? 2 : count; rows = (count + columns - 1) / columns
gap_x = 0.035; left_edge = 0.065; right_edge = 0.985
top_edge = rows == 1 ? 0.74 : 0.84; bottom_edge = rows == 1 ? 0.16 : 0.105
blocks = 0
do for [k = 1:count] { blocks = blocks + words(meta("panel " . run(k))) }
low = 1e300; high = -1e300
first_block = 0; last_block = blocks - 1; cols = "2 3 4"
load "scan.gp"
span = high > low ? high - low : 1
site = ""
note = "loss on the test split, one checkpoint per run; " . (fact("draws") > 1 ? sprintf("bars: least to largest of %d random draws; ", int(fact("draws"))) : "") . "dashed: uncut"
set multiplot
eval sheet_title
do for [j = 1:4] { set label 119 + j "■ " . way_names[j] at screen left_edge + (right_edge - left_edge) * (j - 1) / 4.0, screen 1 left offset 0, -4.5 textcolor rgb hues[j] }
unset key
block = 0
do for [k = 1:count] {
    eval cell
    methods = meta("panel " . run(k))
    many = words(methods)
    name = meta("run " . run(k))
    panel = run(k) . (name eq "" || name eq run(k) ? "" : "  " . name)
    eval panel_title
    set xrange [*:*]
    set yrange [*:*]
    stats data index block every ::0::0 using 2 nooutput
    uncut = STATS_min
    set arrow 1 from graph 0, first uncut to graph 1, first uncut nohead linestyle 10
    set xrange [-0.02:0.95]
    set yrange [low - 0.04 * span:high + 0.06 * span]
    set xtics 0, 0.1
    set xlabel "share F of the key directions removed"
    if ((k - 1) % columns == 0) { set ylabel "loss (nats per token)"; set format y "%g" } else { unset ylabel; set format y "" }
    plot for [j = 1:many] data index block + j - 1 using 1:3:(0):($4 - $3) with vectors heads size graph 0.006, 90 nofilled linecolor rgb hues[way(word(methods, j))] linewidth 1.1 * big, \
         for [j = 1:many] data index block + j - 1 using 1:2 with linespoints linecolor rgb hues[way(word(methods, j))] linewidth 2.0 * big pointtype marks[way(word(methods, j))] pointsize 0.7 * big
    block = block + many
    eval sheet_off
}
unset multiplot
