# First condition minus second per layer: green where higher, red where lower, the largest named.
# gnuplot -e "data='F.dat'; out='F.png'" panel_d_delta.gp
set loadpath "pipelines/figures"
if (!exists("sheet")) {
    sheet = 0
    load "style.gp"
    base = 0
}
set xrange [*:*]
set yrange [*:*]
stats data index base using 1 nooutput
layers = STATS_records
stats data index base using 2 name "D" nooutput
low = 0; high = 0
first_block = base; last_block = base; cols = "2 3 4"
load "scan.gp"
span = high - low > 0 ? high - low : 1
which = int(word(meta("largest"), 1))
size = word(meta("largest"), 2) + 0
signed(v) = v < 0 ? sprintf("−%.2f", -v) : sprintf("+%.2f", v)
green = "#1b9e5a"; red = "#c8403a"
set xlabel "layer"
set ylabel sprintf("ΔPR: %s − %s (directions)", short(1), short(2))
set xtics 0, (layers > 16 ? 2 : 1)
set xzeroaxis linestyle 12
set style fill solid 1.0 noborder
note = sprintf("PR of the keys at the end, %s minus %s; positive in %s layers; dashed: mean %s; ", short(1), short(2), meta("positive"), signed(D_mean)) . (seeds == 1 ? "one seed" : whiskers)
if (!sheet) { eval title }
set arrow 1 from graph 0, first D_mean to graph 1, first D_mean nohead linestyle 10 front
# at the layer, but not beyond the sides
side = which < layers * 0.15 ? "left" : which > layers * 0.85 ? "right" : "center"
place = which + (side eq "left" ? -0.4 : side eq "right" ? 0.4 : 0)
set label 1 sprintf("layer %d: %s", which, signed(size)) at first place, first size offset 0, (size < 0 ? -0.8 : 0.7) textcolor rgb (size < 0 ? red : green) front
if (side eq "left") { set label 1 left }
if (side eq "right") { set label 1 right }
if (side eq "center") { set label 1 center }
set xrange [-0.6:layers - 0.4]
set yrange [low - (low < 0 ? 0.12 : 0) * span:high + (high > 0 ? 0.12 : 0) * span]
rgb(c) = int(sprintf("0x%s", c[2:]))
unset key
plot data index base using 1:2:(0.78):($2 < 0 ? rgb(red) : rgb(green)) with boxes linecolor rgb variable, \
     for [i = 1:seeds > 1 ? 1 : 0] data index base using 1:3:(0):($4 - $3) with vectors nohead linecolor rgb "#303030" linewidth 1.1 * big
unset arrow 1
unset label 1
unset xzeroaxis
set style fill transparent solid 0.18 noborder
set xtics autofreq
