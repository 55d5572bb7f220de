# The tools on a card: emulated, so slowly.  What is above the operations: what auto takes, checkpoints
# written behind, going on, and who may.

load helpers

setup_file() {
    export PATH=$QK_BIN/../emulated/bin:$QK_BIN:$PATH ASAN_OPTIONS=detect_leaks=0
    cd "$BATS_FILE_TMPDIR"
    "$make_input" tokens t.h5
    "$make_input" config c.json 'config:dtype="bf16"'
    same whole
}

setup() {
    [ -x "$QK_BIN/../emulated/bin/qk-train" ] || skip "the emulated programs are not built"
    cd "$BATS_FILE_TMPDIR"
}

same() { # NAME [OPTION...]
    local name=$1
    shift
    ${EXEC-} qk-train -q --device cuda --no-provenance --config c.json --data t.h5 --steps 6 --log "$name.log" \
        --keys-at every:50 --keys-dir "keys-$name" -o "$name.h5" "$@"
}

same_results() { # NAME
    cmp whole.h5 "$1.h5"
    cmp whole.log "$1.log"
    diff -r keys-whole "keys-$1"
    [ ! -e "$1.h5.partial" ] && [ ! -e "$1.log.partial" ] && [ -z "$(find . -name '*.tmp')" ]
}

@test "checkpoints written behind change no byte, nor does --recompute" {
    same behind --autosave 0
    same_results behind
    same twice --recompute
    same_results twice
}

@test "killed and stopped, it goes on to the same bytes" {
    local moment status
    for moment in 1 2; do
        EXEC=exec same part --autosave 0 3>&- &
        until [ -e part.h5.partial ]; do sleep 0.01; done
        kill -KILL $! 2>/dev/null || true
        wait $! || true
    done
    EXEC=exec same part --autosave 0 3>&- &
    kill -TERM $! # before the first step or after one
    status=0
    wait $! || status=$?
    [ $status -eq 75 ] || [ $status -eq 143 ] || [ $status -eq 0 ]
    same part
    same_results part
}

@test "a partial checkpoint of a card goes on there alone, with its micro-batch" {
    EXEC=exec same mine --autosave 0 --micro-batch 1 3>&- &
    until [ -e mine.h5.partial ]; do sleep 0.01; done
    kill -KILL $! 2>/dev/null || true
    wait $! || true
    [ -e mine.h5.partial ]
    h5dump -a /edge/device mine.h5.partial | grep -q '"cuda"'
    h5dump -a /edge/micro_batch mine.h5.partial | grep -q '(0): 1$'
    run -1 --separate-stderr same mine --device cpu
    [ "$stderr" = "qk-train: mine.h5.partial: was begun on device cuda, and this is cpu; go on there (--device), or remove the file to start anew" ]
    same mine
    same one --micro-batch 1
    cmp mine.h5 one.h5
}

@test "a failed save stops training with its sentence" {
    : >held.h5.partial.tmp
    exec 9<>held.h5.partial.tmp
    flock 9
    run -1 --separate-stderr same held --autosave 0 --steps 50 9>&-
    [ "$stderr" = "qk-train: held.h5.partial: is being written already" ]
    [ ! -e held.h5 ] && [ ! -e held.h5.partial ]
    exec 9>&-
    rm -f held.*
}

@test "auto takes what fits: fewer sequences, recomputation, a sentence" {
    local words="--no-provenance --data t.h5 --steps 1 --config c.json --device cuda"
    run -1 --separate-stderr env QK_EMULATION_MEMORY=150000000 qk-train -q $words -o none.h5
    [[ $stderr == "qk-train: none.h5: training, even with --recompute, takes 0."*" GB more than the 0.150 GB of the card's memory that are free (micro-batch 1 of "*" positions); take a shorter seq_len, a smaller model or a card with more memory" ]]
    [ ! -e none.h5 ]
    QK_EMULATION_MEMORY=400000000 qk-train -q $words -o some.h5
}

# What a file's provenance says behind --device.
made_on() { # FILE
    h5dump -a /provenance "$1" | tr -d '\\\n ' | sed -n 's/.*"--device","\([a-z]*\)".*/\1/p'
}

@test "the device that auto became is recorded" {
    qk-train -q --config c.json --data t.h5 --until 0 -o a.h5
    [[ $(made_on a.h5) == cuda ]]
    qk-train -q --config c.json --data t.h5 --until 0 --device cpu -o b.h5
    [[ $(made_on b.h5) == cpu ]]
    QK_EMULATION_CARDS=0 qk-train -q --config c.json --data t.h5 --until 0 -o c.h5
    [[ $(made_on c.h5) == "" ]]
    qk-eval -q a.h5 --task loss --data t.h5 | jq -e '.provenance.argv | index("--device") as $i | .[$i + 1] == "cuda"'
    qk-probe -q a.h5 | jq -e '.provenance.argv | index("cuda") > 0'
}

@test "a card is planned for without one" {
    "$QK_BIN/qk-train" --plan --device cuda --config "$BATS_TEST_DIRNAME/../../pipelines/causal50m/full.json" >plan
    [ "$(awk '/^bytes_/ && !/together|host/ { sum += $2 } /^bytes_together/ { all = $2 } END { print all == sum }' plan)" = 1 ]
    [ "$(awk '/^card_80GB/ { print ($2 >= 8) }' plan)" = 1 ]
    grep -qE '^card_24GB +0 +[0-9.]+ GB missing; with --recompute 1 at once$' plan
    [ "$(grep -c '^card_' plan)" -eq 4 ]
    "$QK_BIN/qk-train" --plan --config "$BATS_TEST_DIRNAME/../../pipelines/causal50m/full.json" >plan
    [ "$(grep -cE '^card_|^bytes_(weights_bf16|scratch|context)' plan)" -eq 0 ]
}
