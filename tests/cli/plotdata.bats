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

@test "misuse and bad inputs" {
    fails 2 "qk-plotdata: no input given" qk-plotdata
    fails 2 "qk-plotdata: too few inputs" qk-plotdata 1_loss
    fails 2 "qk-plotdata: there is no figure '6_x', only 1_loss|2_key_pr_causal|3_per_layer|4_causal_decomposition|5_gamma_cv" \
        qk-plotdata 6_x combined.json
    echo 'not json' >bad.json
    fails 1 "qk-plotdata: bad.json: malformed JSON at line 1" qk-plotdata 1_loss bad.json -o out
    jq '.A.loss = [1]' combined.json >short.json
    fails 1 "qk-plotdata: short.json: A: 'loss' has 1 values, 'tokens' has 3" qk-plotdata 1_loss short.json -o out
    jq 'del(.A)' combined.json >two.json
    fails 1 "qk-plotdata: two.json: 4_causal_decomposition needs conditions A, B and C" qk-plotdata 4_causal_decomposition two.json -o out
    fails 1 "qk-plotdata: two.json: 5_gamma_cv: no condition has a learned gain with 'gamma_cv'" qk-plotdata 5_gamma_cv two.json -o out
}
