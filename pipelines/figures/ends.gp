# Labels at the right ends of lines, pushed apart until they do not touch.
# In: m, arrays end_y[m] (value at the right end), end_text[m], end_colour[m]; gap (least distance).
do for [pass = 1:400] {
    do for [i = 1:m] { do for [j = 1:m] {
        if (i != j && abs(end_y[i] - end_y[j]) < gap && (end_y[i] > end_y[j] || (end_y[i] == end_y[j] && i < j))) {
            end_y[i] = end_y[i] + gap / 16.0
            end_y[j] = end_y[j] - gap / 16.0
        }
    } }
}
do for [i = 1:m] {
    set label 110 + i end_text[i] at graph 1, first end_y[i] left offset 0.8, 0 textcolor rgb end_colour[i]
}
