# Every writer of every tool, killed, stopped, or on a full disk: the old output or the new one, never
# a part, and the same command afterwards gives the bytes of an undisturbed run.  No input changes.

load helpers

setup_file() {
    mkdir "$BATS_FILE_TMPDIR/inputs"
    cd "$BATS_FILE_TMPDIR/inputs"
    study_inputs
    "$make_input" config large.json config:d_model=128 config:n_heads=8 config:n_kv_heads=8 config:n_layers=4
    qk-train -q --config large.json --data t.h5 --until 0 -o large.h5
    for i in {1..800}; do printf 'Text %d says hello, hello and %d times hello.\n\n\n' "$i" $((i * i)); done >text.txt
    mkdir figures
    for figure in 1_loss 2_key_pr_causal 3_per_layer 4_causal_decomposition 5_gamma_cv; do
        : >figures/$figure.png
    done
    find . -type f -exec sha256sum {} + >../inputs.sha256
}

setup() {
    cp -R "$BATS_FILE_TMPDIR/inputs/." "$BATS_TEST_TMPDIR"
    cd "$BATS_TEST_TMPDIR"
}

teardown() { # no tool changed an input, or left a temporary
    ! mountpoint -q disk || umount disk
    sha256sum --quiet -c "$BATS_FILE_TMPDIR/inputs.sha256"
    [ -z "$(find . -name '*.tmp')" ]
}
# The writers: what they run, and the files they write.
writer() {
    case $1 in
        tokpack) command=(qk-tokpack -q --train-bpe 300 --split val=300 --probe 2x16 --export-tokenizer tok.json text.txt -o pack.h5) outputs=(pack.h5 tok.json) ;;
        encode) command=(qk-tokpack -q --tokenizer tok.json --encode text.txt -o ids) outputs=(ids) ;;
        train) command=(qk-train -q --config c.json --data t.h5 --steps 12 -o b.h5 --log b.log --val-at every:50 --keys-at every:100 --keys-dir keys --autosave 0) outputs=(b.h5 b.log keys/keys-000000000000.h5 keys/keys-000000000112.h5) ;;
        initial) command=(qk-train -q --config large.json --data t.h5 --until 0 -o a.h5) outputs=(a.h5) ;;
        probe) command=(qk-probe -q large.h5 --centred both --spectra --keys k.h5 --full -o probe.json) outputs=(probe.json k.h5) ;;
        eval) command=(qk-eval -q large.h5 --task loss --data t.h5 --items items.jsonl -o eval.json) outputs=(eval.json items.jsonl) ;;
        results) command=(qk-aggregate results --tag QK --probe probes.json --log log -o results.json) outputs=(results.json) ;;
        combine) command=(qk-aggregate combine A=QK.json B=QK_frozen.json C=NoQK.json -o combined.json) outputs=(combined.json) ;;
        verdict) command=(qk-aggregate verdict --study causal50m study.json -o verdict.json) outputs=(verdict.json) ;;
        table) command=(qk-aggregate table --study causal50m study.json -o table.txt) outputs=(table.txt) ;;
        report) command=(qk-aggregate report --study causal50m --combined study.json --verdict judged.json --figures figures -o report.md) outputs=(report.md) ;;
        plotdata) command=(qk-plotdata 1_loss study.json -o 1.dat) outputs=(1.dat) ;;
    esac
}

# An undisturbed run: its outputs in whole/, its time in `lasts` (seconds).
undisturbed() {
    local begin=$EPOCHREALTIME
    "${command[@]}"
    lasts=$(awk "BEGIN { print $EPOCHREALTIME - $begin }")
    mkdir whole
    cp --parents "${outputs[@]}" whole
}

old_outputs() {
    for file in "${outputs[@]}"; do
        echo "the old $file" >"$file"
    done
}

old_or_whole() {
    for file in "${outputs[@]}"; do
        [ "$(head -c 100 "$file" | tr -d '\0')" = "the old $file" ] || cmp "$file" "whole/$file"
    done
}

same_as_whole() {
    for file in "${outputs[@]}"; do
        cmp "$file" "whole/$file"
    done
    [ -z "$(find . -name '*.tmp' -o -name '*.partial')" ]
}

# Killed at moments spread over its run.
killed() { # WRITER MOMENTS
    writer "$1"
    undisturbed
    for moment in $(seq "$2"); do
        old_outputs
        "${command[@]}" 2>/dev/null 3>&- &
        sleep "$(awk "BEGIN { print $lasts * ($moment - 0.5) / $2 }")"
        kill -KILL $! 2>/dev/null || true
        wait $! || true
        old_or_whole
    done
    "${command[@]}"
    same_as_whole
}

# Stopped likewise: temporaries go, and it dies by the signal unless it was done.
stopped() { # WRITER MOMENTS
    local status
    writer "$1"
    undisturbed
    for moment in $(seq "$2"); do
        old_outputs
        "${command[@]}" 2>stderr 3>&- &
        sleep "$(awk "BEGIN { print $lasts * ($moment - 0.5) / $2 }")"
        kill -TERM $! 2>/dev/null || true
        status=0
        wait $! || status=$?
        echo "moment $moment of $2: status $status"
        [ $status -eq 143 ] || [ $status -eq 0 ]
        [ ! -s stderr ]
        [ -z "$(find . -name '*.tmp')" ]
        old_or_whole
    done
    "${command[@]}"
    same_as_whole
}

# One sentence, exit 1, the old output untouched, nothing left.
fails_full() { # COMMAND...
    run -1 "$@" # both streams are pipes: a file for stderr would be limited too
    echo "$output"
    [ "${#lines[@]}" -eq 1 ]
    [[ $output == "qk-"*": "*": "* ]]
    [ -z "$(find . -name '*.tmp' -o -name '*.partial')" ]
}

limited() { # WRITER KIB...
    writer "$1"
    for limit in "${@:2}"; do
        mkdir -p keys
        old_outputs
        fails_full bash -c "ulimit -f $limit; exec \"\$@\"" limited "${command[@]}"
        grep -qx "the old ${outputs[0]}" "${outputs[0]}"
    done
}

@test "qk-tokpack killed" { killed tokpack 6; }
@test "qk-train killed while it writes the initial checkpoint" { killed initial 6; }
@test "qk-probe killed" { killed probe 6; }
@test "qk-eval killed" { killed eval 6; }
@test "qk-aggregate results killed" { killed results 5; }
@test "qk-aggregate combine killed" { killed combine 5; }
@test "qk-aggregate verdict killed" { killed verdict 5; }
@test "qk-aggregate report killed" { killed report 5; }
@test "qk-plotdata killed" { killed plotdata 5; }

@test "qk-train killed again and again goes on to the same bytes" {
    writer train
    undisturbed
    rm -r keys b.h5 b.log
    for moment in .1 .3 .2 .4 .15; do
        "${command[@]}" 3>&- &
        sleep $moment
        kill -KILL $! 2>/dev/null || true
        wait $! || true
        [ ! -e b.h5 ] || cmp b.h5 whole/b.h5
        [ ! -e b.h5.partial ] || qk-probe -q --of wk b.h5.partial >/dev/null
        for file in $(cd whole && echo keys/*.h5); do
            [ ! -e "$file" ] || cmp "$file" "whole/$file"
        done
    done
    "${command[@]}" # also where it was killed between the last rename and the end of b.h5.partial
    same_as_whole
}

@test "qk-tokpack stopped" { stopped tokpack 4; }
@test "qk-probe stopped" { stopped probe 4; }
@test "qk-eval stopped" { stopped eval 3; }
@test "qk-aggregate stopped" { stopped results 3; }
@test "qk-plotdata stopped" { stopped plotdata 3; }

@test "qk-train stopped exits 75 and goes on to the same bytes" {
    writer train
    undisturbed
    rm -r keys b.h5 b.log
    local status=0
    "${command[@]}" 3>&- &
    until [ -e b.h5.partial ]; do sleep 0.01; done
    kill -TERM $!
    wait $! || status=$?
    [ $status -eq 75 ]
    [ ! -e b.h5 ] && [ -e b.h5.partial ] && [ -z "$(find . -name '*.tmp')" ]
    "${command[@]}"
    same_as_whole
}

@test "what a kill -9 left behind is no hindrance" {
    writer plotdata
    echo "a part" >1.dat.tmp
    "${command[@]}"
    [ ! -e 1.dat.tmp ]
    writer initial
    head -c 3000 large.h5 >a.h5.tmp
    "${command[@]}"
    qk-probe -q a.h5 >/dev/null
}

@test "a second writer of the same file is refused" {
    : >1.dat.tmp
    exec 9<>1.dat.tmp
    flock 9
    writer plotdata
    run -1 --separate-stderr "${command[@]}" 9>&-
    [ "$stderr" = "qk-plotdata: 1.dat: is being written already" ]
    [ ! -e 1.dat ]
    exec 9>&-
    "${command[@]}"
}

@test "qk-tokpack and a limit of file size" { limited tokpack 0 1 8; }
@test "qk-tokpack --encode and a limit of file size" { "$QK_BIN/qk-tokpack" -q --train-bpe 300 --export-tokenizer tok.json text.txt; limited encode 0 4; }
@test "qk-train and a limit of file size" { limited train 0 1 40; limited initial 0 100 700; }
@test "qk-probe and a limit of file size" { limited probe 0 1 8; }
@test "qk-eval and a limit of file size" { limited eval 0; }
@test "qk-aggregate and a limit of file size" { for what in results combine verdict table report; do limited $what 0; done; }
@test "qk-plotdata and a limit of file size" { limited plotdata 0; }

@test "a full disk" {
    mkdir disk
    [ "$(id -u)" -eq 0 ] || skip "mounting a small disk needs root"
    mount -t tmpfs -o size=32k none disk 2>/dev/null || skip "this machine lets nobody mount a tmpfs"
    head -c 28K /dev/zero >disk/filler
    echo old >disk/old
    fails_full qk-tokpack -q --train-bpe 300 text.txt -o disk/old
    fails_full qk-train -q --config c.json --data t.h5 --until 0 -o disk/old
    fails_full qk-train -q --config c.json --data t.h5 --steps 3 --keys-at 0 --keys-dir disk -o b.h5
    fails_full qk-probe -q large.h5 -o disk/old
    fails_full qk-probe -q large.h5 --keys disk/old
    fails_full qk-aggregate report --study causal50m --combined study.json --verdict judged.json --figures figures -o disk/old
    [ "$(ls disk | paste -sd' ')" = "filler old" ]
    [ "$(cat disk/old)" = old ]
    rm disk/filler
    qk-plotdata 1_loss study.json -o disk/old
}

@test "standard output that is full or closed is a failure" {
    local line commands=("qk-probe -q c.h5" "qk-eval -q c.h5 --task loss --data t.h5" "qk-plotdata 1_loss study.json"
        "qk-aggregate combine A=QK.json" "qk-aggregate table --study causal50m study.json" "qk-train --plan --config c.json"
        "qk-tokpack --train-bpe 300 text.txt -o pack.h5"
        "qk-probe --help" "qk-aggregate --version")
    for line in "${commands[@]}"; do
        command=($line)
        for where in ">/dev/full" ">&-"; do
            run -1 bash -c "$line $where"
            echo "$line $where: $output"
            [ "${#lines[@]}" -eq 1 ]
            [[ $output == "${command[0]}: "*": "* ]]
        done
    done
}

@test "tools that say nothing need no standard streams" {
    run -0 bash -c 'qk-probe -q c.h5 -o probe.json <&- >&- 2>&-'
    run -0 bash -c 'qk-train -q --config c.json --data t.h5 --steps 2 -o b.h5 <&- >&- 2>&-'
    qk-probe c.h5 -q | cmp - probe.json
    qk-probe -q b.h5 >/dev/null
}

@test "a reader that goes away ends the tool by SIGPIPE" {
    run bash -c 'set -o pipefail; qk-tokpack -q --train-bpe 300 --export-tokenizer tok.json text.txt
        qk-tokpack -q --tokenizer tok.json --encode text.txt text.txt text.txt text.txt | head -c 10 >/dev/null'
    [ "$status" -eq 141 ]
    [ -z "$output" ]
}
