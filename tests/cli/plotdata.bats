# qk-plotdata and the gnuplot scripts: numbers of a figure, and the figure without a warning.

load helpers

setup() {
    cd "$BATS_TEST_TMPDIR"
    top=$BATS_TEST_DIRNAME/../..
    # In the original's style: no key beyond its own.
    jq -n '
        def run($tag; $pr; $loss): {tag: $tag, tokens: [0, 1000000, 2000000], loss: [null, 5 + $loss, 4 + $loss],
            val_loss: [null, 5.1 + $loss, 4.2 + $loss], mean_pr: [90, 50, $pr],
            layer_pr: {"0": [91, 51, $pr + 1], "1": [89, 49, $pr - 1]}, gamma_cv: {}};
        {A: (run("QK"; 60; 0) + {gamma_cv: {"0": [0, 0.1, 0.2], "1": [0, 0.15, 0.3]}, gamma_final: {"0": [1, 1.2], "1": [1, 1.4]}}),
         B: run("QK_frozen"; 55; 0.01), C: run("NoQK"; 58; 0.1), elapsed_s: null}' >combined.json
}

all_figures="1_loss 2_key_pr_causal 3_per_layer 4_causal_decomposition 5_gamma_cv"

# Each as PNG and SVG, from a combined.json; gnuplot must say nothing.
draw_all() {
    for f in $all_figures; do
        qk-plotdata $f "$1" -o $f.dat
        for kind in png svg; do
            (cd "$top" && gnuplot -e "data='$BATS_TEST_TMPDIR/$f.dat'; out='$BATS_TEST_TMPDIR/$f.$kind'" \
                pipelines/figures/$f.gp) >said 2>&1
            cat said
            [ ! -s said ]
        done
        [ "$(head -c 4 $f.png | tail -c 3)" = PNG ]
        [ "$(tail -n 1 $f.svg)" = "</svg>" ] || grep -q '</svg>' $f.svg
    done
}

@test "figure 2, whole" {
    [ "$(qk-plotdata 2_key_pr_causal combined.json --no-provenance)" = \
'# figure: 2_key_pr_causal
# title: Rank of the keys during training
# about: causal50m, 2 M tokens, one seed
# conditions: A B C
# label A: learned γ
# label B: frozen γ = 1
# label C: no QK-Norm
# seeds: 1
# head_dim: 2
# tokens: 2000000
# columns: tokens pr low high
# pattern: all differ
# meaning: the gain and the normalisation both change mean key rank
# differences: A−B = +5.00, B−C = −3.00, A−C = +2.00
# A: tokens, mean PR over layers, low, high
0 90 90 90
1000000 50 50 50
2000000 60 60 60


# B: tokens, mean PR over layers, low, high
0 90 90 90
1000000 50 50 50
2000000 55 55 55


# C: tokens, mean PR over layers, low, high
0 90 90 90
1000000 50 50 50
2000000 58 58 58' ]
}

@test "missing values are NaN for gnuplot" {
    qk-plotdata 1_loss combined.json | grep -q '^0 NaN NaN NaN NaN NaN NaN$'
}

@test "provenance is a comment" {
    qk-plotdata 3_per_layer combined.json | sed -n 's/^# provenance: //p' | jq -e --arg h "$(sha256sum combined.json | cut -d' ' -f1)" \
        '.argv == ["qk-plotdata", "3_per_layer", "combined.json"] and .inputs[0].sha256 == $h'
}

@test "published results draw without a warning" {
    draw_all combined.json
}

@test "several seeds, a null and one layer draw without a warning" {
    jq 'del(.elapsed_s) | map_values(. + {head_dim: 64, null_pr: 63.5, site: "post_norm",
            seeds: [., (.mean_pr[2] += 1 | .layer_pr["0"][2] += 2)]} | .seeds[0].seed = 1 | .seeds[1].seed = 2)' combined.json >seeds.json
    draw_all seeds.json
    jq 'map_values(del(.layer_pr["1"], .gamma_cv["1"]) | .seeds |= map(del(.layer_pr["1"], .gamma_cv["1"])))' seeds.json >one.json
    draw_all one.json
}

@test "conditions that end alike draw without a warning" {
    jq '.B = (.A | .tag = "QK_frozen" | .gamma_cv = {} | del(.gamma_final)) | .C = (.B | .tag = "NoQK")' combined.json >same.json
    draw_all same.json
}

@test "the same bytes each time" {
    qk-plotdata 1_loss combined.json -o a && qk-plotdata 1_loss combined.json -o b && cmp a b
}

# ---- the other studies ----

# Names, each with optional keys; PRs and losses differ by name.  $1: jq array of names; $2: seeds
study() {
    jq -n --argjson names "$1" --argjson seeds "${2:-1}" '
        def spectrum($a): [range(4) as $i | pow($a; $i)];
        def run($k; $s): (40 - 5 * $k + $s) as $pr | {tag: "x", tokens: [0, 500000, 1000000, 2000000],
            loss: [null, 5.1 + $k / 10, 4.6, 4.4 + $k / 10], val_loss: [6, 5, 4.5, 4.3 + $k / 10 + $s / 50], mean_pr: [60, 50, 45, $pr],
            layer_pr: {"0": [61, 51, 46, $pr + 1 + $k], "1": [60, 50, 45, $pr], "2": [59, 49, 44, $pr - 1 - $k]}, gamma_cv: {},
            q_pr: [55, 50, 44, $pr - 2], qk_pr: [40, 35, 30, $pr - 10], entropy: [4, 3.5, 3, 2.5], max_logit: [1, 3, 5, 7 + $k],
            mean_pr_sites: {pre_norm: [58, 48, 40, 39], post_norm: [59, 49, 41, 39], post_rope: [60, 50, 45, $pr], weight: [62, 61, 60, 60]},
            spectra: {tokens: [0, 2000000], layers: {"0": [spectrum(0.9), spectrum(0.5)], "1": [spectrum(0.9), spectrum(0.4)], "2": [spectrum(0.9), spectrum(0.3)]}},
            contribution: (["0", "1", "2"] | map({key: ., value: {gamma: [0.9, 1, 1.1, 1.2], c: [0.1, 0.2, 0.3, 0.4], spearman: 0.5}}) | from_entries),
            site: "post_rope", head_dim: 4, rows: 1000, null_pr: 63, null_qk_pr: 55, config: {seq_len: 64}};
        [range($names | length) as $k | {key: $names[$k],
            value: (run($k; 0) + if $seeds > 1 then {seeds: [range($seeds) as $s | run($k; $s) + {seed: $s}]} else {seed: 42} end)}] | from_entries'
}

# FIGURE INPUT...: drawn as PNG and SVG without a word of gnuplot; the SVG twice, with the same bytes.
drawn() {
    local kind f=$1
    qk-plotdata "$@" -o $f.dat
    for kind in png svg; do
        (cd "$top" && gnuplot -e "data='$BATS_TEST_TMPDIR/$f.dat'; out='$BATS_TEST_TMPDIR/$f.$kind'" pipelines/figures/$f.gp) >said 2>&1
        cat said
        [ ! -s said ]
    done
    [ "$(head -c 4 $f.png | tail -c 3)" = PNG ]
    grep -q '</svg>' $f.svg
    mv $f.svg before.svg
    (cd "$top" && gnuplot -e "data='$BATS_TEST_TMPDIR/$f.dat'; out='$BATS_TEST_TMPDIR/$f.svg'" pipelines/figures/$f.gp)
    cmp before.svg $f.svg
    # what it is of stands on it
    ! grep -q '^# about: ' $f.dat || grep -q -F "$(sed -n 's/^# about: //p' $f.dat)" $f.svg
}

@test "pilot500k draws" {
    study '["QK", "NoQK"]' >pilot.json
    for f in panel_a_loss panel_b_pr_trajectory panel_c_per_layer panel_d_delta sheet layer_pr_heatmap sites; do
        drawn $f pilot.json
    done
    grep -q 'with QK-Norm' sheet.svg
    grep -q 'pilot500k, 2 M tokens, seed 42' sheet.svg
}

@test "pilot500k draws with seeds, and where the second is higher" {
    study '["QK", "NoQK"]' 2 | jq '{QK: .NoQK, NoQK: .QK}' >pilot.json
    for f in panel_a_loss panel_b_pr_trajectory panel_c_per_layer panel_d_delta sheet; do
        drawn $f pilot.json
    done
}

@test "ablation25m draws" {
    study '["A1", "A2", "B1", "B2", "C1", "C2"]' >ablation.json
    for f in trajectory sv_waterfall data_complexity gamma_vs_svd rank_and_loss sites; do
        drawn $f ablation.json
    done
    grep -q 'QK-Norm, AdamW' trajectory.svg
    jq -n 'def curve($d): [range(10) as $i | {fraction: ($i / 10), loss: (4 + $i * $i / 20), stderr: 0.01, sd: (if $d > 1 then 0.1 else null end),
               draws: [range($d) as $k | 4 + $i * $i / 20 + ($k - ($d - 1) / 2) * 0.1]}];
           {A1: {svd: curve(1), gamma: curve(1), random: curve(3), "random-subspace": curve(3)}, A2: {svd: curve(1), random: curve(3)},
            area: {A1: {svd: {value: 1}}}}' >surgery.json
    drawn surgery surgery.json ablation.json
    grep -q 'least to largest of 3 random draws' surgery.svg
    drawn surgery surgery.json
}

@test "main300m and sweep20m draw" {
    study '["AdamW", "AdamW_QK", "Muon", "Muon_QK"]' 2 >main.json
    for f in val_loss mean_pr loss_vs_pr layer_pr_heatmap sv_spectra entropy_max_logit sites; do
        drawn $f main.json
    done
    grep -q 'Muon+QK' val_loss.svg
    jq -n 'def grid($r; $m): $r | map({lr: {muon: (if $m then . else null end), adamw: (if $m then . / 4 else . end)}, val_loss: (5 + . * 3), mean_pr: (40 - . * 10)});
           {AdamW: {lr: {muon: null, adamw: 1e-4}, val_loss: 5, rank: 1, edge: true, grid: grid([1e-4, 1e-3]; false)},
            Muon_QK: {lr: {muon: 0.024, adamw: 0.006}, val_loss: 4, rank: 1, edge: false, grid: grid([0.012, 0.024, 0.036]; true)}}' >chosen.json
    drawn lr_sweep chosen.json
    grep -q 'winner at the edge of its grid: AdamW' lr_sweep.svg
    drawn lr_sweep main.json chosen.json
    jq 'map_values(.grid |= map(.mean_pr = null))' chosen.json >bare.json
    drawn lr_sweep bare.json
}

@test "one seed, one layer and little else draw" {
    study '["AdamW", "Muon"]' | jq 'map_values(del(.config, .null_pr, .null_qk_pr, .rows, .max_logit, .layer_pr["1", "2"], .spectra.layers["1", "2"], .qk_pr))' >little.json
    for f in val_loss mean_pr loss_vs_pr layer_pr_heatmap sv_spectra sv_waterfall entropy_max_logit sites trajectory rank_and_loss; do
        drawn $f little.json
    done
}

@test "published files draw where they have the keys" {
    jq '{QK: .A, NoQK: .C}' combined.json >pilot.json
    for f in panel_a_loss panel_b_pr_trajectory panel_c_per_layer panel_d_delta sheet layer_pr_heatmap sites; do
        drawn $f pilot.json
    done
    fails 1 "qk-plotdata: pilot.json: sv_spectra: QK has no 'spectra': was it probed with --spectra?" qk-plotdata sv_spectra pilot.json -o out
}

@test "misuse and bad inputs" {
    fails 2 "qk-plotdata: no input given" qk-plotdata
    fails 2 "qk-plotdata: too few inputs" qk-plotdata 1_loss
    run -2 qk-plotdata 6_x combined.json
    [[ "$output" == *"qk-plotdata: there is no figure '6_x', only 1_loss|2_key_pr_causal|"*"|sites"* ]]
    echo 'not json' >bad.json
    fails 1 "qk-plotdata: bad.json: malformed JSON at line 1" qk-plotdata 1_loss bad.json -o out
    jq '.A.loss = [1]' combined.json >short.json
    fails 1 "qk-plotdata: short.json: A: 'loss' has 1 values, 'tokens' has 3" qk-plotdata 1_loss short.json -o out
    jq 'del(.A)' combined.json >two.json
    fails 1 "qk-plotdata: two.json: 4_causal_decomposition needs conditions A, B and C" qk-plotdata 4_causal_decomposition two.json -o out
    fails 1 "qk-plotdata: two.json: surgery needs a surgery.json" qk-plotdata surgery two.json -o out
    fails 1 "qk-plotdata: combined.json: a second file of its kind" qk-plotdata 1_loss two.json combined.json -o out
    fails 1 "qk-plotdata: two.json: 5_gamma_cv: no condition has a learned gain with 'gamma_cv'" qk-plotdata 5_gamma_cv two.json -o out
}
