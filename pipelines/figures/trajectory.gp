# Rank of keys and of queries against tokens.
# gnuplot -e "data='F.dat'; out='F.png'" trajectory.gp
set loadpath "pipelines/figures"
height = 1160
load "style.gp"
left_edge = 0.09; right_edge = 0.71; columns = 1; rows = 2; gap_y = 0.08; top_edge = 0.87
null_y = known("null") ? fact("null") : fact("head_dim")
note = "mean over layers and heads; " . one_seed
line_gap = 0.085
set multiplot
eval sheet_title
do for [k = 1:2] {
    eval cell
    panel = k == 1 ? "keys" : "queries"
    eval panel_title
    low = 1e300; high = -1e300
    first_block = 0; last_block = n - 1; cols = k == 1 ? "2 3 4" : "5 6 7"
    load "scan.gp"
    if (null_y > high) { high = null_y }
    if (null_y > 0) {
        null_text = known("null") ? sprintf("Gaussian rows  %.1f", null_y) : sprintf("head dimension  %.0f", null_y)
        eval null_line
    }
    low = 0; high = high > 0 ? high * 1.1 : 1
    if (k == 1) { set format x ""; unset xlabel } else { set format x "%g"; set xlabel tokens_label }
    set ylabel k == 1 ? "PR of the keys (directions)" : "PR of the queries (directions)"
    base = 0; col = k == 1 ? 2 : 5; digits = "%.1f"
    load "lines.gp"
    eval sheet_off
}
unset multiplot
