# What the parts of tests/bench/gpu.sh share.  Expects $work (a folder), $bin, $helpers, $device, $kind, $LIMIT.
# Plain bash and awk: a bare machine with a GPU need not have jq.

say() { echo "gpu.sh: $*" >&2; }
fail() { say "$*"; exit 1; }
calc() { awk -v OFMT=%.9g -v CONVFMT=%.9g "BEGIN { print ($1) + 0 }"; }
median() { LC_ALL=C sort -g | awk '{ x[NR] = $1 } END { if (NR) print NR % 2 ? x[(NR + 1) / 2] : (x[NR / 2] + x[NR / 2 + 1]) / 2 }'; }
left_out() { echo "$*" >>"$work/left_out"; say "left out: $*"; }

# ---- figures ----

row() { # PART WHAT WHO VALUE UNIT: kept with the command run last, and shown at once
    printf '%s\t%s\t%s\t%s\t%s\t%s\n' "$1" "$2" "$3" "$4" "$5" "${command_text//[$'\t\n']/ }" >>"$work/rows"
    printf '%-13s %-42s %-22s %12.6g %s\n' "$1" "$2" "$3" "$4" "$5"
}
# What gpu or peers/device.py printed: PART WHO [WORD before the shape].
device_rows() {
    local name shape rate unit seconds
    while IFS=$'\t' read -r name shape rate unit seconds; do
        case $name in # a peer's backend goes to who it was
            *" forward" | *" backward") row "$1" "$3$shape ${name##* }" "$2 ${name% *}" "$rate" "$unit" ;;
            *) row "$1" "$3$shape $name" "$2" "$rate" "$unit" ;;
        esac
    done <"$work/out"
}
best() { # UNIT PATTERN: the largest value of such figures, 0 without one
    awk -F '\t' -v unit="$1" -v pattern="$2" '$5 == unit && $1 " " $2 ~ pattern && $4 > most { most = $4 } END { printf "%.9g", most }' "$work/rows"
}

# Tokens per second, and what follows from them: MODEL WHO RATE.  Operations as lib/study/train/plan.h counts them.
training_rows() {
    local tflops
    tflops=$(calc "$3 * $(plan "$1" flops_per_token) / 1e12")
    row "$1" "training" "$2" "$3" tokens/s
    row "$1" "training, achieved" "$2" "$tflops" TFLOP/s
    row "$1" "training, of the best product measured" "$2" "$(calc "100 * $tflops / $ceiling_tflops")" %
    [ -z "$peak" ] || row "$1" "training, of the dense bf16 peak, $peak" "$2" "$(calc "100 * $tflops / $peak")" %
}
plan() { # MODEL NAME: a number of qk-train --plan
    [ -f "$work/$1.plan" ] || "$bin/qk-train" --plan --config "$work/$1.json" >"$work/$1.plan"
    awk -v name="$2" '$1 == name { print $2 }' "$work/$1.plan"
}

# ---- running ----

time_left() { echo $((LIMIT - SECONDS)); }
# MOST COMMAND...: at most so many seconds, never beyond LIMIT.  $work/out is its output, $work/m what it took.
limited() {
    local most=$1
    shift
    command_text=$*
    [ "$(time_left)" -ge "$most" ] || most=$(time_left)
    [ "$most" -ge 5 ] || { left_out "no time was left for: $command_text"; return 124; }
    "$helpers/measure" -l "$work/m" timeout -s KILL "$most" "$@" >"$work/out" 2>"$work/err"
}
why() { # of the command run last, short
    { grep -E 'Error|error|qk-[a-z]+:|gpu:' "$work/err" || tail -n 1 "$work/err"; } | tail -n 1 | cut -c 1-200
}
ours() { limited "$@" || { left_out "$command_text failed: $(why)"; return 1; }; }
peer() { [ -n "$python" ] && { limited "$@" || { left_out "$command_text failed: $(why)"; return 1; }; }; }

lines() { sed -n 's/.*"lines_s":\[\([^]]*\)\].*/\1/p' "$work/m" | tr ',' '\n'; } # when each line came
gaps() { lines | head -n "${2:-100000}" | awk -v from="$1" 'NR > 1 && NR > from { print $1 - last } { last = $1 }'; } # FROM [TO]: between them
took() { sed -n "s/.*\"$1\":\([0-9.]*\).*/\1/p" "$work/m"; }

# Memory on the card while something runs, as the driver counts it; on the CPU what the kernel says.
watch_memory() {
    watcher='' memory_before=''
    [ "$kind" = cuda ] && command -v nvidia-smi >/dev/null || return 0
    local ask=(nvidia-smi -i "$card" --query-gpu=memory.used --format=csv,noheader,nounits)
    memory_before=$("${ask[@]}" 2>/dev/null) || return 0
    "${ask[@]}" -lms 100 >"$work/memory" 2>/dev/null &
    watcher=$!
}
memory_row() { # MODEL WHO
    if [ -n "$watcher" ]; then
        kill "$watcher" 2>/dev/null || true
        wait "$watcher" 2>/dev/null || true
        watcher=''
        row "$1" "peak memory on the card" "$2" "$(awk -v before="$memory_before" '$1 > most { most = $1 } END { printf "%.0f", (most - before) * 1.048576 }' "$work/memory")" MB
    elif [ "$kind" != cuda ] && [ -n "$(took max_rss_bytes)" ]; then
        row "$1" "peak memory of the process" "$2" "$(calc "$(took max_rss_bytes) / 1e6")" MB
    fi
}
stop_watching() { [ -z "${watcher:-}" ] || kill "$watcher" 2>/dev/null || true; }
free_gb() { df -Pk "$work" | awk 'NR == 2 { printf "%d", $4 / 1e6 }'; }
