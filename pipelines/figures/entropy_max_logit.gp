# Entropy of attention and its largest logit against tokens.  Dashed: attention that looks at all
# earlier tokens alike, and the bound of a logit when both gains are one.
# gnuplot -e "data='F.dat'; out='F.png'" entropy_max_logit.gp
set loadpath "pipelines/figures"
height = 1060
load "style.gp"
left_edge = 0.11; right_edge = 0.78; columns = 1; rows = 2; gap_y = 0.09; top_edge = 0.86
note = "mean entropy and largest logit over layers, heads and positions; " . one_seed
site = ""
set multiplot
eval sheet_title
k = 1
eval cell
panel = "entropy"
eval panel_title
low = 1e300; high = -1e300
first_block = 0; last_block = n - 1; cols = "2 3 4"
load "scan.gp"
null_y = fact("uniform")
if (null_y > 0) {
    if (null_y > high) { high = null_y }
    null_text = sprintf("uniform attention  %.2f", null_y)
    eval null_line
}
low = 0; high = high > low ? high * 1.12 : 1
set ylabel "attention entropy (nats)"
set format x ""
line_gap = 0.09
base = 0; col = 2; digits = "%.2f"
load "lines.gp"
eval sheet_off
unset arrow 1
unset label 1
k = 2
eval cell
low = 0; high = -1e300
first_block = 0; last_block = n - 1; cols = "5 6 7"
load "scan.gp"
null_y = sqrt(fact("head_dim"))
if (null_y > 0) {
    if (null_y > high) { high = null_y }
    set arrow 1 from graph 0, first null_y to graph 1, first null_y nohead linestyle 10 front
}
panel = "largest logit" . (null_y > 0 ? sprintf("; dashed: √d = %.1f, its bound after QK-Norm with γ = 1", null_y) : "")
eval panel_title
low = low < 0 ? low * 1.08 : 0; high = high > low ? high * 1.12 : low + 1
set format x "%g"
set xlabel tokens_label
set ylabel "largest logit (after 1/√d)"
col = 5; digits = "%.1f"
load "lines.gp"
unset multiplot
