# What the programs must do on a CUDA device, a function each: for tests/cuda/programs.bats (an emulated
# card, a model as small as they come) and tests/cuda/check-gpu (a card).  bash, awk, grep and cmp are enough.
#
# They work in the current folder, which holds a token pack t.h5 (train, val, probe) and c.json, with the
# programs in PATH, and end with a status other than 0, after a line that says why, when something is wrong.
# $steps is how long the trainings of c.json are; $dtypes what they compute in.

# Errors end a function wherever it is called from: not so under `set -e` alone, inside a condition.
same_file() { cmp "$1" "$2" || { echo "$1 and $2 differ"; return 1; }; }

train() { # DTYPE OPTION...
    local dtype=$1
    shift
    ${EXEC-} qk-train -q --device cuda --no-provenance --data t.h5 "$@" ${dtype:+--set dtype=$dtype}
}

# The whole training of c.json on the device, once per dtype: whole-DTYPE.h5 and .jsonl.
whole() { # DTYPE
    [ -e "whole-$1.h5" ] || train "$1" --config c.json --steps "$steps" --log "whole-$1.jsonl" \
        --val-at every:1G --keys-at 0 --keys-dir "keys-whole-$1" -o "whole-$1.h5"
}

initial_weights_are_the_cpus() {
    train "" --config c.json --until 0 -o initial.h5 || return 1
    qk-train -q --device cpu --no-provenance --data t.h5 --config c.json --until 0 -o initial-cpu.h5 || return 1
    same_file initial.h5 initial-cpu.h5
}

# Another order is for the emulation; a card has its own.
two_runs_give_the_same_bytes() {
    local dtype
    for dtype in $dtypes; do
        whole $dtype || return 1
        QK_EMULATION_ORDER=shuffle:5 train $dtype --config c.json --steps "$steps" --log again.jsonl \
            --val-at every:1G --keys-at 0 --keys-dir keys-again -o again.h5 || return 1
        same_file whole-$dtype.h5 again.h5 && same_file whole-$dtype.jsonl again.jsonl &&
            diff -r keys-whole-$dtype keys-again || return 1
        rm -r again.h5 again.jsonl keys-again
    done
}

# A to C is A to B to C; A is a file, B another.
resuming_is_exact() {
    local dtype half=$((steps / 2))
    for dtype in $dtypes; do
        whole $dtype || return 1
        train $dtype --config c.json --until 0 -o a.h5 || return 1
        train "" --from a.h5 --steps $half -o b.h5 || return 1
        train "" --from b.h5 --steps "$steps" -o c.h5 || return 1
        same_file c.h5 whole-$dtype.h5 || return 1
    done
}

# Stopped by SIGTERM it saves and ends with 75; the same command goes on to the same bytes.
stopped_it_goes_on() {
    local dtype=${dtypes%% *} status=0
    whole $dtype || return 1
    rm -f stop.h5.partial
    EXEC=exec train $dtype --config c.json --steps "$steps" --log stop.jsonl --val-at every:1G \
        --keys-at 0 --keys-dir keys-stop --autosave 0 -o stop.h5 3>&- &
    local pid=$!
    for _ in $(seq 6000); do
        [ ! -e stop.h5.partial ] || break
        sleep 0.01
    done
    kill -TERM $pid
    wait $pid || status=$?
    [ $status = 75 ] || { echo "it ended with status $status"; return 1; }
    [ -e stop.h5.partial ] && [ ! -e stop.h5 ] || { echo "there is no stop.h5.partial"; return 1; }
    train $dtype --config c.json --steps "$steps" --log stop.jsonl --val-at every:1G \
        --keys-at 0 --keys-dir keys-stop --autosave 0 -o stop.h5 || return 1
    same_file stop.h5 whole-$dtype.h5 && same_file stop.jsonl whole-$dtype.jsonl
}

# Whatever the micro-batch and with recomputation, the losses are those of the whole batch to TOLERANCE.
micro_batches_change_rounding_only() {
    local how
    whole fp32 || return 1
    for how in "--micro-batch 1" "--micro-batch 2 --recompute"; do
        train fp32 --config c.json --steps "$steps" --log micro.jsonl --val-at every:1G $how -o micro.h5 || return 1
        close_numbers whole-fp32.jsonl micro.jsonl 2e-4 || return 1
    done
    train fp32 --config c.json --steps "$steps" --recompute -o micro.h5 || return 1
    same_file micro.h5 whole-fp32.h5
}

# Words and keys of two files are the same and numbers within TOLERANCE of each other.
close_numbers() { # A B TOLERANCE
    local words='"[^"]*"|-?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?|null|true|false'
    paste <(grep -oE "$words" "$1") <(grep -oE "$words" "$2") | awk -F '\t' -v tolerance="$3" -v names="$1, $2" '
        $1 == $2 { next }
        $1 !~ /^-?[0-9]/ || $2 !~ /^-?[0-9]/ { print names ": " $1 " against " $2 " (word " NR ")"; bad++; next }
        { off = $1 - $2; off = off < 0 ? -off : off; size = $1 < 0 ? -$1 : $1
          if (off > tolerance * (size + 0.001)) { bad++; if (bad < 5) print names ": " $1 " against " $2 " (word " NR ")" } }
        END { if (!NR) { print names ": nothing to compare"; bad++ } exit bad > 0 }'
}

# In fp32 the device measures what the CPU does: spectra, entropies, the largest logits.
probing_agrees_with_the_cpu() {
    whole fp32 || return 1
    local device
    for device in cpu cuda; do
        qk-probe -q --device $device --no-provenance --of k,q,qk whole-fp32.h5 >probe-$device.json || return 1
        qk-probe -q --device $device --no-provenance --keys keys-$device.h5 whole-fp32.h5 >/dev/null || return 1
        qk-probe -q --no-provenance keys-$device.h5 >dump-$device.json || return 1
        qk-eval -q --device $device --no-provenance --task loss --data t.h5 --split val whole-fp32.h5 \
            >eval-$device.json || return 1
    done
    close_numbers probe-cpu.json probe-cuda.json 1e-3 && close_numbers dump-cpu.json <(sed s/keys-cuda/keys-cpu/ dump-cuda.json) 1e-3 &&
        close_numbers eval-cpu.json eval-cuda.json 1e-5
}

one_sentence() { # STATUS PATTERN COMMAND...
    local want=$1 pattern=$2 status=0
    shift 2
    "$@" >said.out 2>said.err || status=$?
    [ $status = "$want" ] && [ ! -s said.out ] && [ "$(wc -l <said.err)" = 1 ] && grep -q -- "$pattern" said.err || {
        echo "status $status, expected $want with one sentence of '$pattern':"
        cat said.out said.err
        return 1
    }
}

# `no_card COMMAND...` runs a command as if there were no card.
without_a_card_it_says_so() {
    one_sentence 1 '^qk-train: device cuda: ' no_card qk-train -q --device cuda --config c.json --data t.h5 --steps 1 -o none.h5 || return 1
    one_sentence 1 '^qk-probe: .*device cuda: ' no_card qk-probe -q --device cuda initial.h5 || return 1
    no_card qk-train -q --no-provenance --config c.json --data t.h5 --until 0 -o auto.h5 || return 1 # auto takes the CPU
    one_sentence 1 '^qk-train: device cuda:99: ' qk-train -q --device cuda:99 --config c.json --data t.h5 --steps 1 -o none.h5 || return 1
    [ ! -e none.h5 ]
}

# Trained alike but for the dtype, the losses of the last tenth of the steps and of validation are
# within 1 % of each other, and lower than at the start.
bf16_learns_as_fp32_does() { # STEPS CONFIG
    local dtype
    for dtype in fp32 bf16; do
        train $dtype --config "$2" --steps "$1" --log mini-$dtype.jsonl --val-at every:1G -o mini-$dtype.h5 || return 1
    done
    paste -d ' ' <(losses mini-fp32.jsonl "$1") <(losses mini-bf16.jsonl "$1") | awk '
        { printf "%s: %.5f in fp32, %.5f in bf16 (%.3f %%), %.5f at the start\n", $1, $2, $5, 100 * ($5 / $2 - 1), $3
          off = $5 / $2 - 1; if (off < 0) off = -off
          if (!(off <= 0.01) || !($2 < $3)) bad = 1 }
        END { exit bad || NR != 2 }' >mini.txt || { cat mini.txt; return 1; }
    cat mini.txt
}

# "loss LAST FIRST" and "val_loss LAST FIRST" of a log; the last loss is the mean over a tenth of the steps.
losses() { # LOG STEPS
    awk -v steps="$2" '
        function value(key) { return match($0, "\"" key "\":[^,}]*") ? substr($0, RSTART + length(key) + 3, RLENGTH - length(key) - 3) : "" }
        value("loss") != "" { if (!n++) first = value("loss"); if (n > steps - steps / 10) { sum += value("loss"); k++ } }
        value("val_loss") != "" { if (!v++) val_first = value("val_loss"); val = value("val_loss") }
        END { print "loss", sum / k, first; print "val_loss", val, val_first }' "$1"
}
