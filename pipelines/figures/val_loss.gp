# Validation loss against tokens, band over seeds.  The axis leaves out the first tenth of training,
# which would flatten the rest; the curves come from above.
# gnuplot -e "data='F.dat'; out='F.png'" val_loss.gp
set loadpath "pipelines/figures"
load "style.gp"
low = 1e300; high = -1e300
first_block = 0; last_block = n - 1; cols = "2 3 4"
after = last / 10
load "scan.gp"
span = high - low > 0 ? high - low : 1
low = low - 0.08 * span; high = high + 0.05 * span
set xlabel tokens_label
set ylabel "validation loss (nats per token)"
site = ""
note = "the first tenth lies above the axis; " . one_seed
eval title
set rmargin at screen 0.78
base = 0; col = 2; digits = "%.3f"
load "lines.gp"
