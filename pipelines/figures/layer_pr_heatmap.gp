# PR of the keys by layer.  Up to three conditions: a map each, layer against tokens; more: one map,
# layer against condition at the end.
# gnuplot -e "data='F.dat'; out='F.png'" layer_pr_heatmap.gp
set loadpath "pipelines/figures"
load "style.gp"
points = int(meta("points"))
layers = int(meta("layers"))
by_tokens = n <= 3
low = 1e300; high = -1e300
if (by_tokens) {
    first_block = 0; last_block = n - 1; cols = "4"
} else {
    first_block = n; last_block = n; cols = "3"
}
load "scan.gp"
# viridis: even steps to the eye, in grey too
set palette defined (0 "#440154", 1 "#482878", 2 "#3e4989", 3 "#31688e", 4 "#26828e", 5 "#1f9e89", 6 "#35b779", 7 "#6ece58", 8 "#b5de2b", 9 "#fde725")
set cbrange [low:high > low ? high : low + 1]
set cblabel "participation ratio (directions)" offset 0.8
set style fill solid 1.0 noborder
unset grid
set border 0
unset key
set ytics 0, (layers > 16 ? 4 : layers > 8 ? 2 : 1)
set yrange [-0.5:layers - 0.5]
note = (seeds == 1 ? one_seed : sprintf("mean of %d seeds", seeds)) . (known("null") ? sprintf("; Gaussian keys: %.1f", fact("null")) : "")
set multiplot
right_edge = 0.86
gap_x = 0.03
top_edge = 0.80
bottom_edge = by_tokens ? 0.17 : 0.13
columns = by_tokens ? n : 1
if (!by_tokens) note = "at the end of training; " . note
eval sheet_title
if (by_tokens) {
    set xlabel tokens_label
    # at most six points named, in millions of tokens
    step = (points + 5) / 6
    do for [k = 1:n] {
        eval cell
        panel = label(k)
        eval panel_title
        unset xtics
        set xtics () nomirror scale 0
        do for [t = 0:points - 1:step] {
            set xrange [*:*]
            set yrange [*:*]
            stats data index k - 1 every ::t:0:t:0 using 3 nooutput
            set xtics add (sprintf("%.3g", millions(STATS_max)) t)
        }
        set xrange [-0.5:points - 0.5]
        set yrange [-0.5:layers - 0.5]
        if (k == 1) { set ylabel "layer" } else { unset ylabel; set format y "" }
        if (k == n) {
            set colorbox user origin 0.875, bottom_edge size 0.02, top_edge - bottom_edge
        } else {
            unset colorbox
        }
        plot data index k - 1 using 2:1:4 with image pixels
        eval sheet_off
    }
} else {
    k = 1
    eval cell
    set ylabel "layer"
    set xrange [0.5:n + 0.5]
    set xtics () nomirror scale 0
    do for [i = 1:n] { set xtics add (label(i) i) }
    set colorbox user origin 0.875, bottom_edge size 0.02, top_edge - bottom_edge
    mid = (low + high) / 2.0
    # numbers in the cells, light on dark and dark on light
    plot data index n using 2:1:3 with image pixels, \
         data index n using 2:1:(sprintf("%.1f", $3)):($3 < mid ? 0xffffff : 0x101010) with labels textcolor rgb variable font (layers > 24 ? note_size : "")
}
unset multiplot
