# rows and classes of tests/bench/gpu.sh -> a Markdown table, ours first and each peer with our ratio to it
# (above 1: ours is better), then a table per profile.
function wide(s, t) { t = s; gsub(/[\200-\277]/, "", t); return length(t) }
function pad(s, n, left, blank) { blank = n > wide(s) ? sprintf("%" (n - wide(s)) "s", "") : ""; return left ? s blank : blank s }
function grouped(s) { return length(s) > 3 ? grouped(substr(s, 1, length(s) - 3)) "," substr(s, length(s) - 2) : s }
function figure(x) { return x >= 1000 ? grouped(sprintf("%.0f", x)) : x >= 100 ? sprintf("%.0f", x) : x >= 10 ? sprintf("%.1f", x) : x >= 1 ? sprintf("%.2f", x) : sprintf("%.3g", x) }
function cells(a, b, c, d, e, f, g, i) {
    lines++
    cell[lines, 1] = a; cell[lines, 2] = b; cell[lines, 3] = c; cell[lines, 4] = d; cell[lines, 5] = e; cell[lines, 6] = f; cell[lines, 7] = g
    for (i = 1; i <= 7; i++) if (wide(cell[lines, i]) > width[i]) width[i] = wide(cell[lines, i])
}
function table(left, columns, i, k, line) {
    for (i = 1; i <= lines; i++) {
        line = "|"
        for (k = 1; k <= columns; k++) line = line " " pad(cell[i, k], width[k], k <= left || i == 1 && k <= left) " |"
        print line
        if (i > 1) continue
        line = "|"
        for (k = 1; k <= columns; k++) { dash = sprintf("%" width[k] "s", ""); gsub(/ /, "-", dash); line = line (k <= left ? " " dash " |" : " " substr(dash, 2) ": |") }
        print line
    }
    print ""
    lines = 0
    for (k = 1; k <= 7; k++) width[k] = 0
}
BEGIN { FS = "\t" }
{ file = FILENAME; sub(/.*\//, "", file) }
file == "rows" {
    key = $1 FS $2
    if (!(key in seen)) { seen[key] = 1; order[++keys] = key; title[key] = $2; part[key] = $1; unit[key] = $5 }
    if ($3 == "qk") ours[key] = $4
    else { n = ++count[key]; who[key, n] = $3; value[key, n] = $4 }
}
file == "classes" { model[++classes] = $1; name[classes] = $2; seconds[classes] = $3; gflop[classes] = $4; gb[classes] = $5; least[classes] = $6 }
END {
    cells("part", "what", "who", "figure", "unit", "ratio")
    for (i = 1; i <= keys; i++) {
        key = order[i]
        if (key in ours) cells(part[key], title[key], "qk", figure(ours[key]), unit[key], "")
        for (n = 1; n <= count[key]; n++) {
            ratio = ""
            if (key in ours && ours[key] > 0 && value[key, n] > 0 && unit[key] ~ /^(tokens\/s|TFLOP\/s|GB\/s|MB\/s)$/) ratio = figure(ours[key] / value[key, n]) " ×"
            if (key in ours && ours[key] > 0 && value[key, n] > 0 && unit[key] ~ /^(s|ms|MB)$/) ratio = figure(value[key, n] / ours[key]) " ×"
            first = n == 1 && !(key in ours)
            cells(first ? part[key] : "", first ? title[key] : "", who[key, n], figure(value[key, n]), unit[key], ratio)
        }
    }
    table(3, 6)
    for (i = 1; i <= classes; i++) {
        if (model[i] != model[i - 1]) {
            print model[i] ", a step by class of operation, by the card's clock; floor: operations at the best product measured or bytes at copy bandwidth"
            print ""
            cells("class", "ms", "floor, ms", "gap, ms", "GFLOP", "GB", "TFLOP/s")
            whole = bottom = 0
        }
        whole += seconds[i]; bottom += least[i]
        cells(name[i], sprintf("%.3f", 1e3 * seconds[i]), sprintf("%.3f", 1e3 * least[i]), sprintf("%.3f", 1e3 * (seconds[i] - least[i])), sprintf("%.2f", gflop[i]), sprintf("%.3f", gb[i]), seconds[i] > 0 ? sprintf("%.1f", gflop[i] / seconds[i] / 1e3) : "")
        if (model[i] != model[i + 1]) { cells("together", sprintf("%.3f", 1e3 * whole), sprintf("%.3f", 1e3 * bottom), sprintf("%.3f", 1e3 * (whole - bottom)), "", "", ""); table(1, 7) }
    }
}
