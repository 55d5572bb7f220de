# The DAGs of the other studies at their smallest, on a corpus made here: from nothing, again, and with pieces taken away.

setup_file() {
    cd "$BATS_TEST_DIRNAME/../.."
    export RUNS=$BATS_FILE_TMPDIR/runs
    export CORPUS=$BATS_FILE_TMPDIR/corpus.txt
    tests/pipeline/corpus >"$CORPUS"
}

setup() { cd "$BATS_TEST_DIRNAME/../.."; }

study() { make --no-print-directory SCALE=smoke RUNS="$RUNS" DATA="$CORPUS" "$@"; }
# Made, with what was said only when it failed.
made() { study "$@" >"$BATS_TEST_TMPDIR/log" 2>&1 || { tail -n 30 "$BATS_TEST_TMPDIR/log"; return 1; }; }
state() { find "$RUNS" -type f ! -name .lock -printf '%P %T@\n' | sort; }
changed() { diff <(echo "$1") <(echo "$2") | sed -n 's/^> \([^ ]*\) .*/\1/p'; }

@test "pilot500k: two runs, and the original's file of both" {
    made pipelines/pilot500k
    root=$RUNS/pilot500k/smoke
    jq -e '.QK.site == "post_rope" and .QK.tokens == [0,640,1280,1920,2560] and (.NoQK.mean_pr | length) == 5' "$root/combined.json"
    jq -e '(keys == ["no_qk_norm","qk_norm"]) and .qk_norm.train_loss[0] == null and (.no_qk_norm.train_loss | length) == 5
        and (.qk_norm.layer_pr["1"] | length) == 5' "$root/combined_results.json"
    before=$(state)
    made pipelines/pilot500k
    [ "$(state)" = "$before" ]
    rm "$root/combined_results.json"
    made pipelines/pilot500k
    [ "$(changed "$before" "$(state)")" = pilot500k/smoke/combined_results.json ]
    rm "$root/figures/sheet.png"
    before=$(state)
    made pipelines/pilot500k
    [ "$(changed "$before" "$(state)" | grep -v /report)" = pilot500k/smoke/figures/sheet.png ]
}

@test "sweep20m: a winner at the edge of its grid gets another rate, and it is said; chosen.json has every rate" {
    run study pipelines/sweep20m
    [ "$status" -eq 0 ]
    [[ $output == *"is at the edge of its grid: "*" is tried too"* ]]
    root=$RUNS/sweep20m/smoke
    jq -e '[.AdamW, .AdamW_QK, .Muon, .Muon_QK] | all(.grid | length >= 2) and all(.[].grid[]; .mean_pr > 1 and .val_loss > 1)' "$root/chosen.json"
    jq -e '.Muon as $c | ($c.grid | min_by(.val_loss)).rate == $c.rate and $c.lr.muon == $c.rate and $c.lr.adamw == $c.rate / 4' "$root/chosen.json"
    jq -e '[.Muon.grid[] | .added // false] | sort == [false, false, true]' "$root/chosen.json"
    grep -q 'among 3, 1 of them added beyond an edge' "$root/report.md"
    # by the loss on split select, and nothing of the optimiser is kept
    jq -e '.evals.select.how.split == "select"' "$root/Muon-0.024/seed-42/results.json"
    [ "$(h5dump -n "$root/Muon-0.024/seed-42/ckpt-000000001280.h5" | grep -c -e /optim -e /weights/embed)" -eq 1 ]
    before=$(state)
    made pipelines/sweep20m
    [ "$(state)" = "$before" ]
    rm "$root/Muon-0.024/seed-42/eval-select.json"
    run study pipelines/sweep20m
    [[ $output != *qk-train* ]]
    [ "$(changed "$before" "$(state)" | grep -v -e /figures/ -e /report)" = "$(printf 'sweep20m/smoke/%s\n' \
        Muon-0.024/seed-42/eval-select.json Muon-0.024/seed-42/results.json chosen.json table.txt verdict.json)" ]
    # without chosen.json a dry run comes to its end
    mv "$root/chosen.json" "$BATS_TEST_TMPDIR"
    run timeout 60 make --no-print-directory -n SCALE=smoke RUNS="$RUNS" DATA="$CORPUS" pipelines/sweep20m
    [ "$status" -eq 0 ]
    [ "$(grep -c 'qk-aggregate pick-lr' <<<"$output")" -eq 1 ]
    [[ $output != *qk-train* ]]
    mv "$BATS_TEST_TMPDIR/chosen.json" "$root"
    # its own seeds and grid; for main300m, whose SEEDS are others, it stays as it was asked for
    trained() { study -n "$@" | grep -o -e '--log [^ ]*/sweep20m/smoke/[^/]*/seed-[0-9]*' | sed 's/.*smoke.//' | sort -u; }
    [ "$(trained SEEDS="42 7" pipelines/sweep20m | grep -c '/seed-7$')" -eq "$(grep -c 'sweep20m.*/seed-42/results.json' <<<"$before")" ]
    made pipelines/sweep20m RATES_Muon="0.02 0.024"
    run study -n SEEDS="42 7" pipelines/main300m
    [[ $output == *"/main300m/smoke/Muon/seed-7"* && $output != *pick-lr* ]]
    made pipelines/sweep20m
}

@test "main300m: rates from the sweep; evaluated; a changed rate trains its own runs again and no others" {
    made pipelines/main300m
    root=$RUNS/main300m/smoke
    [ "$(jq .Muon.lr.muon "$RUNS/sweep20m/smoke/chosen.json")" = "$(jq .Muon.seeds[1].config.muon_lr "$root/combined.json")" ]
    jq -e '[.AdamW, .AdamW_QK, .Muon, .Muon_QK] | all(.seeds | length == 2) and all(.[].seeds[]; .evals | keys == ["hellaswag","lambada","wikitext"])' "$root/combined.json"
    jq -e '.AdamW.tokens == [0,128,640,1280,1920,2560] and .AdamW.spectra.tokens == [0,1280,2560]' "$root/combined.json"
    grep -q 'Warm-up' "$root/experiment_config.md"
    before=$(state)
    made pipelines/main300m
    [ "$(state)" = "$before" ]
    rm "$root/AdamW/seed-137/eval-lambada.json"
    made pipelines/main300m
    [ "$(changed "$before" "$(state)" | grep seed-)" = "$(printf 'main300m/smoke/AdamW/seed-137/%s\n' eval-lambada.json results.json)" ]
    jq '.Muon.lr.muon = 0.03' "$RUNS/sweep20m/smoke/chosen.json" >"$BATS_TEST_TMPDIR/other.json"
    run study -n CHOSEN="$BATS_TEST_TMPDIR/other.json" pipelines/main300m
    [ "$(grep -c 'bin/qk-train' <<<"$output")" -eq 8 ]
    [[ $output == *"--set muon_lr=0.03"* ]]
    [ "$(grep 'bin/qk-train' <<<"$output" | grep -vc '/main300m/smoke/Muon/\|muon_lr=0.03')" -eq 0 ]
    run study -n SEEDS="42 137 1001" pipelines/main300m
    [ "$(grep -c 'bin/qk-train' <<<"$output")" -eq 16 ]
    # one seed has no spread to reckon with
    run study -n SEEDS=42 pipelines/main300m
    [[ $output == *"qk-aggregate combine"* && $output != *"qk-aggregate power"* ]]
}

@test "ablation25m: one tokenizer and one probe batch for three packs, each of C1 and C2 on the other's text, surgery" {
    made pipelines/ablation25m
    root=$RUNS/ablation25m/smoke
    for pack in tokens-simple tokens-complex; do
        HDF5_PLUGIN_PATH=$PWD/bin/plugin h5diff "$root/tokens.h5" "$root/$pack.h5" /tokenizer
        HDF5_PLUGIN_PATH=$PWD/bin/plugin h5diff "$root/tokens.h5" "$root/$pack.h5" /probe/tokens
    done
    jq -e '(keys - ["elapsed_s","provenance"]) == ["A1","A2","B1","B2","C1","C2"] and ([.[] | objects | .tokens? // empty | .[-1]] | unique) == [2560]' "$root/combined.json"
    jq -e '(.C1.evals.val_other.how.data | endswith("tokens-complex.h5")) and (.C2.evals.val_other.how.data | endswith("tokens-simple.h5"))' "$root/combined.json"
    jq -e '.A1.spectra.layers["0"] | length == 4' "$root/combined.json"
    jq -e '(.A1 | keys) == ["gamma","random","random-subspace","svd"] and (.A2 | keys) == ["random","random-subspace","svd"] and (.B1 | has("gamma"))
        and [.A1.svd[].fraction] == [0,0.4,0.8] and (.A1.random[1].draws | length) == 3' "$root/surgery.json"
    [ -z "$(find "$root/surgery" -name '*.h5')" ]
    before=$(state)
    made pipelines/ablation25m
    [ "$(state)" = "$before" ]
    rm "$root/surgery/A1/random/0.4-2.json"
    made pipelines/ablation25m
    [ "$(changed "$before" "$(state)" | grep -v -e /figures/ -e /report)" = "$(printf 'ablation25m/smoke/%s\n' surgery.json surgery/A1/random/0.4-2.json table.txt verdict.json)" ]
    # a setting of one condition, the text of two
    run study -n SETTINGS_B2="optimizer=adamw qk_norm=none adamw_lr=0.001" pipelines/ablation25m
    [ "$(grep -c 'bin/qk-train' <<<"$output")" -eq 4 ]
    rm "$root/tokens-complex.h5"
    run study -n pipelines/ablation25m
    [ "$(grep -c 'bin/qk-tokpack' <<<"$output")" -eq 1 ]
    [ "$(grep 'bin/qk-train' <<<"$output" | grep -vc '/C2/\|tokens-complex')" -eq 0 ]
}

@test "each study's figures and report are there, and figures are drawn again from results alone" {
    for study in pilot500k:7 ablation25m:7 sweep20m:1 main300m:8; do
        root=$RUNS/${study%:*}/smoke
        [ "$(find "$root/figures" -name '*.png' -size +0 | wc -l)" -eq "${study#*:}" ]
        [ -s "$root/report.html" ]
        bin/qk-aggregate lint "$root/report.md"
        given=$BATS_TEST_TMPDIR/${study%:*}.given
        mkdir "$given"
        for file in "$root"/[!c]*/results.json "$root"/{surgery,chosen}.json; do
            [ ! -e "$file" ] || { mkdir -p "$given/$(dirname "${file#"$root"/}")"; cp "$file" "$given/${file#"$root"/}"; }
        done
        make --no-print-directory figures RESULTS="$given"
        [ "$(find "$given/figures" -name '*.svg' -size +0 | wc -l)" -eq "${study#*:}" ]
    done
}

@test "status and health know every study" {
    run make --no-print-directory status RUNS="$RUNS"
    for study in pilot500k ablation25m sweep20m main300m; do [[ $output == *"$study/smoke:"* ]]; done
    [[ $output == *"causal50m: nothing yet"* ]]
    [[ $output == *"AdamW_QK/seed-137"*"results"* ]]
    run make --no-print-directory health RUNS="$RUNS"
    echo "$output"
    for run in pilot500k/smoke/QK ablation25m/smoke/C2 sweep20m/smoke/Muon-0.012 main300m/smoke/Muon_QK; do [[ $output == *"$run/seed-42"* ]]; done
}

@test "a condition that nobody knows is refused, one of one's own is a setting" {
    run study -n pipelines/pilot500k CONDITIONS="QK NoQk"
    [ "$status" -eq 2 ]
    [[ $output == *"CONDITIONS: pilot500k has no NoQk; it knows "*QK* ]]
    run study -n pipelines/main300m CONDITIONS=Moun
    [ "$status" -eq 2 ]
    [[ $output == *"has no Moun; it knows AdamW AdamW_QK Muon Muon_QK"* ]]
    run study -n pipelines/pilot500k CONDITIONS="QK NoQK scalar" SETTINGS_scalar=qk_norm=scalar
    [[ $output == *"--set qk_norm=scalar"*"qk-aggregate verdict"* ]]
}

@test "simple and complex text that does not last is said, with the scores that parted them" {
    run study pipelines/ablation25m CONDITIONS=C1 TOKENS=4K RUNS="$BATS_TEST_TMPDIR/runs"
    [ "$status" -eq 0 ]
    root=$BATS_TEST_TMPDIR/runs/ablation25m/smoke
    tokens=$(awk '$1 == "train" { print $2 }' "$root/tokens-simple.txt")
    [[ $output == *"make: $root/tokens-simple.h5: runs of 4000 tokens see its $tokens more than once"* ]]
    [[ $output != *"/tokens.h5: runs of"* ]]
    grep -q '^score_deciles' "$root/tokens-simple.txt"
}

@test "some conditions of a study are measured, not judged; what is missing is named" {
    for study in "pilot500k CONDITIONS=NoQK without QK" "causal50m CONDITIONS=QK without QK_frozen NoQK" \
        "ablation25m CONDITIONS=C2 without A1 A2 B1 B2 C1" "main300m CONDITIONS=Muon without AdamW AdamW_QK Muon_QK"; do
        read -r name condition missing <<<"$study"
        run study -n "pipelines/$name" "$condition" RUNS="$BATS_TEST_TMPDIR/runs"
        [ "$status" -eq 0 ]
        [[ $output == *"$condition: $name is not judged $missing; "* && $output == *"qk-aggregate combine"* ]]
        [ "$(grep -cE 'qk-aggregate (verdict|report|surgery|power)|qk-plotdata' <<<"${output##*"is not judged"}")" -eq 0 ]
    done
    run study -n pipelines/ablation25m CONDITIONS="A2 C1" RUNS="$BATS_TEST_TMPDIR/runs"
    [[ $output == *"qk-aggregate surgery A2="* ]]
    made pipelines/causal50m CONDITIONS="QK NoQK" RUNS="$BATS_TEST_TMPDIR/runs"
    [ "$(grep -c '^[AC] ' "$BATS_TEST_TMPDIR/runs/causal50m/smoke/table.txt")" -eq 2 ]
}

@test "DATA=tokens.h5 is taken as it is; only what sorts text refuses it" {
    cp "$RUNS/pilot500k/smoke/tokens.h5" "$BATS_TEST_TMPDIR/own.h5"
    run study -n pipelines/ablation25m DATA="$BATS_TEST_TMPDIR/own.h5"
    [ "$status" -eq 2 ]
    [[ $output == *'C1 and C2 sort text by its difficulty and need text, JSON lines or plain; CONDITIONS="A1 A2 B1 B2" take tokens'* ]]
    run study -n pipelines/ablation25m DATA="$BATS_TEST_TMPDIR/own.h5" CONDITIONS="A1 B1" RUNS="$BATS_TEST_TMPDIR/runs"
    [[ $output == *"qk-train"*"--data $BATS_TEST_TMPDIR/own.h5"* && $output != *qk-tokpack* ]]
    run study -n pipelines/main300m DATA="$BATS_TEST_TMPDIR/own.h5" RUNS="$BATS_TEST_TMPDIR/runs"
    [[ $output == *"experiment-config"*"--tokenizer \"that of $BATS_TEST_TMPDIR/own.h5\""* ]]
}

@test "two studies in one command are made one after another" {
    rm -rf "$RUNS/pilot500k"
    run study -n -j3 pipelines/pilot500k pipelines/causal50m
    [ "$status" -eq 0 ]
    [[ $output == *"runs/causal50m/smoke/verdict.json"*"pilot500k/smoke/report.html"* ]]
    [ "$(grep -c 'bin/qk-train' <<<"$output")" -eq 16 ]
    run study -n pipelines/all
    [ "$status" -eq 0 ]
    [[ $output == *"causal50m/smoke/verdict.json"* ]]
    [ ! -e "$RUNS/causal50m" ]
}
