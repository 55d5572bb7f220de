# Facts gathered by tests/bench/gpu-code -> a Markdown table, a row per kernel.
function named(s) { sub(/^void /, "", s); sub(/\(.*/, "", s); return s }
function least(a, b) { return a < b ? a : b }
# Blocks that fit on a multiprocessor: of its shared memory every block takes 1 KiB more than it asks for.
function blocks(arch, registers, threads, shared, n) {
    n = least(32, int(2048 / threads))
    n = least(n, int(65536 / (int((registers + 7) / 8) * 8 * threads)))
    return least(n, int((arch == 80 ? 164 : arch == 90 ? 228 : 100) * 1024 / (shared + 1024)))
}
function widths(kernel, kind, w, text) { # "16:4 4:1": four instructions of 16 bytes, one of 4
    for (w = 16; w >= 1; w /= 2) if (count[kernel, kind, w]) text = text (text == "" ? "" : " ") w ":" count[kernel, kind, w]
    return text
}
function each(what, kernel, i, text) { # one number for each architecture
    for (i = 1; i <= n; i++) text = text (i > 1 ? ", " : "") (what == "registers" ? registers[kernel, arch[i]] : spilled[kernel, arch[i]])
    return text
}
BEGIN {
    FS = "\t"
    n = split(archs, arch, " ")
    for (i = 1; i <= n; i++) all = all (i > 1 ? ", " : "") "sm_" arch[i]
}
$1 == "code" {
    k = named($2)
    if (!(k in source)) { order[++kernels] = k; source[k] = $3 }
    registers[k, $4] = $5; spilled[k, $4] = $6; held[k] = $7; threads[k] = $8
}
$1 == "op" { count[named($2), $3, $4] += $5 }
$1 == "asked" { k = named($2); if ($3 > asked[k]) asked[k] = $3 }
END {
    print "| file | kernel | registers " all " | spilled, B | threads | shared, B | blocks | warps |" (sass ? " loads | stores | HMMA | LDSM | LDGSTS |" : "")
    print "|---|---|---:|---:|---:|---:|---:|---:|" (sass ? "---|---|---:|---:|---:|" : "")
    for (j = 1; j <= kernels; j++) {
        k = order[j]
        fit = blocks(arch[n], registers[k, arch[n]], threads[k], held[k] + asked[k])
        printf "| %s | `%s` | %s | %s | %d | %d | %d | %d |", source[k], k, each("registers", k), each("spilled", k), threads[k], held[k] + asked[k], fit, fit * threads[k] / 32
        if (sass) printf " %s | %s | %s | %s | %s |", widths(k, "LDG"), widths(k, "STG"), count[k, "HMMA", 0], count[k, "LDSM", 0], count[k, "LDGSTS", 0]
        print ""
    }
}
