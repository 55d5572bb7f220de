# qk-train at the command line: exact resumption, signals, kill -9, full disks, refusals, the plan.

bats_require_minimum_version 1.5.0

setup_file() {
    export PATH=${QK_BIN:-$BATS_TEST_DIRNAME/../../bin}:$PATH OMP_WAIT_POLICY=passive
    cd "$BATS_FILE_TMPDIR"
    awk 'BEGIN {
        srand(7); split("the a small large key rank falls rises and of in norm gain head layer with without", w, " ")
        for (d = 0; d < 160; d++) {
            for (i = 0; i < 60; i++) printf "%s%s", w[1 + int(rand() * 17)], i % 12 == 11 ? ".\n" : " "
            printf "\n\n"
        } }' >text.txt
    qk-tokpack -q --train-bpe 300 --split val=400 --probe 3x24 text.txt -o t.h5
    cat >c.json <<'JSON'
{"vocab_size": 300, "d_model": 32, "n_layers": 2, "n_heads": 4, "n_kv_heads": 2, "d_ff": 64, "seq_len": 32,
 "batch_size": 4, "grad_accum": 2, "train_tokens": 20480, "muon_lr": 0.02, "adamw_lr": 0.005}
JSON
    qk-train -q --no-provenance --config c.json --data t.h5 --steps 80 --log whole.jsonl \
        --val-at every:5K --val-tokens 256 --keys-at 0,10K --keys-dir keys-whole -o whole.h5
}

setup() { cd "$BATS_FILE_TMPDIR"; }

# The command of whole.h5 with other names: long enough to be interrupted.  In the background it must
# be the tool itself that signals reach: EXEC=exec.
same() { # NAME [OPTION...]
    local name=$1
    shift
    ${EXEC-} qk-train -q --no-provenance --config c.json --data t.h5 --steps 80 --log "$name.jsonl" \
        --val-at every:5K --val-tokens 256 --keys-at 0,10K --keys-dir "keys-$name" -o "$name.h5" "$@"
}

same_results() { # NAME
    cmp whole.h5 "$1.h5"
    cmp whole.jsonl "$1.jsonl"
    diff -r keys-whole "keys-$1"
    [ ! -e "$1.h5.partial" ] && [ ! -e "$1.jsonl.partial" ] && [ ! -e "$1.h5.tmp" ]
}

wait_for() { # FILE
    for _ in $(seq 2000); do
        [ -e "$1" ] && return
        sleep 0.01
    done
    return 1
}

@test "the same command twice, and with one thread or two, gives the same bytes" {
    same one --threads 1
    same_results one
    same two --threads 2
    same_results two
}

@test "A to C is A to B to C" {
    qk-train -q --no-provenance --config c.json --data t.h5 --until 0 -o a.h5
    qk-train -q --no-provenance --from a.h5 --data t.h5 --until 9000 -o b.h5
    qk-train -q --no-provenance --from b.h5 --data t.h5 --until 20480 -o c.h5
    cmp c.h5 whole.h5
}

@test "the log has a line for each step, with validation at its points" {
    [ "$(jq -s length whole.jsonl)" -eq 81 ]
    [ "$(jq -c 'select(.val_loss) | .tokens_seen' whole.jsonl | tr '\n' ' ')" = "0 5120 10240 15104 20224 20480 " ]
    [ "$(jq -sc '.[0] | keys' whole.jsonl)" = '["step","tokens_seen","val_loss","val_tokens"]' ]
    [ "$(jq -sc '.[1] | keys_unsorted' whole.jsonl)" = '["step","tokens_seen","loss","grad_norm","lr"]' ]
    [ "$(jq -sc '.[1].lr' whole.jsonl)" = '{"muon":0.02,"adamw":0.005}' ]
    [ "$(jq -s '.[80].loss < .[1].loss - 1' whole.jsonl)" = true ]
    [ "$(ls keys-whole | tr '\n' ' ')" = "keys-000000000000.h5 keys-000000010240.h5 " ]
}

@test "SIGTERM saves, exits 75, and the same command goes on to the same bytes" {
    EXEC=exec same term --autosave 0 3>&- &
    wait_for term.h5.partial
    kill -TERM $!
    status=0
    wait $! || status=$?
    [ "$status" -eq 75 ]
    [ -e term.h5.partial ] && [ ! -e term.h5 ]
    qk-probe term.h5.partial | jq -e '.step > 0'
    same term
    same_results term
}

@test "SIGINT saves too, in the background of a script as well" {
    EXEC=exec same int --autosave 0 3>&- &
    wait_for int.h5.partial
    kill -INT $!
    status=0
    wait $! || status=$?
    [ "$status" -eq 75 ]
    [ -e int.h5.partial ] && [ ! -e int.h5 ]
}

@test "after kill -9 the same command goes on to the same bytes" {
    for _ in 1 2 3; do
        EXEC=exec same nine --autosave 0 3>&- &
        wait_for nine.h5.partial
        sleep 0.1
        kill -KILL $! 2>/dev/null || true
        wait $! || true
    done
    same nine
    same_results nine
}

@test "the partial checkpoint of another command is refused" {
    EXEC=exec same mine --autosave 0 3>&- &
    wait_for mine.h5.partial
    kill -TERM $!
    wait $! || true
    run -1 --separate-stderr same mine --set adamw_lr=0.001
    [ "$stderr" = "qk-train: mine.h5.partial: was left by another command (config key adamw_lr differs); give that command again, or remove the file to start anew" ]
    run -1 --separate-stderr qk-train --from whole.h5 --data t.h5 --steps 90 -o mine.h5
    [[ $stderr == *"mine.h5.partial: was left by another command"* ]]
    [ ! -e mine.h5 ]
    same mine
    same_results mine
}

@test "a full disk is an error and leaves no output" {
    run -1 --separate-stderr bash -c 'ulimit -f 40; qk-train -q --config c.json --data t.h5 --steps 2 -o full.h5'
    [[ $stderr == "qk-train: full.h5: "* ]]
    [ "$(wc -l <<<"$stderr")" -eq 1 ]
    [ ! -e full.h5 ] && [ ! -e full.h5.tmp ]
    run -1 --separate-stderr bash -c 'ulimit -f 40; qk-train -q --config c.json --data t.h5 --steps 9 --autosave 0 -o full.h5'
    [ ! -e full.h5 ] && [ ! -e full.h5.partial ]
    [ "$(find . -name '*.tmp' | wc -l)" -eq 0 ]
}

@test "the published sizes are planned without data" {
    run -0 qk-train --plan --config <(jq '. + {vocab_size: 49152, d_model: 512, n_layers: 22, n_heads: 8, n_kv_heads: 4, d_ff: 2048, seq_len: 2048}' c.json)
    [[ $output == *"parameters "*" 88630528   88,630,528"* ]]
    run -0 qk-train --plan --until 50M --tflops 400 --config <(jq '. + {vocab_size: 49152, d_model: 2048, n_layers: 32, n_heads: 16, n_kv_heads: 8, d_ff: 8192, seq_len: 2048}' c.json)
    [[ $output == *"parameters "*" 1577199616   1,577,199,616"* ]]
    [[ $output == *"hours "*"at 400 TFLOP/s"* ]]
    [ "$(awk '$1 == "file_weights_bf16" { print $2 }' <<<"$output")" -eq 3154399232 ]
}

@test "the floor of a step is planned at ceilings that are given, or that are said to be assumed" {
    run -0 qk-train --plan --config c.json
    [[ $output != *floor_* && $output != *ceiling_* ]]
    run -0 qk-train --plan --device cuda --config <(jq '. + {dtype: "bf16"}' c.json)
    [[ $output == *"ceiling_products "*" 794 "*"assumed"* && $output == *"ceiling_copy "*" 4300 "*"assumed"* ]]
    run -0 qk-train --plan --device cuda --ceilings 0.0005,0.02 --config <(jq '. + {dtype: "bf16"}' c.json)
    [[ $output != *assumed* ]]
    # Each class costs the longer of its two times, the step their sum: GFLOP at 0.0005 TFLOP/s, GB at 0.02 GB/s, in ms.
    awk '/^floor_/ && $1 != "floor_step" { a = $4 / 0.0005; b = 1e3 * $8 / 0.02; m = a > b ? a : b; if ((m - $2)^2 > 1e-6 * m * m + 1e-6) exit 1; sum += m; n++ }
        $1 == "floor_step" { exit !(n == 9 && (sum - $2)^2 < 1e-6 * sum * sum) }' <<<"$output" || { echo "$output"; false; }
    run -2 qk-train --plan --ceilings 794 --config c.json
    [[ $output == *"comma"* ]]
    run -2 qk-train --plan --ceilings 794,0 --config c.json
}

@test "timing lines sum to the time, and nothing else holds one" {
    same timed --timing timed.time --autosave 0.0001
    same_results timed
    [ "$(jq -s 'map(.elapsed_s) | add > 0' timed.time)" = true ]
    [ "$(jq -s 'map(.tokens) | add' timed.time)" -eq 20480 ]
    [ "$(jq -s 'all(.step_s > 0 and .step_s <= .elapsed_s)' timed.time)" = true ]
}

@test "weights alone, in bf16, are a start" {
    qk-train -q --from whole.h5 --data t.h5 --steps 80 --weights bf16 -o half.h5
    [ "$(stat -c %s half.h5)" -lt "$(($(stat -c %s whole.h5) / 2))" ]
    run -0 --separate-stderr qk-train --from half.h5 --data t.h5 --steps 81 --log - -o more.h5
    [ "$(jq -c '[.step, .tokens_seen]' <<<"$output")" = "[81,20736]" ]
    [[ $stderr == *"half.h5 holds no optimiser state that fits: moments start at zero"* ]]
}

@test "a log may go to a device or a pipe" {
    qk-train -q --config c.json --data t.h5 --steps 2 --log /dev/null -o null.h5
    [ ! -e /dev/null.partial ]
    mkfifo pipe
    cat pipe >piped.jsonl &
    qk-train -q --config c.json --data t.h5 --steps 2 --log pipe --timing /dev/null -o null.h5
    wait $!
    [ "$(jq -s length piped.jsonl)" -eq 2 ]
}

@test "the config may come through a pipe" {
    qk-train -q --no-provenance --config - --data t.h5 --steps 2 -o stdin.h5 <c.json
    qk-train -q --no-provenance --config <(cat c.json) --data t.h5 --steps 2 -o pipe.h5
    cmp stdin.h5 pipe.h5
}

@test "other data for a new edge are allowed, and said" {
    awk 'NR % 3' text.txt >other.txt
    qk-tokpack -q --train-bpe 300 other.txt -o other.h5
    run -0 --separate-stderr qk-train --from whole.h5 --data other.h5 --steps 81 -o moved.h5
    [[ $stderr == *"other.h5 is not what whole.h5 was trained on: reading begins at its first window"* ]]
}

@test "misuse is told with the usage and exit 2" {
    for words in "--config c.json --data t.h5 --steps 1" "--data t.h5 --steps 1 -o x.h5" \
        "--config c.json --from whole.h5 --data t.h5 --steps 1 -o x.h5" \
        "--config c.json --data t.h5 -o x.h5" "--config c.json --data t.h5 --steps 1 --until 5 -o x.h5" \
        "--config c.json --data t.h5 --steps 1 --set none=1 -o x.h5" \
        "--config c.json --data t.h5 --steps 1 --set seed -o x.h5" \
        "--config c.json --data t.h5 --steps 1 --keys-at 0 -o x.h5" \
        "--config c.json --data t.h5 --steps 1 --val-at every:0 -o x.h5" \
        "--config c.json --data t.h5 --steps 1 --micro-batch 0 -o x.h5" \
        "--config c.json --data t.h5 --steps 1.5 -o x.h5" \
        "--config c.json --data t.h5 --steps 1 --weights f16 -o x.h5" \
        "--config c.json --data t.h5 --steps 1 --autosave -1 -o x.h5"; do
        echo "$words"
        run -2 --separate-stderr qk-train $words
        [[ $stderr == "qk-train: "*$'\n'"Usage: qk-train "* ]]
        [ -z "$output" ] && [ ! -e x.h5 ]
    done
}

@test "bad input is told in one sentence with exit 1" {
    head -c 3000 t.h5 >cut.h5
    head -c 9000 whole.h5 >cutckpt.h5
    echo '{"vocab_size": 300' >broken.json
    jq '. + {d_modle: 3}' c.json >unknown.json
    jq '. + {n_kv_heads: 3}' c.json >heads.json
    jq '. + {vocab_size: 299}' c.json >small.json
    jq '. + {seq_len: 1000000}' c.json >long.json
    while read -r start data sentence; do
        run -1 --separate-stderr qk-train $start --data "$data" --steps 1 -o x.h5 </dev/null
        echo "$start $data: $stderr"
        [[ $stderr == "qk-train: "*"$sentence"* ]]
        [ "$(wc -l <<<"$stderr")" -eq 1 ]
        [ ! -e x.h5 ] && [ ! -e x.h5.partial ] && [ ! -e x.h5.tmp ]
    done <<'TABLE'
--config=c.json cut.h5 cut.h5:
--config=c.json none.h5 none.h5:
--config=c.json whole.h5 whole.h5:
--config=c.json text.txt text.txt:
--config=broken.json t.h5 broken.json:
--config=unknown.json t.h5 unknown.json: unknown config key 'd_modle'
--config=heads.json t.h5 heads.json: n_heads 4 is no multiple of n_kv_heads 3
--config=small.json t.h5 t.h5: has a vocabulary of 300, but the model's vocab_size is 299
--config=long.json t.h5 t.h5: split train has
--from=cutckpt.h5 t.h5 cutckpt.h5:
--from=t.h5 t.h5 t.h5:
--from=whole.h5 t.h5 whole.h5: is at step 80, already beyond step 1
TABLE
}
