# Singular values of the keys relative to the largest, a curve per point of training, light to dark.
# gnuplot -e "data='F.dat'; out='F.png'" sv_waterfall.gp
set loadpath "pipelines/figures"
width = 1700
height = 1300
load "style.gp"
columns = n < 2 ? 1 : 2; rows = (n + 1) / 2
left_edge = 0.095; right_edge = 0.86; top_edge = 0.87; bottom_edge = 0.105; gap_x = 0.085; gap_y = 0.10
points = words(meta("points"))
low = 1e300; high = -1e300
first_block = 0; last_block = n - 1; cols = ""
do for [t = 1:points] { cols = cols . sprintf(" %d", t + 1) }
load "scan.gp"
low = low > 1e-6 ? low : 1e-6
stats data index 0 using 1 nooutput
values = STATS_records
# viridis again, dark at the end and without its palest yellow
set palette defined (0 "#d8c21c", 1 "#6ece58", 2 "#35b779", 3 "#1f9e89", 4 "#26828e", 5 "#31688e", 6 "#3e4989", 7 "#482878", 8 "#440154")
set cbrange [0:points > 1 ? points - 1 : 1]
note = "mean over layers and key heads; a curve per point of training; " . (known("gaussian") ? "dashed: Gaussian keys; " : "") . (seeds == 1 ? one_seed : sprintf("mean of %d seeds", seeds))
set multiplot
eval sheet_title
unset key
unset colorbox
set logscale y
set format y "%g"
do for [k = 1:n] {
    eval cell
    panel = label(k)
    eval panel_title
    if (k == 1) {
        # the names of the curves, top to bottom
        set label 110 "million tokens" at screen right_edge + 0.012, screen top_edge left textcolor rgb "#202020"
        do for [t = 1:points] {
            set label 110 + t sprintf("■ %.3g", millions(word(meta("points"), t) + 0)) at screen right_edge + 0.012, screen top_edge - 0.028 * t left textcolor palette cb t - 1
        }
    }
    set xrange [1:values]
    set yrange [low / 1.3:1.3]
    if (k > n - columns) { set xlabel "index i" } else { unset xlabel }
    if ((k - 1) % columns == 0) { set ylabel "σ_i / σ_1 of the keys" } else { unset ylabel }
    plot for [i = 1:known("gaussian") ? 1 : 0] data index n using 1:2 with lines linestyle 10 linewidth 1.8 * big, \
         for [t = 1:points] data index k - 1 using 1:(column(t + 1)) with lines linecolor palette cb t - 1 linewidth 1.6 * big
    do for [t = 110:110 + points] { unset label t }
    eval sheet_off
}
unset multiplot
