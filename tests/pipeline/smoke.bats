# The whole DAG of causal50m at its smallest, in a folder of its own, on a corpus made here: no network.

setup_file() {
    cd "$BATS_TEST_DIRNAME/../.."
    export RUNS=$BATS_FILE_TMPDIR/runs
    export ROOT=$RUNS/causal50m/smoke
    export CORPUS=$BATS_FILE_TMPDIR/corpus.txt
    tests/pipeline/corpus >"$CORPUS"
    study pipelines/causal50m >"$BATS_FILE_TMPDIR/first.log" 2>&1 || { cat "$BATS_FILE_TMPDIR/first.log"; return 1; }
}

setup() { cd "$BATS_TEST_DIRNAME/../.."; }

study() { make --no-print-directory SCALE=smoke RUNS="$RUNS" DATA="$CORPUS" "$@"; }
# Names and times of everything the study wrote.
state() { find "$RUNS" -type f ! -name .lock -printf '%P %T@\n' | sort; }
changed() { diff <(echo "$1") <(echo "$2") | sed -n 's/^> \([^ ]*\) .*/\1/p'; }

@test "one command trains, measures, draws and judges" {
    run cat "$BATS_FILE_TMPDIR/first.log"
    [[ ${lines[-1]} == "Report: $ROOT/report.html"* ]]
    [[ $output == *"Verdict: "* ]]
    for file in QK/results.json QK_frozen/results.json NoQK/results.json combined.json verdict.json report.md report.html; do
        [ -s "$ROOT/$file" ] || { echo "$file is missing"; false; }
    done
    for figure in 1_loss 2_key_pr_causal 3_per_layer 4_causal_decomposition 5_gamma_cv sites; do
        [ -s "$ROOT/figures/$figure.png" ]
        [ -s "$ROOT/figures/$figure.svg" ]
    done
}

@test "results.json has the study's points and shapes" {
    jq -e '.tokens == [0,1280,2560,3840,5120] and .loss[0] == null and (.loss | length) == 5
        and (.val_loss | length) == 5 and (.mean_pr | length) == 5 and (.mean_pr | all(. >= 1 and . <= 8))
        and (.layer_pr | keys) == ["0","1"] and (.layer_pr["0"] | length) == 5
        and (.gamma_cv | keys) == ["0","1"] and (.gamma_final["1"] | length) == 8' "$ROOT/QK/results.json"
    jq -e '.tag == "NoQK" and .gamma_cv == {} and (has("gamma_final") | not)' "$ROOT/NoQK/results.json"
    jq -e '(keys - ["A","B","C"] | length) >= 1 and .A.tag == "QK" and .B.tag == "QK_frozen" and .C.tag == "NoQK"' "$ROOT/combined.json"
}

@test "the loss falls" {
    jq -e '.val_loss | .[-1] < .[0]' "$ROOT/QK/results.json"
}

@test "a second make does nothing" {
    before=$(state)
    run study pipelines/causal50m
    [ "$status" -eq 0 ]
    [ "$(state)" = "$before" ]
    [[ $output != *qk-train* ]]
    [[ $output == *"Verdict: "* ]]
}

@test "deleting a figure redraws just it" {
    rm "$ROOT/figures/3_per_layer.svg"
    before=$(state)
    study pipelines/causal50m
    changed "$before" "$(state)"
    [ "$(changed "$before" "$(state)" | grep -v '/report\.')" = causal50m/smoke/figures/3_per_layer.svg ]
}

@test "a deleted measurement is made again without training, a deleted checkpoint is not missed" {
    rm "$ROOT/QK/seed-42/probe.jsonl"
    run study -n pipelines/causal50m
    [[ $output == *"bin/qk-probe"* ]]
    [[ $output != *"bin/qk-train"* ]]
    study pipelines/causal50m
    mv "$ROOT/QK/seed-42/ckpt-000000001280.h5" "$BATS_TEST_TMPDIR"
    run study -n pipelines/causal50m
    [[ $output != *"bin/qk-"* ]]
    mv "$BATS_TEST_TMPDIR/ckpt-000000001280.h5" "$ROOT/QK/seed-42"
}

@test "a rebuilt tool does not retrain, new text does" {
    run study -n -W tools/qk-train.c -W lib/study/train/train.c pipelines/causal50m
    [ "$status" -eq 0 ]
    [[ $output != *"qk-train --from"* ]]
    [[ $output != *"qk-train --config"* ]]
    run study -n -W "$CORPUS" pipelines/causal50m
    [[ $output == *"qk-train --config"* ]]
}

@test "a changed setting retrains just what depends on it" {
    run study -n SETTINGS=muon_lr=0.02 pipelines/causal50m
    [[ $output != *qk-tokpack* ]]
    [ "$(grep -c 'bin/qk-train' <<<"$output")" -eq 12 ]
    run study -n SITE=pre_norm pipelines/causal50m
    [[ $output == *"qk-aggregate results"* ]]
    [[ $output != *"bin/qk-train"* ]]
    run study -n SEEDS="42 7" pipelines/causal50m
    [ "$(grep -c 'bin/qk-train' <<<"$output")" -eq 12 ]
    [[ $output != *"seed=42"*"--until"* ]]
    run study -n CONDITIONS="QK QK_frozen NoQK QK_scalar" pipelines/causal50m
    [ "$(grep -c 'bin/qk-train' <<<"$output")" -eq 4 ]
    run study -n TOKENS=3840 pipelines/causal50m
    [ "$(grep -c 'bin/qk-train' <<<"$output")" -eq 3 ]
    run study -n MICRO=1 RUN="nice -n 5" THREADS=1 pipelines/causal50m
    [[ $output != *"bin/qk-train"* ]]
}

@test "killed in the middle and repeated, training goes on and ends in the same bytes" {
    run_dir=$ROOT/QK/seed-42
    last=$run_dir/ckpt-000000005120.h5
    cp "$last" "$BATS_TEST_TMPDIR/whole.h5"
    rm "$last"
    # The launcher kills the training it starts when the first steps are in the log.
    cat >"$BATS_TEST_TMPDIR/killer" <<'EOF'
#!/bin/bash
"$@" &
child=$!
until [ -s "$LOG" ] || ! kill -0 $child 2>/dev/null; do sleep 0.005; done
kill -TERM $child 2>/dev/null
wait $child
EOF
    chmod +x "$BATS_TEST_TMPDIR/killer"
    LOG=$run_dir/log-000000005120.jsonl.partial run study RUN="$BATS_TEST_TMPDIR/killer" "$last"
    echo "$output"
    if [ "$status" -eq 0 ]; then skip "training ended before it could be killed"; fi
    [ ! -e "$last" ]
    [ -e "$last.partial" ]
    study "$last"
    [ ! -e "$last.partial" ]
    cmp "$last" "$BATS_TEST_TMPDIR/whole.h5"
    study pipelines/causal50m
}

@test "the recipe for a run that went wrong: without its later checkpoints, made again from the last good one" {
    run_dir=$ROOT/NoQK/seed-42
    cp "$run_dir"/ckpt-*.h5 "$ROOT/combined.json" "$BATS_TEST_TMPDIR"
    sed -i 's/"loss":[^,]*/"loss":null/' "$run_dir/log-000000005120.jsonl"
    run make health RUNS="$RUNS"
    [[ $output == *"NoQK/seed-42"*"NOT A NUMBER"* ]]
    rm "$run_dir"/ckpt-000000002560.h5* "$run_dir"/ckpt-000000005120.h5* "$run_dir/log.jsonl"
    run study pipelines/causal50m
    [ "$status" -eq 0 ]
    [ "$(grep -c 'bin/qk-train' <<<"$output")" -eq 2 ]
    [[ $output == *"--from $run_dir/ckpt-000000001280.h5"* ]]
    for mark in 000000002560 000000005120; do cmp "$run_dir/ckpt-$mark.h5" "$BATS_TEST_TMPDIR/ckpt-$mark.h5"; done
    jq -e --slurpfile old "$BATS_TEST_TMPDIR/combined.json" 'del(.elapsed_s, .provenance) == ($old[0] | del(.elapsed_s, .provenance))' "$ROOT/combined.json"
    make health RUNS="$RUNS"
}

@test "make figures draws from results alone" {
    mkdir -p "$BATS_TEST_TMPDIR/given/QK" "$BATS_TEST_TMPDIR/given/QK_frozen" "$BATS_TEST_TMPDIR/given/NoQK"
    for condition in QK QK_frozen NoQK; do cp "$ROOT/$condition/results.json" "$BATS_TEST_TMPDIR/given/$condition"; done
    make --no-print-directory figures RESULTS="$BATS_TEST_TMPDIR/given" OUT="$BATS_TEST_TMPDIR/drawn"
    [ "$(find "$BATS_TEST_TMPDIR/drawn" -name '*.png' -size +0 | wc -l)" -eq 6 ]
    [ "$(find "$BATS_TEST_TMPDIR/given" -type f | wc -l)" -eq 3 ]
    mkdir "$BATS_TEST_TMPDIR/combined"
    cp "$ROOT/combined.json" "$BATS_TEST_TMPDIR/combined"
    make --no-print-directory figures RESULTS="$BATS_TEST_TMPDIR/combined"
    [ "$(find "$BATS_TEST_TMPDIR/combined/figures" -name '*.svg' -size +0 | wc -l)" -eq 6 ]
}

@test "make figures without results says so" {
    run make figures
    [ "$status" -eq 2 ]
    [[ $output == *"RESULTS=DIR"* ]]
    mkdir "$BATS_TEST_TMPDIR/empty"
    run make figures RESULTS="$BATS_TEST_TMPDIR/empty"
    [ "$status" -eq 2 ]
    [[ $output == *"no combined.json"* ]]
}

@test "make status tells how far runs are" {
    run make status RUNS="$RUNS"
    [ "$status" -eq 0 ]
    [[ $output == *"causal50m/smoke:"* ]]
    [[ $output == *"QK/seed-42"*"0 1.28K 2.56K 5.12K"*"keys dumps: 5"* ]]
    [[ $output == *"done: 32 of 32"* ]]
    [[ $output == *"pilot500k: nothing yet"* ]]
    cp -r "$RUNS" "$BATS_TEST_TMPDIR/runs"
    mv "$BATS_TEST_TMPDIR/runs/causal50m/smoke/QK/seed-42/ckpt-000000005120.h5" "$BATS_TEST_TMPDIR/runs/causal50m/smoke/QK/seed-42/ckpt-000000005120.h5.partial"
    rm "$BATS_TEST_TMPDIR/runs/causal50m/smoke/QK/seed-42/results.json" "$BATS_TEST_TMPDIR/runs/causal50m/smoke/report.html"
    run make status RUNS="$BATS_TEST_TMPDIR/runs"
    [[ $output == *"done: 29 of 32"* ]]
    [[ $output == *"running: QK/seed-42/ckpt-000000005120.h5"* ]]
    [[ $output == *"missing: QK/seed-42/results.json report.html"* ]]
}

@test "make health finds a loss that is no number and one that does not fall" {
    run make health RUNS="$RUNS"
    [ "$status" -eq 0 ]
    [ "$(grep -c ' ok$' <<<"$output")" -eq 3 ]
    sick=$BATS_TEST_TMPDIR/runs/study/mini
    mkdir -p "$sick"/{A,B,C}/seed-1
    for s in $(seq 1 100); do
        printf '{"step":%d,"loss":%s,"grad_norm":1.0}\n' "$s" "$([ "$s" = 60 ] && echo null || echo 5.0)" >>"$sick/A/seed-1/log-01.jsonl"
        printf '{"step":%d,"loss":5.%02d,"grad_norm":1.0}\n' "$s" "$((s % 100))" >>"$sick/B/seed-1/log-01.jsonl"
        printf '{"step":%d,"loss":%d.5,"grad_norm":1.0}\n' "$s" "$((9 - s / 20))" >>"$sick/C/seed-1/log-01.jsonl.partial"
    done
    run make health RUNS="$BATS_TEST_TMPDIR/runs"
    [ "$status" -ne 0 ]
    [[ $output == *"A/seed-1"*"NOT A NUMBER at step 60"* ]]
    [[ $output == *"B/seed-1"*"NOT FALLING"* ]]
    [[ $output == *"C/seed-1"*" ok"* ]]
}

@test "make health sets a run beside others with its optimiser" {
    logs() { # STUDY: RUN OPTIMIZER LOSS...
        local root=$BATS_TEST_TMPDIR/$1/study/mini
        shift
        while [ $# -gt 0 ]; do
            mkdir -p "$root/$1"
            echo "optimizer=$2 seed=1" >"$root/$1/params"
            for s in $(seq 1 40); do echo "{\"step\":$s,\"loss\":$([ "$s" -lt 20 ] && echo 9 || echo "$3"),\"grad_norm\":$((s % 7 + 1))}"; done >"$root/$1/log-01.jsonl"
            shift 3
        done
    }
    logs apart A/seed-1 muon+adamw 4.0 A/seed-2 muon+adamw 4.1 B/seed-1 muon+adamw 4.1 B/seed-2 adamw 5.5
    make health RUNS="$BATS_TEST_TMPDIR/apart"
    logs out A/seed-1 adamw 4.0 A/seed-2 adamw 4.1 A/seed-3 adamw 4.0 A/seed-4 adamw 5.5
    run make health RUNS="$BATS_TEST_TMPDIR/out"
    [ "$status" -ne 0 ]
    [ "$(grep -c 'STANDS OUT' <<<"$output")" -eq 1 ]
    [[ $output == *"A/seed-4 "*"1.8x  STANDS OUT"* ]] # 7 against a median of 4
    mkdir "$BATS_TEST_TMPDIR/out/study/mini/A/seed-5"
    run make health RUNS="$BATS_TEST_TMPDIR/out"
    [[ $output == *"A/seed-5 "*" 0 "*"no steps yet"* ]]
}

@test "a keys dump that is gone: the rule says where it came from" {
    mv "$ROOT/NoQK/seed-42/keys/keys-000000001280.h5" "$BATS_TEST_TMPDIR/away"
    rm "$ROOT/NoQK/seed-42/probe.jsonl"
    run study pipelines/causal50m
    [ "$status" -ne 0 ]
    [[ $output == *"keys dumps are written while training goes by"* ]]
    mv "$BATS_TEST_TMPDIR/away" "$ROOT/NoQK/seed-42/keys/keys-000000001280.h5"
    study pipelines/causal50m
}
