# Rank of the keys on simple and complex text: over time, and layer by layer at the end.
# gnuplot -e "data='F.dat'; out='F.png'" data_complexity.gp
set loadpath "pipelines/figures"
width = 2000
height = 900
load "style.gp"
cells = "set lmargin at screen x0; set rmargin at screen x1; set tmargin at screen 0.79; set bmargin at screen 0.16"
left_edge = 0.062
note = "bars: end of training, grey ticks: before; " . (seeds == 1 ? one_seed : sprintf("mean of %d seeds; bands, whiskers: least to largest", seeds))
set multiplot
eval sheet_title
x0 = 0.062; x1 = 0.37
eval cells
panel = "over time"
eval panel_title
low = 1e300; high = -1e300
first_block = 0; last_block = n - 1; cols = "2 3 4"
load "scan.gp"
null_y = known("null") ? fact("null") : fact("head_dim")
if (null_y > 0) {
    if (null_y > high) { high = null_y }
    null_text = known("null") ? sprintf("Gaussian keys  %.1f", null_y) : sprintf("head dimension  %.0f", null_y)
    eval null_line
}
low = 0; high = high * 1.08
set xlabel tokens_label
set ylabel "PR of the keys (directions)"
base = 0; col = 2; digits = "%.1f"
load "lines.gp"
eval sheet_off
unset arrow 1
unset label 1
x0 = 0.58; x1 = 0.985
eval cells
panel = "layer by layer"
eval panel_title
sheet = 1
base = n
load "panel_c_per_layer.gp"
unset multiplot
