# Mean PR of the keys against tokens, band over seeds, the Gaussian null above.
# gnuplot -e "data='F.dat'; out='F.png'" mean_pr.gp
set loadpath "pipelines/figures"
load "style.gp"
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
set ylabel "participation ratio of the keys (directions)"
note = "mean over layers and key heads; " . one_seed
eval title
set rmargin at screen 0.74
base = 0; col = 2; digits = "%.1f"
load "lines.gp"
