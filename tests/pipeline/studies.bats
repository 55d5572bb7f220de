# The DAGs of the other studies at their smallest, on a corpus made here: from nothing, again, and with pieces taken away.

setup_file() {
    cd "$BATS_TEST_DIRNAME/../.."
    export RUNS=$BATS_FILE_TMPDIR/runs
    export CORPUS=$BATS_FILE_TMPDIR/corpus.txt
    tests/pipeline/corpus >"$CORPUS"
}

setup() { cd "$BATS_TEST_DIRNAME/../.."; }

study() { make --no-print-directory SCALE=smoke RUNS="$RUNS" DATA="$CORPUS" "$@"; }
state() { find "$RUNS" -type f ! -name .lock -printf '%P %T@\n' | sort; }
changed() { diff <(echo "$1") <(echo "$2") | sed -n 's/^> \([^ ]*\) .*/\1/p'; }

@test "pilot500k: two runs, and the original's file of both" {
    study pipelines/pilot500k
    root=$RUNS/pilot500k/smoke
    jq -e '.QK.site == "post_rope" and .QK.tokens == [0,640,1280,1920,2560] and (.NoQK.mean_pr | length) == 5' "$root/combined.json"
    jq -e '(keys == ["no_qk_norm","qk_norm"]) and .qk_norm.train_loss[0] == null and (.no_qk_norm.train_loss | length) == 5
        and (.qk_norm.layer_pr["1"] | length) == 5' "$root/combined_results.json"
    before=$(state)
    study pipelines/pilot500k
    [ "$(state)" = "$before" ]
    rm "$root/combined_results.json"
    study pipelines/pilot500k
    [ "$(changed "$before" "$(state)")" = pilot500k/smoke/combined_results.json ]
}

@test "two studies in one command are made one after another" {
    run study -n -j3 pipelines/pilot500k pipelines/causal50m
    [ "$status" -eq 0 ]
    [[ $output == *"runs/causal50m/smoke/verdict.json"*"pilot500k/smoke/combined.json"* ]]
    [ "$(grep -c 'bin/qk-train' <<<"$output")" -eq 12 ]
    [ ! -e "$RUNS/causal50m" ]
}
