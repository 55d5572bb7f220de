# What all figures share: terminal by the suffix of `out`, colours and line types of the
# conditions, and the facts qk-plotdata wrote in the header of `data`.
#
#     gnuplot -e "data='1_loss.dat'; out='1_loss.png'" pipelines/figures/1_loss.gp
#
# Colours are Okabe and Ito's, which colour-blind readers can tell apart; line types differ too, so
# that a black-and-white print can be read.

if (!exists("width")) { width = 1400 }
if (!exists("height")) { height = 840 }

set encoding utf8
set minussign
svg = strlen(out) > 4 && out[strlen(out) - 3:] eq ".svg"
if (svg) { set terminal svg rounded size width * 0.7, height * 0.7 font "Helvetica,Arial,DejaVu Sans,13.5" background "white" noenhanced }
if (!svg) { set terminal pngcairo rounded size width, height font "DejaVu Sans,19" background "white" noenhanced }
big = svg ? 1.0 : 1.45
set output out

# "# KEY: VALUE" of the header of `data`, or "".
meta(key) = system(sprintf("sed -n 's/^# %s: //p' '%s'", key, data))

known(key) = meta(key) ne ""
fact(key) = known(key) ? meta(key) + 0 : 0

conditions = meta("conditions")
n = words(conditions)
letter(i) = word(conditions, i)
seeds = known("seeds") ? int(meta("seeds")) : 1
site = known("site") ? " (" . meta("site") . ")" : ""
# Name and what stands behind it, the name for tight places, the colour's number: the same in every
# figure of a study.
array legends[n + 1]; array shorts[n + 1]; array numbers[n + 1]
do for [i = 1:n] {
    lone = strlen(letter(i)) == 1
    legends[i] = lone ? letter(i) . "  " . meta("label " . letter(i)) : meta("legend " . letter(i))
    shorts[i] = lone ? letter(i) : meta("short " . letter(i))
    numbers[i] = lone ? strstrt("ABCDEFGHIJKLMNOPQRSTUVWXYZ", letter(i)) : int(meta("number " . letter(i)))
}
label(i) = legends[i]
short(i) = shorts[i]
number(i) = numbers[i]
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
last = fact("tokens")
if (last > 0) { set xrange [0:millions(last)] }
tokens_label = "training tokens (millions)"

# Title at the left edge of the plot, a remark below it in grey, what was studied at the foot.
foot_size = svg ? ",10.5" : ",14"
foot = "set label 100 meta('about') at screen 0.99, screen 0 right offset 0, 0.7 font foot_size textcolor rgb '#808080';"
title_size = svg ? ",15.5" : ",22"
note_size = svg ? ",11.5" : ",16"
title = foot . "set label 101 meta('title') . site at graph 0, graph 1.0 left offset 0, 2.3 + title_lift font title_size textcolor rgb '#101010';"
title = title . "set label 102 note at graph 0, graph 1.0 left offset 0, 0.9 + title_lift font note_size textcolor rgb '#606060'"
title_lift = 0
set tmargin 4.2
set rmargin 4
set bmargin 5
one_seed = seeds == 1 ? "one seed: no variance is known" : sprintf("mean of %d seeds; band: least to largest", seeds)
whiskers = seeds == 1 ? one_seed : sprintf("mean of %d seeds; whiskers: least to largest", seeds)

# Conditions by colour in a row just above the plot, for figures of bars (eval legend).
legend_of(i) = "■ " . label(i)
legend = "do for [i = 1:n] { set label 120 + i legend_of(i) at graph 0.24 * (i - 1), graph 1.0 left offset 0, 0.8 textcolor rgb colour(number(i)) }"


# Cell k (from 1) of a grid of `columns` by `rows` panels below a title (eval cell).
columns = 1; rows = 1
left_edge = 0.075; right_edge = 0.975; top_edge = 0.83; bottom_edge = 0.11; gap_x = 0.06; gap_y = 0.11
cell_width(k) = (right_edge - left_edge - (columns - 1) * gap_x) / columns
cell_height(k) = (top_edge - bottom_edge - (rows - 1) * gap_y) / rows
cell_left(k) = left_edge + ((k - 1) % columns) * (cell_width(k) + gap_x)
cell_top(k) = top_edge - ((k - 1) / columns) * (cell_height(k) + gap_y)
cell = "set lmargin at screen cell_left(k); set rmargin at screen cell_left(k) + cell_width(k); set tmargin at screen cell_top(k); set bmargin at screen cell_top(k) - cell_height(k)"
# Title of the whole sheet of panels, the conditions in a row below (eval sheet_title; eval sheet_legend).
sheet_title = foot . "set label 101 meta('title') . site at screen left_edge, screen 1 left offset 0, -1.6 font title_size textcolor rgb '#101010';"
sheet_title = sheet_title . "set label 102 note at screen left_edge, screen 1 left offset 0, -3.0 font note_size textcolor rgb '#606060'"
sheet_legend = "do for [i = 1:n] { set label 120 + i legend_of(i) at screen left_edge + (right_edge - left_edge) * (i - 1) / (n < 4 ? 4.0 : n + 0.0), screen 1 left offset 0, -4.5 textcolor rgb colour(number(i)) }"
sheet_off = "do for [i = 100:140] { unset label i }"
panel_title = "set label 103 panel at graph 0, graph 1 left offset 0, 0.7 textcolor rgb '#101010'"

after = -1 # scan.gp
names = 1; line_gap = 0.055 # lines.gp

# A dashed line over the whole width with words above its right end (eval null_line).
null_line = "set arrow 1 from graph 0, first null_y to graph 1, first null_y nohead linestyle 10 front; set label 1 null_text at graph 1, first null_y right offset -0.3, 0.55 font note_size textcolor rgb '#606060' front"
