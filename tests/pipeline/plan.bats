# What the studies would do: make -n as the methods section, and the schedule behind it.

setup() { cd "$BATS_TEST_DIRNAME/../.."; }

plan() { make --no-print-directory -n RUNS="$BATS_TEST_TMPDIR/runs" "$@" pipelines/causal50m; }

@test "the published schedule: 26 points and the end, checkpoints at 0, 10M, 25M, 50M" {
    run pipelines/plan 65536 every:1966080 50M 10M 25M
    [ "$status" -eq 0 ]
    [ "${#lines[@]}" -eq 4 ]
    [ "${lines[0]}" = "000000000000=0" ]
    [[ ${lines[1]} == 000010000000=1966080,*,9830400 ]]
    [[ ${lines[3]} == 000050000000=25559040,*,49152000,50003968 ]]
    [ "$(sed 's/.*=//' <<<"$output" | tr ',' '\n' | wc -l)" -eq 27 ]
}

@test "a shorter study ends where it is told, and on a checkpoint when they meet" {
    run pipelines/plan 4096 every:40960 300K 200K 500K
    [ "${lines[2]}" = "000000300000=204800,245760,286720,303104" ]
    run pipelines/plan 4096 every:40960 200K 200K 500K
    [ "${#lines[@]}" -eq 2 ]
    [ "${lines[1]}" = "000000200000=40960,81920,122880,163840,200704" ]
}

@test "SCALE=full prints every command and writes nothing" {
    run plan SCALE=full
    [ "$status" -eq 0 ]
    [ "$(grep -c 'bin/qk-train' <<<"$output")" -eq 12 ]
    [ "$(grep -c 'bin/qk-probe .*keys-000050003968.h5' <<<"$output")" -eq 3 ]
    for word in fineweb cosmopedia data/parquet qk-tokpack '--probe 8x2048' '--no-eot' qk_norm=learned qk_norm=frozen qk_norm=none \
        '--until 50000000' '--val-tokens 65536' 'qk-aggregate combine' 'qk-aggregate verdict' 'gnuplot' 'report.html'; do
        [[ $output == *"$word"* ]] || { echo "no $word"; false; }
    done
    [ ! -e "$BATS_TEST_TMPDIR/runs" ]
}

@test "VARIANT=plan: batch 4x2, points every 983,040, four probe sequences" {
    run plan SCALE=full VARIANT=plan
    [ "$status" -eq 0 ]
    [[ $output == *"--set batch_size=4 --set grad_accum=2"* ]]
    [[ $output == *"--keys-at 983040,1966080,"* ]]
    [[ $output == *"--probe 4x2048"* ]]
    [[ $output == *"--val-tokens 32768"* ]]
}

@test "SEEDS, CONDITIONS, TOKENS, MICRO, DATA and RUN reach the commands" {
    run plan SCALE=mini SEEDS="42 137" CONDITIONS="QK QK_scalar" TOKENS=300K MICRO=4 DATA=my.jsonl RUN="nice -n 5" -W my.jsonl -o my.jsonl
    [ "$status" -eq 0 ]
    [[ $output == *"nice -n 5 bin/qk-train"* ]]
    [[ $output == *"--set qk_norm=scalar --set seed=137"* ]]
    [[ $output == *"--until 300000"* ]]
    [[ $output == *"--micro-batch 4"* ]]
    [[ $output == *"qk-tokpack"*"my.jsonl"* ]]
    [[ $output != *"qk_norm=none"* ]]
    run plan SCALE=mini DATA=my.h5 -o my.h5
    [[ $output == *"--data my.h5"* ]]
    [[ $output != *qk-tokpack* ]]
}

# A driver that knows of one card of this compute capability.
driver() { # CAPABILITY
    mkdir -p "$BATS_TEST_TMPDIR/driver"
    printf '#!/bin/sh\necho "%s, A card"\n' "$1" >"$BATS_TEST_TMPDIR/driver/nvidia-smi"
    chmod +x "$BATS_TEST_TMPDIR/driver/nvidia-smi"
    export PATH=$BATS_TEST_TMPDIR/driver:$PATH
}

@test "with a card and a build that can use it the default is the study as published" {
    driver 8.0
    run plan NVCC=/usr/bin/true
    [[ ${lines[0]} == "SCALE=full: the study as published, on A card;"* ]]
    [[ $output == *"pipelines/causal50m/full.json"* ]]
    run plan NVCC=
    [[ ${lines[0]} == "SCALE=mini:"* ]]
    driver 7.5
    run plan NVCC=/usr/bin/true
    [[ ${lines[0]} == "SCALE=mini:"* ]]
}

@test "without SCALE the choice is said aloud; a wrong one is refused" {
    run plan NVCC=
    [[ ${lines[0]} == "SCALE=mini:"*"SCALE=full is the study as published." ]]
    run plan SCALE=huge
    [ "$status" -eq 2 ]
    [[ $output == *"SCALE=huge"*"full mini smoke"* ]]
    run plan VARIANT=other
    [ "$status" -eq 2 ]
    run plan SCALE=mini TOKENS=many
    [ "$status" -eq 2 ]
    [[ $output == *"TOKENS=many"* ]]
}

@test "heavy steps take a lock, light ones do not" {
    run plan SCALE=full
    [ "$(grep -E 'bin/qk-(train|tokpack)' <<<"$output" | grep -vc 'flock')" -eq 0 ]
    [[ $(grep 'bin/qk-aggregate' <<<"$output") != *flock* ]]
    run plan SCALE=full LOCK=
    [[ $output != *flock* ]]
}

full() { make --no-print-directory -n RUNS="$BATS_TEST_TMPDIR/runs" SCALE=full "pipelines/$1"; }
has() { for word in "$@"; do [[ $output == *"$word"* ]] || { echo "no $word"; return 1; }; done; }
trained() { grep -c 'bin/qk-train' <<<"$output"; }

@test "pilot500k as published: 1x8 sequences, keys every 102,400 tokens, 4x2048 rows" {
    run full pilot500k
    [ "$(trained)" -eq 4 ]
    has "--probe 4x2048" "--val-tokens 32768" "--until 500000" "--keys-at 114688,212992,311296,409600,507904" "qk_norm=learned" "qk_norm=none" \
        "--site post_rope" '"batch_size":1,"grad_accum":8' "combined_results.json"
    [ ! -e "$BATS_TEST_TMPDIR/runs" ]
}

@test "ablation25m as published: six runs, ten checkpoints that are the points, surgery in tenths with three draws" {
    run full ablation25m
    [ "$(trained)" -eq 60 ]
    has "--probe 1x1000" "--filter simple" "--filter complex" "--probe-from" "--until 500000 " "--until 25000000 " "--keys-at 25001984 " \
        "optimizer=muon+adamw --set qk_norm=learned" "optimizer=adamw --set qk_norm=none" "--spectra" '"muon_lr":0.024,"adamw_lr":0.006' "val=1002048,test=1002048"
    # four methods of A1 and B1, three of A2; random ones three times
    [ "$(grep -c 'bin/qk-prune' <<<"$output")" -eq $((2 * (9 + 9 + 27 + 27) + 9 + 27 + 27)) ]
    [ "$(grep -c -- '--by gamma' <<<"$output")" -eq 18 ]
    [ "$(grep 'bin/qk-prune' <<<"$output" | grep -c '/A2/.*--by gamma')" -eq 0 ]
}

@test "sweep20m as published: twenty runs of weights only, warm-up and cosine, by the loss on split select" {
    run full sweep20m
    [ "$(trained)" -eq 20 ]
    has "--weights-only" "lr_schedule=cosine --set train_tokens=20000000 --set warmup_tokens=400000" "--split select" "select=5002048" "--probe 8x2048" \
        "muon_lr=0.072 --set adamw_lr=0.018" "adamw_lr=1e-4" "qk-aggregate pick-lr"
}

@test "main300m as published: the sweep, then eight runs with points every 500 steps and at 1 M, spectra every 5,000" {
    run full main300m
    [ "$(trained)" -eq $((20 + 8 * 8)) ]
    has "train_tokens=300000000 --set warmup_tokens=6000000" "--keys-at 1015808 " "--keys-at 8192000,16384000," "--until 50000000 " "--val-tokens 5M" \
        "--task hellaswag" "--shots 10 --shots-data" "--task lambada" "--task wikitext" "seed=137" "experiment-config"
    [[ $(grep -m 1 'bin/qk-probe.*--spectra' <<<"$output") == *"keys-000000000000.h5 "*"keys-000081920000.h5 "*"keys-000245760000.h5 "*"keys-000300007424.h5"* ]]
    [ ! -e "$BATS_TEST_TMPDIR/runs" ]
}
