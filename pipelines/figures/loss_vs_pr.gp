# Validation loss against mean PR of the keys at six points of training, joined in order.
# gnuplot -e "data='F.dat'; out='F.png'" loss_vs_pr.gp
set loadpath "pipelines/figures"
load "style.gp"
low = 1e300; high = -1e300
first_block = 0; last_block = n - 1; cols = "5 6 7"
load "scan.gp"
pr_low = low; pr_high = high
low = 1e300; high = -1e300
cols = "2 3 4"
load "scan.gp"
loss_span = high - low > 0 ? high - low : 1
pr_span = pr_high - pr_low > 0 ? pr_high - pr_low : 1
stats data index 0 using 1 nooutput
step = STATS_min
set xrange [pr_low - 0.12 * pr_span:pr_high + 0.12 * pr_span]
set yrange [low - 0.12 * loss_span:high + 0.06 * loss_span]
set xlabel "participation ratio of the keys (directions)"
set ylabel "validation loss (nats per token)"
note = sprintf("a point every %.3g M tokens, the first and the last named; ", millions(step)) . (seeds == 1 ? one_seed : sprintf("mean of %d seeds; bars: least to largest", seeds))
title_lift = 1.6
eval title
set tmargin 6
eval legend
unset key
plot for [i = 1:seeds > 1 ? n : 0] data index i - 1 using 5:2:6:7 with xerrorbars linecolor rgb colour(number(i)) pointtype -1 linewidth big, \
     for [i = 1:seeds > 1 ? n : 0] data index i - 1 using 5:2:3:4 with yerrorbars linecolor rgb colour(number(i)) pointtype -1 linewidth big, \
     for [i = 1:n] data index i - 1 using 5:2 with linespoints linestyle number(i), \
     for [i = 1:n] data index i - 1 using 5:($1 == last ? $2 : NaN) with points pointtype shapes[(number(i) - 1) % 6 + 1] pointsize 1.7 * big linecolor rgb colour(number(i)), \
     for [i = 1:n] data index i - 1 using 5:($0 == 0 ? $2 : NaN):(sprintf("%.3g M", millions($1))) with labels offset 0, 1.0 font note_size textcolor rgb colour(number(i)), \
     for [i = 1:n] data index i - 1 using 5:($1 == last ? $2 : NaN):(sprintf("%.3g M", millions($1))) with labels offset 0, -1.2 font note_size textcolor rgb colour(number(i))
