# Rank of the keys above validation loss, on one axis of tokens; shaded: where the first condition's
# rank fell most between two points.
# gnuplot -e "data='F.dat'; out='F.png'" rank_and_loss.gp
set loadpath "pipelines/figures"
height = 1160
load "style.gp"
left_edge = 0.1; right_edge = 0.69; columns = 1; rows = 2; gap_y = 0.08; top_edge = 0.87
note = one_seed
drop = meta("drop " . letter(1))
if (drop ne "") { note = sprintf("shaded: the steepest fall of %s, %.1f PR from %.3g to %.3g M tokens; ", short(1), -(word(drop, 3) + 0), millions(word(drop, 1) + 0), millions(word(drop, 2) + 0)) . one_seed }
line_gap = 0.085
set multiplot
eval sheet_title
do for [k = 1:2] {
    eval cell
    panel = k == 1 ? "rank of the keys" : "validation loss, from above"
    eval panel_title
    low = 1e300; high = -1e300
    first_block = 0; last_block = n - 1; cols = k == 1 ? "2 3 4" : "5 6 7"
    if (k == 2) { after = last / 50 }
    load "scan.gp"
    after = -1
    if (drop ne "") {
        set object 1 rectangle from first millions(word(drop, 1) + 0), graph 0 to first millions(word(drop, 2) + 0), graph 1 behind fillcolor rgb "#f0e4d0" fillstyle solid 1.0 noborder
    }
    if (k == 1) {
        null_y = known("null") ? fact("null") : fact("head_dim")
        if (null_y > high) { high = null_y }
        if (null_y > 0) {
            null_text = known("null") ? sprintf("Gaussian keys  %.1f", null_y) : sprintf("head dimension  %.0f", null_y)
            eval null_line
        }
        low = 0; high = high * 1.1
        set format x ""
        unset xlabel
    } else {
        unset arrow 1
        unset label 1
        span = high > low ? high - low : 1
        low = low - 0.08 * span; high = high + 0.05 * span
        set format x "%g"
        set xlabel tokens_label
    }
    set ylabel k == 1 ? "PR of the keys (directions)" : "validation loss (nats per token)"
    base = 0; col = k == 1 ? 2 : 5; digits = k == 1 ? "%.1f" : "%.3f"
    load "lines.gp"
    eval sheet_off
}
unset multiplot
