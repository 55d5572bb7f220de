# What all figures share: terminal by the suffix of `out`, colours and line types of the
# conditions, and the facts qk-plotdata wrote in the header of `data`.
#
#     gnuplot -e "data='1_loss.dat'; out='1_loss.png'" pipelines/figures/1_loss.gp
#
# Colours are Okabe and Ito's, which colour-blind readers can tell apart; line types differ too, so
# that a black-and-white print can be read.

if (!exists("width")) width = 1400
if (!exists("height")) height = 840

set encoding utf8
set minussign
svg = strlen(out) > 4 && out[strlen(out) - 3:] eq ".svg"
if (svg) set terminal svg rounded size width * 0.7, height * 0.7 font "Helvetica,Arial,DejaVu Sans,13.5" background "white" noenhanced
if (!svg) set terminal pngcairo rounded size width, height font "DejaVu Sans,19" background "white" noenhanced
if (svg) big = 1.0; else big = 1.45
set output out

# "# KEY: VALUE" of the header of `data`, or "".
meta(key) = system(sprintf("sed -n 's/^# %s: //p' '%s'", key, data))

conditions = meta("conditions")
n = words(conditions)
letter(i) = word(conditions, i)
label(i) = letter(i) . "  " . meta("label " . letter(i))
seeds = int(meta("seeds"))
site = meta("site") eq "" ? "" : " (" . meta("site") . ")"
known(key) = meta(key) ne ""

# A, B, C, D: the same in every figure.
number(i) = strstrt("ABCDEFGHIJKLMNOPQRSTUVWXYZ", letter(i))
array palette[6] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00"]
colour(k) = palette[(k - 1) % 6 + 1]
array shapes[6] = [7, 5, 9, 13, 11, 15]
# Earlier conditions are thicker and lie below, so that lines that coincide are all seen.
array widths[6] = [3.2, 2.4, 1.7, 1.4, 1.4, 1.4]
array sizes[6] = [0.9, 0.75, 0.65, 0.6, 0.6, 0.6]
do for [k = 1:6] {
    set style line k linecolor rgb colour(k) linewidth widths[k] * big dashtype 1 pointtype shapes[k] pointsize sizes[k] * big
}
set style line 10 linecolor rgb "#808080" linewidth 1.2 * big dashtype (8, 10)
set style line 11 linecolor rgb "#e4e4e4" linewidth 0.8 * big dashtype 1
set style line 12 linecolor rgb "#404040" linewidth 1.0 * big dashtype 1

set border 3 linestyle 12
set tics nomirror out scale 0.6 textcolor rgb "#202020"
set grid ytics linestyle 11
set key textcolor rgb "#202020" samplen 2.6 spacing 1.15
set style fill transparent solid 0.18 noborder
set datafile missing "NaN"

# Tokens on the x axis, in millions.
millions(t) = t / 1e6
last = meta("tokens") + 0
set xrange [0:millions(last)]
tokens_label = "training tokens (millions)"

# Title at the left edge of the plot, a remark below it in grey.
title_size = svg ? ",15.5" : ",22"
note_size = svg ? ",11.5" : ",16"
title = "set label 101 meta('title') . site at graph 0, graph 1.0 left offset 0, 2.3 + title_lift font title_size textcolor rgb '#101010';"
title = title . "set label 102 note at graph 0, graph 1.0 left offset 0, 0.9 + title_lift font note_size textcolor rgb '#606060'"
title_lift = 0
set tmargin 4.2
set rmargin 4
one_seed = seeds == 1 ? "one seed: no variance is known" : sprintf("mean of %d seeds; band: least to largest", seeds)
whiskers = seeds == 1 ? one_seed : sprintf("mean of %d seeds; whiskers: least to largest", seeds)

# Conditions by colour in a row just above the plot, for figures of bars (eval legend).
legend_of(i) = "■ " . label(i)
legend = "do for [i = 1:n] { set label 120 + i legend_of(i) at graph 0.24 * (i - 1), graph 1.0 left offset 0, 0.8 textcolor rgb colour(number(i)) }"
