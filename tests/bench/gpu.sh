#!/bin/bash
# How fast the tools are on a GPU, beside what the card can do and beside PyTorch, in one run.
#
#     tests/bench/gpu.sh [PART...]       parts: ceilings attention 88m 1b58 profile probe checkpoint torch
#
# Runs in a checkout (after make bin bench-programs) or in the folder that make gpu-bundle packs; needs bash, awk and a
# driver, and for the peers a Python with PyTorch.  Prints each figure as it is known, then one table; gpu.md is the
# table, gpu.json every figure with its command, whole after each part.  README.md beside this file tells how each
# figure is made.  profile and torch are about those of 88m and 1b58 that are among the parts, else about both.
#
#     DEVICE=cuda PEER_PYTHON=python3 LIMIT=540 GPU_OUT=build/gpu TOKENS=pack.h5 MICRO=N QUICK=1 (tiny sizes, to see whether it runs)
set -eu -o pipefail
cd "$(dirname "$0")/../.."
export LC_ALL=C
invoked="tests/bench/gpu.sh${*:+ $*}"
device=${DEVICE:-cuda} kind=${DEVICE:-cuda} LIMIT=${LIMIT:-540} quick=${QUICK:-0} python=''
kind=${kind%%:*} card=0
[[ $device != *:* ]] || card=${device#*:}
bin=$(readlink -f "${QK_BIN:-bin}") || true
helpers=$bin/../bench
out=${GPU_OUT:-build/gpu}
work=$(mktemp -d "${TMPDIR:-/tmp}/qk-gpu-XXXXXX")
. tests/bench/gpu.bash
trap 'stop_watching; rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
if [ -f tests/cuda/cublaslt.bash ]; then # where the loader would not look
    . tests/cuda/cublaslt.bash
    find_cublaslt || true
fi
[ -x "$helpers/gpu" ] && [ -x "$bin/qk-train" ] || fail "$bin and $helpers/gpu are not there: make bin bench-programs"
for part in "$@"; do
    case $part in ceilings | attention | 88m | 1b58 | profile | probe | checkpoint | torch) ;; *) fail "$part is no part: ceilings attention 88m 1b58 profile probe checkpoint torch" ;; esac
done
[ $# -gt 0 ] || set -- ceilings 88m 1b58 attention profile probe checkpoint torch
wants() { [[ " $wanted " == *" $1 "* ]]; }
wanted="$*"
models=''
for model in 88m 1b58; do ! wants $model || models+=" $model"; done
[ -n "$models" ] || models="88m 1b58"
: >"$work/rows"
: >"$work/classes"
: >"$work/losses"
: >"$work/left_out"
mkdir -p "$(dirname "$out")"

# ---- the machine ----

gpu() { # MOST WHAT...: gpu.c on the device
    local most=$1
    shift
    ours "$most" "$helpers/gpu" --device "$device" --seconds "$seconds" "$@"
}
seconds=0.4
[ "$quick" = 0 ] || seconds=0.02
chip=$("$helpers/gpu" --device "$device" describe) || fail "device $device cannot be had"
[ "$kind" != auto ] || kind=${chip%%:*}
[[ $chip != *emulated* ]] || kind=emulated
if [ "$kind" = cuda ]; then
    driver=$(nvidia-smi --query-gpu=driver_version --format=csv,noheader -i "$card" 2>/dev/null | head -n 1) ||
        driver=$(sed -n 's/.*Kernel Module[^0-9]*\([0-9.]*\).*/\1/p' /proc/driver/nvidia/version 2>/dev/null) || driver=''
    power=$(nvidia-smi --query-gpu=power.limit,clocks.max.sm --format=csv,noheader -i "$card" 2>/dev/null | head -n 1) || power=''
else
    driver='' power=''
    say "$kind is no GPU: this is a look at whether everything runs"
fi
# Dense bf16 with float32 sums, TFLOP/s, from the makers' data sheets.
case $chip in
    *"H100 PCIe"*) peak=756 ;; *"H100 NVL"*) peak=835 ;; *H100* | *H200*) peak=989 ;;
    *B200*) peak=2250 ;; *A100* | *A800*) peak=312 ;; *A30*) peak=165 ;; *A40*) peak=150 ;; *L40S*) peak=362 ;;
    *L40*) peak=181 ;; *L4*) peak=121 ;; *"RTX 4090"*) peak=165 ;; *"RTX 3090"*) peak=71 ;; *) peak='' ;;
esac
for candidate in ${PEER_PYTHON:-python3}; do
    candidate=$(command -v "$candidate") || continue
    torch=$("$candidate" tests/bench/peers/device.py --device "$device" describe 2>/dev/null) && python=$candidate && break
done
[ -n "$python" ] || left_out "PyTorch on $device: no Python among '${PEER_PYTHON:-python3}' has it (PEER_PYTHON names those to try)"
torch=${torch:-}
who_torch="torch ${torch%%[+	]*}"
# Compiled kernels are kept for the next call on the same machine.
export TORCHINDUCTOR_CACHE_DIR=${TORCHINDUCTOR_CACHE_DIR:-${TMPDIR:-/tmp}/qk-inductor}

machine() {
    printf '%s\t%s\t%s\n' date "$(date -u +%FT%TZ)" '' command "$invoked" '' device "$device" '' device_kind "$kind" '' quick "$quick" number \
        chip "$chip" '' driver "$driver" '' power_limit_and_clock "$power" '' torch "${torch%%	*}" '' torch_device "$(cut -s -f 2 <<<"$torch")" '' \
        version "$("$bin/qk-train" --version | head -n 1)" '' commit "$(cat commit 2>/dev/null || git describe --always --dirty 2>/dev/null || true)" '' \
        best_product_tflops "${ceiling_tflops:-}" number copy_gbs "${ceiling_gbs:-}" number bf16_peak_tflops "$peak" number seconds_taken "$SECONDS" number parts "$done_parts" ''
}
keep() { # gpu.json and gpu.md as of now
    machine >"$work/machine"
    (cd "$work" && awk -f "$top/tests/bench/gpu_json.awk" machine rows classes losses left_out) >"$out.json.new"
    mv "$out.json.new" "$out.json"
    {
        [ "$kind" = cuda ] || echo "Not of a GPU: computed by $kind, to see whether everything runs."
        [ "$quick" = 0 ] || echo "With tiny sizes: no figure means anything."
        echo "$chip; driver ${driver:-unknown}; ${torch:+$who_torch; }$(sed -n 's/^version\t\([^\t]*\).*/\1/p' "$work/machine"), commit $(sed -n 's/^commit\t\([^\t]*\).*/\1/p' "$work/machine")."
        echo "$(date -u '+%Y-%m-%d %H:%M') UTC: \`$invoked\`, parts done:$done_parts."
        echo
        (cd "$work" && awk -f "$top/tests/bench/gpu_table.awk" rows classes)
        sed 's/^/Left out: /' "$work/left_out"
    } >"$out.md"
}
top=$PWD done_parts=''

# ---- models and text ----

# The study's two models (DESIGN, section 8), read in order, so that PyTorch's first losses can be held against ours.
common='"qk_norm":"learned","dtype":"bf16","data_order":"sequential","train_tokens":50000000'
if [ "$quick" = 0 ]; then
    echo '{"vocab_size":49152,"n_heads":8,"n_kv_heads":4,"d_model":512,"n_layers":22,"d_ff":2048,"seq_len":2048,"batch_size":8,"muon_lr":0.024,"adamw_lr":0.006,'"$common}" >"$work/88m.json"
    echo '{"vocab_size":49152,"n_heads":16,"n_kv_heads":8,"d_model":2048,"n_layers":32,"d_ff":8192,"seq_len":2048,"batch_size":8,"grad_accum":4,"muon_lr":0.012,"adamw_lr":0.003,'"$common}" >"$work/1b58.json"
    steps_88m=${STEPS_88M:-60} steps_1b58=${STEPS_1B58:-10} warm_88m=10 warm_1b58=3 probe=8x2048 text=6000000 entries=49152
    squares="4096x4096x4096 8192x8192x8192" bytes=2147483648
    of_88m="16384x1024x512 16384x512x512 16384x2048x512 16384x512x2048 16384x49152x512"
    of_1b58="16384x4096x2048 16384x2048x2048 16384x8192x2048 16384x2048x8192 16384x49152x2048"
    heads="8x2048x32x32x64 8x2048x16x16x128 8x2048x8x4x64 8x2048x16x8x128"
else
    echo '{"vocab_size":512,"n_heads":2,"n_kv_heads":1,"d_model":32,"n_layers":2,"d_ff":64,"seq_len":64,"batch_size":2,"muon_lr":0.024,"adamw_lr":0.006,'"$common}" >"$work/88m.json"
    echo '{"vocab_size":512,"n_heads":4,"n_kv_heads":2,"d_model":64,"n_layers":3,"d_ff":128,"seq_len":64,"batch_size":2,"grad_accum":2,"muon_lr":0.012,"adamw_lr":0.003,'"$common}" >"$work/1b58.json"
    steps_88m=12 steps_1b58=8 warm_88m=3 warm_1b58=2 probe=4x64 text=60000 entries=512
    squares="128x128x128" of_88m="128x64x32" of_1b58="128x96x64" bytes=1000000 heads="2x64x4x2x16"
fi
pack=${TOKENS:-$work/tokens.h5}
if [ -z "${TOKENS:-}" ]; then
    awk -v bytes="$text" -f tests/bench/words.awk >"$work/text"
    "$bin/qk-tokpack" -q --no-provenance --train-bpe "$entries" --probe "$probe" "$work/text" -o "$pack" >/dev/null
fi

# ---- parts ----

torch_says() { # MOST PART WORD WHAT SHAPE...
    # shellcheck disable=SC2086 # several shapes
    ! peer "$1" "$python" tests/bench/peers/device.py --device "$device" --seconds "$seconds" $4 || device_rows "$2" "$who_torch" "$3"
}
measure_ceilings() { # SHAPES
    # shellcheck disable=SC2086
    ! gpu 120 matmul $1 || device_rows ceilings qk "matmul "
    ! gpu 60 copy "$bytes" || device_rows ceilings qk ""
}
take_ceilings() {
    ceiling_tflops=$(best TFLOP/s '^ceilings matmul') ceiling_gbs=$(best GB/s '^ceilings')
    [ "$(calc "$ceiling_tflops > 0 && $ceiling_gbs > 0")" = 1 ] || fail "not one product or copy could be timed: $(why)"
}
part_ceilings() {
    measure_ceilings "$squares $of_88m $of_1b58"
    torch_says 120 ceilings "matmul " "matmul $squares $of_88m $of_1b58"
    torch_says 60 ceilings "" "copy $bytes"
    take_ceilings
    row ceilings "best product of any shape" "any" "$ceiling_tflops" TFLOP/s
}
part_attention() {
    # shellcheck disable=SC2086
    ! gpu 90 attention $heads || device_rows attention qk ""
    torch_says 120 attention "" "attention $heads"
}

steps_of() { local name=steps_$1; echo "${!name}"; }
warm_of() { local name=warm_$1; echo "${!name}"; }
losses_of() { sed -n 's/.*"loss": *\(-\{0,1\}[0-9.e+-]*\).*/\1/p' "$1" | tr '\n' ' '; }
qk_train() { # MOST MODEL ARGUMENT...
    local most=$1 model=$2
    shift 2
    ours "$most" "$bin/qk-train" -q --device "$device" --config "$work/$model.json" --data "$pack" ${MICRO:+--micro-batch "$MICRO"} "$@"
}
part_88m() { part_model 88m; }
part_1b58() { part_model 1b58; }
part_model() { # MODEL: training, without anything beside it
    local step inner
    rm -f "$work/$1".h5*
    watch_memory
    # A run that is stopped at its limit still leaves the steps it made.
    qk_train 150 "$1" --steps "$(steps_of "$1")" --log - --timing "$work/$1.timing" --autosave 1000 --weights-only -o "$work/$1.h5" || true
    cp "$work/out" "$work/$1.log"
    step=$(gaps "$(warm_of "$1")" | median) inner=$(sed -n 's/.*"step_s": *\([0-9.e-]*\).*/\1/p' "$work/$1.timing" 2>/dev/null | tail -n 1)
    [ "$(calc "${step:-0} + 0 > 0")" = 1 ] || step=$inner # lines so close that several were read at once
    [ -n "$step" ] || { stop_watching; left_out "$1: too few steps were made to tell a speed"; return 0; }
    training_rows "$1" qk "$(calc "$(plan "$1" tokens_per_step) / $step")"
    row "$1" "a step, from line to line of the log" qk "$(calc "1000 * $step")" ms
    [ -z "$inner" ] || row "$1" "a step, --timing's median" qk "$(calc "1000 * $inner")" ms
    row "$1" "until the first step is done" qk "$(lines | head -n 1)" s
    memory_row "$1" qk
    printf '%s\t%s\t%s\n' "$1" qk "$(losses_of "$work/$1.log")" >>"$work/losses"
}

part_profile() { for model in $models; do profile "$model"; done; }
# Two runs of different length: their difference is steps without start-up and the first step.
profile() { # MODEL
    local few=1 many=4 # the table is rounded to milliseconds
    [ "$1" != 88m ] || many=31
    for steps in $few $many; do
        qk_train 90 "$1" --steps $steps --profile --weights-only -o "$work/profile.h5" || return 0
        cp "$work/err" "$work/profile.$steps"
        rm -f "$work"/profile.h5*
    done
    awk -v OFS='\t' -v model="$1" -v steps=$((many - few)) -v tflops="$ceiling_tflops" -v gbs="$ceiling_gbs" '
        NF == 7 && $2 ~ /^[0-9.]+$/ {
            if (FNR == NR) { s[$1] = $2; f[$1] = $4; b[$1] = $5; next }
            t = ($2 - s[$1]) / steps; flop = ($4 - f[$1]) / steps; byte = ($5 - b[$1]) / steps
            least = flop / tflops / 1e3
            if (byte / gbs > least) least = byte / gbs
            if (t < 0) t = 0
            print model, $1, t, flop, byte, least
        }' "$work/profile.$few" "$work/profile.$many" >"$work/profile.rows"
    [ -s "$work/profile.rows" ] || { left_out "profile of $1: no table was printed"; return 0; }
    cat "$work/profile.rows" >>"$work/classes"
    local all step
    all=$(awk '{ s += $3 } END { print 1000 * s }' "$work/profile.rows") step=$(value "$1" "a step, from line to line")
    row "$1 profile" "all classes" qk "$all" ms
    [ -z "$step" ] || row "$1 profile" "the rest of the step, between operations" qk "$(calc "$step - $all")" ms
    row "$1 profile" "their floors together" qk "$(awk '{ s += $6 } END { print 1000 * s }' "$work/profile.rows")" ms
    awk -F '\t' '{ printf "  %-12s %10.3f ms, floor %10.3f ms\n", $2, 1000 * $3, 1000 * $6 }' "$work/profile.rows"
}

part_probe() {
    local model=1b58 rest what
    [ -s "$work/$model.h5" ] || qk_train 90 $model --until 0 --weights-only -o "$work/$model.h5" || return 0
    ours 120 "$bin/qk-probe" -v --device "$device" --no-provenance --batch "$pack" "$work/$model.h5" -o "$work/probe.json" || return 0
    rest=$(sed -n 's/.* ran in \([0-9.]*\) s, summed in \([0-9.]*\) s, measured in \([0-9.]*\) s.*/\1 + \2 + \3/p' "$work/err")
    [ -n "$rest" ] || { left_out "probe: qk-probe -v told no times"; return 0; }
    row probe "qk-probe of $model, $probe, reading apart" qk "$(calc "$rest")" s
    for what in ran summed measured read; do
        row probe "  $what in" qk "$(sed -n "s/.*[ ,] *$what in \([0-9.]*\) s.*/\1/p" "$work/err")" s
    done
    row probe "  the whole process" qk "$(took wall_s)" s
    rm -f "$work/$model.h5" "$work/probe.json"
}

value() { # MODEL WHAT...: of ours, by how it begins
    awk -F '\t' -v model="$1" -v what="$2" '$1 == model && $3 == "qk" && index($2, what) == 1 { print $4; exit }' "$work/rows"
}
part_checkpoint() {
    local model=1b58 need
    need=$(calc "3.2 * $(plan $model file_checkpoint) / 1e9")
    rm -f "$work"/*.h5.raw "$work/1b58.h5"
    [ "$(calc "$(free_gb) > $need")" = 1 ] || { left_out "checkpoint of 1b58: $(free_gb) GB are free, $need are needed; 88m instead"; model=88m; }
    checkpoints $model
}
# A save while training goes on.  What it costs: by how much the steps after it took longer, all together, than as many
# at the median of those before, or, without such, of the plain run.
checkpoints() { # MODEL
    local first step before=10 after=9 minutes saves cost bytes
    [ "$1" != 88m ] || before=100 after=100
    # From the plain run: start-up and a step, so that a save comes after about `before` steps and no other follows.
    [ -n "$(value "$1" "until the first step")" ] || part_model "$1"
    first=$(value "$1" "until the first step") step=$(value "$1" "a step, from line to line")
    [ -n "$first" ] && [ -n "$step" ] || return 0
    minutes=$(calc "($first + ($before - 0.5) * $step / 1000) / 60")
    [ "$quick" = 0 ] || minutes=0 # after every step
    rm -f "$work"/save.*
    qk_train 200 "$1" --steps $((before + after)) --log - --timing "$work/save.timing" --autosave "$minutes" -o "$work/save.h5" || return 0
    saves=$(($(wc -l <"$work/save.timing") - 1))
    [ "$saves" -ge 1 ] || { left_out "checkpoint: training was over before the first save"; return 0; }
    before=$(sed -n '1s/.*"step": *\([0-9]*\).*/\1/p' "$work/save.timing")
    step=$(calc "$step / 1000")
    [ "$before" -le $(($(warm_of "$1") + 1)) ] || step=$(gaps "$(warm_of "$1")" "$before" | median)
    cost=$(lines | awk -v before="$before" -v step="$step" 'NR == before { from = $1 } { to = $1 } END { print to - from - (NR - before) * step }')
    bytes=$(wc -c <"$work/save.h5")
    row checkpoint "$1: a save while training goes on costs it" qk "$(calc "$cost / $saves")" s
    row checkpoint "$1: of the time, with one in ten minutes" qk "$(calc "100 * $cost / $saves / 600")" %
    row checkpoint "$1: saves in that run" qk "$saves" saves
    row checkpoint "$1: last file, last step to end of process" qk "$(calc "$bytes / 1e6 / ($(took wall_s) - $(lines | tail -n 1))")" MB/s
    row checkpoint "$1: its size" qk "$(calc "$bytes / 1e6")" MB
    rm -f "$work"/save.*
}

# PyTorch, compiled in several ways and not at all: the promising first, so that each model has its best when time ends.
part_torch() {
    local pairs="88m:whole 1b58:layers 88m:graphs 1b58:whole 88m:none 1b58:none 88m:layers" pair
    [ -n "$python" ] || return 0
    [ "$kind" = cuda ] || pairs="88m:whole 88m:none 1b58:none"
    rm -f "$work"/*.raw* "$work"/*.h5*.partial
    for pair in $pairs; do
        [[ " $models " != *" ${pair%:*} "* ]] || torch_model "${pair%:*}" "${pair#*:}"
        keep
    done
}
# From our initial weights on our tokens, as raw numbers, where there is room for them.
start_of() { # MODEL -> start
    start=()
    if [ ! -s "$work/$1.raw" ] && [ "$(calc "$(free_gb) > 1.2 * $(plan "$1" file_weights_only) / 1e9")" = 1 ]; then
        ours 60 "$helpers/gpu" weights "$work/$1.json" "$work/$1.raw" && ours 60 "$helpers/gpu" tokens "$pack" "$work/tokens.raw" || rm -f "$work/$1.raw"
    fi
    [ ! -s "$work/$1.raw" ] || start=(--weights "$work/$1.raw" --tokens "$work/tokens.raw")
}
torch_model() { # MODEL HOW
    start_of "$1"
    watch_memory
    ! peer 240 "$python" tests/bench/peers/train_torch.py "$work/$1.json" --device "$device" --dtype bf16 --compile "$2" \
        --steps $(($(steps_of "$1") / 2)) --warmup "$(warm_of "$1")" "${start[@]}" || torch_rows "$1" "$2"
    stop_watching
}
torch_rows() { # MODEL HOW
    local name="$who_torch compiled, $2" step
    [ "$2" != none ] || name="$who_torch eager"
    step=$(sed -n 's/.*"step_s": \[\([^]]*\)\].*/\1/p' "$work/out" | tr ',' '\n' | median)
    training_rows "$1" "$name" "$(calc "$(plan "$1" tokens_per_step) / $step")"
    memory_row "$1" "$name"
    printf '%s\t%s\t%s\n' "$1" "$name" "$(sed -n 's/.*"losses": \[\([^]]*\)\].*/\1/p' "$work/out" | tr -d ',')" >>"$work/losses"
    # Both did the same work: from the same weights, on the same tokens, the losses of the first steps agree.
    if [ ${#start[@]} -gt 0 ] && [ -s "$work/$1.log" ]; then
        row "$1" "first 5 losses, largest difference to ours" "$name" "$(awk -F '\t' -v model="$1" -v name="$name" '
            $1 == model && $2 == "qk" { split($3, a, " ") }
            $1 == model && $2 == name { split($3, b, " ") }
            END { for (i = 1; i <= 5; i++) { x = a[i] - b[i]; if (x < 0) x = -x; if (x > most) most = x }; print most + 0 }' "$work/losses")" nats
    fi
}

if ! wants ceilings; then # a share needs them, of the same run
    measure_ceilings "${squares##* }"
    take_ceilings
fi
for part in "$@"; do
    say "$part ($(time_left) s left)"
    if [ "$(time_left)" -lt 5 ]; then
        left_out "$part: no time was left of $LIMIT s"
    else
        "part_$part" || left_out "$part ended early"
        done_parts+=" $part"
    fi
    keep
done
echo
cat "$out.md"
echo "The same: $out.md; every figure with its command: $out.json"
