# Per condition: PR of the keys at every site, of their weights, of the queries and of the qk form.
# gnuplot -e "data='F.dat'; out='F.png'" sites.gp
set loadpath "pipelines/figures"
columns_of(n) = n <= 3 ? n : n == 4 ? 2 : 3
# how many panels there are must be known before the terminal is set
n = words(system(sprintf("sed -n 's/^# conditions: //p' '%s'", data)))
width = n <= 2 ? 1800 : 2000
height = n <= 3 ? 900 : 1400
load "style.gp"
columns = columns_of(n); rows = (n + columns - 1) / columns
gap_x = 0.04; left_edge = 0.072; right_edge = 0.985
top_edge = n <= 3 ? 0.74 : 0.83
bottom_edge = n <= 3 ? 0.16 : 0.1
low = 0; high = -1e300
first_block = 0; last_block = n - 1; cols = "2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22"
load "scan.gp"
null_y = known("null") ? fact("null") : fact("head_dim")
if (null_y > high) { high = null_y }
array hue[7] = ["#0072b2", "#009e73", "#56b4e9", "#808080", "#d55e00", "#cc79a7", "#0072b2"]
array mark[7] = [7, 5, 9, 13, 11, 15, 7]
# those that were measured
array has[7]
lines = 0
do for [j = 1:7] { if (known(sprintf("line %d", j))) { lines = lines + 1; has[lines] = j } }
site = ""
note = (known("site") ? sprintf("queries %s; ", meta("site")) : "") . (null_y > 0 ? (known("null") ? sprintf("dashed: Gaussian keys %.1f", null_y) : sprintf("dashed: head dimension %.0f", null_y)) : "") . (known("null_qk") ? sprintf(", Gaussian qk form %.1f (pink); ", fact("null_qk")) : "; ") . one_seed
set multiplot
eval sheet_title
x = left_edge
do for [j = 1:lines] {
    line = meta(sprintf("line %d", has[j]))
    set label 119 + j "■ " . line at screen x, screen 1 left offset 0, -4.5 textcolor rgb hue[has[j]]
    x = x + (strlen(line) + 3.5) * 15.0 / width
}
unset key
set style fill transparent solid 0.15 noborder
do for [k = 1:n] {
    eval cell
    panel = label(k)
    eval panel_title
    if (null_y > 0) {
        set arrow 1 from graph 0, first null_y to graph 1, first null_y nohead linestyle 10 front
    }
    if (known("null_qk")) {
        q_y = fact("null_qk")
        set arrow 2 from graph 0, first q_y to graph 1, first q_y nohead linestyle 10 linecolor rgb hue[6] front
    }
    set xrange [0:millions(last)]
    set yrange [0:high * 1.1]
    if (k > n - columns) { set xlabel tokens_label } else { unset xlabel }
    if ((k - 1) % columns == 0) { set ylabel "participation ratio (directions)" } else { unset ylabel }
    plot for [j = 1:seeds > 1 ? lines : 0] data index k - 1 using (millions($1)):(column(3 * has[j])):(column(3 * has[j] + 1)) with filledcurves linecolor rgb hue[has[j]], \
         for [j = 1:lines] data index k - 1 using (millions($1)):(column(3 * has[j] - 1)) with linespoints linecolor rgb hue[has[j]] linewidth 1.8 * big pointtype mark[has[j]] pointsize 0.6 * big
    eval sheet_off
}
unset multiplot
