# A line per condition against tokens: band over seeds, name and last value at the right end.
# In: base (block of the first condition), col (column of the value; low and high follow), digits
# ("%.1f"), low, high (the y range); names = 0 leaves the right ends bare.
set xrange [*:*]
set yrange [*:*]
m = n
array end_y[m]; array end_text[m]; array end_colour[m]
set datafile missing "no such word"
array there[n]
there_are = 0
do for [i = 1:m] {
    value = "NaN"
    stats data index base + i - 1 using (v = stringcolumn(col), v ne "NaN" ? (value = v) : 0, 1) nooutput
    if (value ne "NaN") { there_are = there_are + 1; there[there_are] = i }
    end_y[i] = value ne "NaN" ? value + 0 : (low + high) / 2.0
    end_text[i] = value ne "NaN" ? label(i) . "  " . sprintf(digits, value + 0) : ""
    end_colour[i] = colour(number(i))
}
set datafile missing "NaN"
gap = (high - low) * line_gap
if (names) {
    load "ends.gp"
} else {
    do for [i = 1:m] { unset label 110 + i }
}
set xrange [0:millions(last)]
set yrange [low:high]
unset key
# conditions that have no number here are left out; without any the frame stays empty
if (there_are > 0) {
    plot for [j = 1:seeds > 1 ? there_are : 0] data index base + there[j] - 1 using (millions($1)):(column(col + 1)):(column(col + 2)) with filledcurves linecolor rgb colour(number(there[j])), \
         for [j = 1:there_are] data index base + there[j] - 1 using (millions($1)):(column(col)) with linespoints linestyle number(there[j])
} else {
    set label 109 "not measured" at graph 0.5, graph 0.5 center textcolor rgb "#808080"
    plot low - 1e9 notitle
    unset label 109
}
