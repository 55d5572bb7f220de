# What the learned gain (A-B) and the normalisation (B-C) do to the rank of each layer, at the end.
# A bar has the colour of the condition with the higher rank.
# gnuplot -e "data='F.dat'; out='F.png'" 4_causal_decomposition.gp
set loadpath "pipelines/figures"
height = 1080
load "style.gp"

stats data using 2 name "AB" nooutput
stats data using 5 name "BC" nooutput
stats data using (abs($2)) name "SAB" nooutput
stats data using (abs($5)) name "SBC" nooutput
layers = AB_records
low = AB_min < BC_min ? AB_min : BC_min
high = AB_max > BC_max ? AB_max : BC_max
stats data using 3 name "L1" nooutput; stats data using 6 name "L2" nooutput
stats data using 4 name "H1" nooutput; stats data using 7 name "H2" nooutput
do for [v in sprintf("%g %g", L1_min, L2_min)] { low = v + 0 < low ? v + 0 : low }
do for [v in sprintf("%g %g", H1_max, H2_max)] { high = v + 0 > high ? v + 0 : high }
low = low < 0 ? low : 0
high = high > 0 ? high : 0
span = high - low > 0 ? high - low : 1
set yrange [low - 0.08 * span:high + 0.10 * span]
set xrange [-0.6:layers - 0.4]
set xtics 0, (layers > 16 ? 2 : 1)
set xzeroaxis linestyle 12
set style fill solid 1.0 noborder
set ylabel "ΔPR (directions)"
unset key
A = palette[1]; B = palette[2]; C = palette[3]
rgb(c) = int(sprintf("0x%s", c[2:]))
signed(v) = v < 0 ? sprintf("−%.2f", -v) : sprintf("+%.2f", v)
pick(v, up, down) = v >= 0 ? rgb(up) : rgb(down)

set multiplot
set lmargin at screen 0.10
set rmargin at screen 0.97
set tmargin at screen 0.80
set bmargin at screen 0.505
eval foot
set label 101 meta("title") . site at screen 0.10, screen 0.97 left font title_size textcolor rgb "#101010"
set label 102 "bar colour: whose rank is higher; dashed: mean over layers; " . whiskers at screen 0.10, screen 0.93 left font note_size textcolor rgb "#606060"
do for [i = 1:n] { if (number(i) <= 3) { set label 120 + i legend_of(i) at screen 0.10 + 0.2 * (i - 1), screen 0.89 left textcolor rgb colour(number(i)) } }
set label 103 sprintf("A−B: learning the gain; mean %s, mean size %.2f", signed(AB_mean), SAB_mean) at graph 0, graph 1 left offset 0, 0.9
set arrow 1 from graph 0, first AB_mean to graph 1, first AB_mean nohead linestyle 10 front
set format x ""
plot data using 1:2:(0.74):(pick($2, A, B)) with boxes linecolor rgb variable, \
     for [i = 1:seeds > 1 ? 1 : 0] data using 1:3:(0):($4 - $3) with vectors nohead linecolor rgb "#303030" linewidth 1.1 * big

do for [i = 100:102] { unset label i }
do for [i = 1:n] { unset label 120 + i }
set tmargin at screen 0.405
set bmargin at screen 0.10
set label 103 sprintf("B−C: normalising with the gain frozen; mean %s, mean size %.2f", signed(BC_mean), SBC_mean) at graph 0, graph 1 left offset 0, 0.9
set arrow 1 from graph 0, first BC_mean to graph 1, first BC_mean nohead linestyle 10 front
set format x "%g"
set xlabel "layer"
plot data using 1:5:(0.74):(pick($5, B, C)) with boxes linecolor rgb variable, \
     for [i = 1:seeds > 1 ? 1 : 0] data using 1:6:(0):($7 - $6) with vectors nohead linecolor rgb "#303030" linewidth 1.1 * big
unset multiplot
