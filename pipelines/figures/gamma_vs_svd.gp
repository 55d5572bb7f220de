# |γ_j| against the share c_j of the spectrum its dimension carries, layers by colour; below, their
# rank correlation in each layer.
# gnuplot -e "data='F.dat'; out='F.png'" gamma_vs_svd.gp
set loadpath "pipelines/figures"
width = 1700
height = 1300
load "style.gp"
panels = words(meta("panels"))
layers = int(meta("layers"))
columns = panels; rows = 2; left_edge = 0.09; right_edge = 0.885; top_edge = 0.87; bottom_edge = 0.1; gap_x = 0.07; gap_y = 0.12
name(k) = word(meta("panels"), k)
named(k) = known("legend " . name(k)) ? meta("legend " . name(k)) : name(k) . "  " . meta("label " . name(k))
set palette defined (0 "#d8c21c", 1 "#6ece58", 2 "#35b779", 3 "#1f9e89", 4 "#26828e", 5 "#31688e", 6 "#3e4989", 7 "#482878", 8 "#440154")
set cbrange [0:layers > 1 ? layers - 1 : 1]
set cblabel "layer"
set cbtics 0, (layers > 16 ? 4 : layers > 8 ? 2 : 1)
set style fill solid 1.0 noborder
dim = fact("head_dim")
site = ""
note = (known("keys") ? "keys " . meta("keys") . ", " : "") . "at the end of training; dashed: an even share 1/d; ±1.96/√(d−1), chance for one layer; " . (seeds == 1 ? "one seed" : sprintf("mean of %d seeds", seeds))
low = 1e300; high = -1e300
first_block = 0; last_block = panels - 1; cols = "2"
load "scan.gp"
x_low = low; x_high = high > low ? high : low + 1
low = 1e300; high = -1e300
cols = "3"
load "scan.gp"
y_low = low > 1e-8 ? low : 1e-8; y_high = high
set multiplot
eval sheet_title
unset key
do for [p = 1:panels] {
    k = p
    eval cell
    panel = named(p)
    eval panel_title
    set logscale y
    set format y "%g"
    set xrange [x_low - 0.05 * (x_high - x_low):x_high + 0.05 * (x_high - x_low)]
    set yrange [y_low / 1.3:y_high * 1.3]
    set xtics autofreq
    set xlabel "|γ_j|"
    if (p == 1) { set ylabel "share of the spectrum c_j" } else { unset ylabel }
    if (dim > 0) { set arrow 1 from graph 0, first 1.0 / dim to graph 1, first 1.0 / dim nohead linestyle 10 front }
    if (p == panels) { set colorbox user origin 0.9, 0.54 size 0.018, 0.33 } else { unset colorbox }
    plot data index p - 1 using 2:3:1 with points pointtype 7 pointsize 0.45 * big linecolor palette
    eval sheet_off
    unset arrow 1
    k = panels + p
    eval cell
    unset colorbox
    unset logscale y
    set xrange [*:*]
    set yrange [*:*]
    stats data index panels using (column(p + 1)) name "R" nooutput
    panel = sprintf("Spearman's ρ per layer, mean %.2f", R_mean)
    eval panel_title
    set xrange [-0.6:layers - 0.4]
    set yrange [-1:1]
    set xtics 0, (layers > 16 ? 2 : 1)
    set xlabel "layer"
    if (p == 1) { set ylabel "Spearman's ρ of |γ_j| and c_j" } else { unset ylabel }
    set xzeroaxis linestyle 12
    if (dim > 2) {
        bound = 1.96 / sqrt(dim - 1)
        set arrow 1 from graph 0, first bound to graph 1, first bound nohead linestyle 10 front
        set arrow 2 from graph 0, first -bound to graph 1, first -bound nohead linestyle 10 front
    }
    plot data index panels using 1:(column(p + 1)):(0.7):1 with boxes linecolor palette
    eval sheet_off
    unset arrow 1
    unset arrow 2
    unset xzeroaxis
}
unset multiplot
