# What the parts of tests/bench/run share: running a command and keeping what it took.
# Expects $work (a folder), $bin (the tools), $helpers (build/KEY/bench).

MEDIAN='def median: sort | if length == 0 then null elif length % 2 == 1 then .[length / 2 | floor]
    else (.[length / 2 - 1] + .[length / 2]) / 2 end;'

say() { echo "bench: $*" >&2; }
fail() { say "$*"; exit 1; }
calc() { awk -v OFMT=%.9g "BEGIN { print ($1) }"; }

# [-l] COMMAND...: what it took is then in $work/m, its output in $work/out.  A failure is returned.
measured() {
    local lines=()
    [ "$1" != -l ] || { lines=(-l); shift; }
    command_text=$*
    "$helpers/measure" "${lines[@]}" "$work/m" "$@" >"$work/out" 2>"$work/err"
}
ours() { measured "$@" || { tail -n 3 "$work/err" >&2; fail "this failed: $command_text"; }; }
took() { jq -r "$MEDIAN $1" "$work/m"; } # a figure of the command measured last

# One run's figure: FIGURE WHO VALUE [VARIANT], with the command measured last and what it took.
record() {
    jq -cn --arg figure "$1" --arg who "$2" --argjson value "$3" --arg variant "${4:-}" --arg command "$command_text" \
        --slurpfile m "$work/m" '{figure: $figure, who: $who, variant: $variant, value: $value,
            command: $command, measured: ($m[0] | del(.lines_s))}' >>"$work/runs"
}
ceiling() { # FIGURE VALUE
    jq -cn --arg figure "$1" --argjson value "$2" '{figure: $figure, who: "ceiling", value: $value}' >>"$work/runs"
}
