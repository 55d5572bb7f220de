# The four panels of the pilot on one sheet.
# gnuplot -e "data='F.dat'; out='F.png'" sheet.gp
set loadpath "pipelines/figures"
width = 1900
height = 1300
load "style.gp"
sheet = 1
# the first row leaves room for names at the right ends
cells = "set lmargin at screen x0; set rmargin at screen x1; set tmargin at screen y1; set bmargin at screen y0"
left_edge = 0.075
note = "solid: training, dashed: validation loss; bars: end of training, grey ticks: before; " . (seeds == 1 ? one_seed : sprintf("mean of %d seeds; bands, whiskers: least to largest", seeds))
set multiplot
eval sheet_title
x0 = 0.075; x1 = 0.34; y0 = 0.55; y1 = 0.87
eval cells
panel = "A  loss"
eval panel_title
base = 0
load "panel_a_loss.gp"
eval sheet_off
x0 = 0.575; x1 = 0.825
eval cells
panel = "B  rank of the keys during training, gap shaded"
eval panel_title
base = n
load "panel_b_pr_trajectory.gp"
eval sheet_off
x0 = 0.075; x1 = 0.49; y0 = 0.105; y1 = 0.405
eval cells
panel = "C  rank of the keys, layer by layer"
eval panel_title
base = 2 * n + 1
load "panel_c_per_layer.gp"
eval sheet_off
x0 = 0.575; x1 = 0.985
eval cells
panel = sprintf("D  %s minus %s, positive in %s layers", short(1), short(2), meta("positive"))
eval panel_title
base = 2 * n + 2
load "panel_d_delta.gp"
unset multiplot
