# Widen low and high by the numbers in columns `cols` ("2 3 4") of the blocks first_block to last_block,
# in rows whose first column is above `after`.  Ranges are free afterwards: `stats`
# sees nothing outside them.
set xrange [*:*]
set yrange [*:*]
# Columns as text: `stats` warns where it finds no number.
set datafile missing "no such word"
do for [c in cols] {
    stats data index first_block:last_block using (v = stringcolumn(int(c)), (v ne "NaN" && stringcolumn(1) ne "NaN" && $1 > after) ? (v = v + 0, low = v < low ? v : low, high = v > high ? v : high) : 0, 1) nooutput
}
set datafile missing "NaN"
