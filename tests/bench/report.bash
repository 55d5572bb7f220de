# The last part of tests/bench/run: the table, build/bench.md and build/bench.json.

jq -s --slurpfile figures tests/bench/figures.json --argjson threads "$processors" -f tests/bench/table.jq "$work/runs" >"$work/table.json"
# Cells of one width, so that the table is read as well on a terminal as in Markdown.
jq -r -f tests/bench/print.jq "$work/table.json" | LC_ALL=C awk -F '\t' '
    function wide(s, t) { t = s; gsub(/[\200-\277]/, "", t); return length(t) }
    function pad(s, n, left, blank) { blank = sprintf("%" (n - wide(s)) "s", ""); return n <= wide(s) ? s : left ? s blank : blank s }
    { for (i = 1; i <= NF; i++) { cell[NR, i] = $i; if (wide($i) > width[i]) width[i] = wide($i) }; columns = NF }
    END {
        for (r = 1; r <= NR; r++) {
            line = "|"
            for (i = 1; i <= columns; i++) line = line " " pad(cell[r, i], width[i], i <= 2 || i == 4) " |"
            print line
            if (r > 1) continue
            line = "|"
            for (i = 1; i <= columns; i++) { dash = sprintf("%" width[i] "s", ""); gsub(/ /, "-", dash); line = line (i <= 2 || i == 4 ? " " dash " |" : " " substr(dash, 2) ": |") }
            print line
        }
    }' >"$work/table.md"

processor=$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)
memory=$(awk '/^MemTotal/ { printf "%.0f", $2 / 1048576 }' /proc/meminfo)
kernels=$("$bin/qk-train" --version | sed -n 's/^BLAS: //p')
compiler=$("$bin/qk-train" --version | sed -n 's/^compiler: //p')
commit=$(git describe --always --dirty 2>/dev/null || "$bin/qk-train" --version | head -n 1)
peer_versions=$(for entry in "${found[@]}"; do echo "${entry%|*}"; done | tr '|' ' ' | LC_ALL=C sort | paste -sd , | sed 's/,/, /g')

{
    echo "${processor:-A processor without a name}, $processors processors, $memory GiB; Linux $(uname -r); compiler $compiler; $kernels."
    echo "Commit $commit, $(date -u '+%Y-%m-%d %H:%M') UTC, load $busy at the start: \`make bench${PEERS:+ PEERS=$PEERS}\`, medians; rounds: $runs (88m: $large_runs)."
    echo "Text: $megabytes MB of $text_kind.${peer_versions:+ Peers: $peer_versions.}"
    echo
    echo "| threads | FMA in registers, GFLOP/s | best sgemm, GFLOP/s | our own products, GFLOP/s | copy, GB/s |"
    echo "|---:|---:|---:|---:|---:|"
    jq -r '. as $c | .fma | keys_unsorted[] | "| \(.) | \($c.fma[.] | round) | \($c.sgemm[.] | round) | \($c.gemm[.] | round) | \($c.copy[.] * 10 | round / 10) |"' "$work/ceilings.json"
    echo
    cat "$work/table.md"
    echo
    LC_ALL=C sort -u "$work/missing" | sed 's/^/Left out: /'
} >"$work/report.md"

mkdir -p "$(dirname "$out")"
{ cat "$work/report.md"; echo; cat "$work/profiles"; } >"$out.md"
jq -n --arg date "$(date -u +%FT%TZ)" --arg commit "$commit" --arg processor "$processor" --argjson processors "$processors" \
    --arg memory_gib "$memory" --arg kernel "$(uname -r)" --arg compiler "$compiler" --arg blas "$kernels" --arg peers "$peer_versions" \
    --arg text "$megabytes MB of $text_kind" --arg load "$busy" --argjson rounds "$runs" --argjson rounds_88m "$large_runs" \
    --slurpfile ceilings "$work/ceilings.json" --slurpfile table "$work/table.json" --slurpfile runs "$work/runs" --rawfile missing "$work/missing" \
    '{date: $date, commit: $commit, machine: {processor: $processor, processors: $processors, memory_gib: ($memory_gib | tonumber), kernel: $kernel, load: ($load | tonumber)},
      versions: {compiler: $compiler, blas: $blas, peers: $peers}, text: $text, rounds: $rounds, rounds_88m: $rounds_88m,
      ceilings: $ceilings[0], table: $table[0], missing: ($missing | split("\n") | map(select(. != "")) | unique), runs: $runs}' >"$out.json"
cat "$work/report.md"
echo "The same with profiles: $out.md; every run: $out.json"
