# qk-aggregate: probes and logs to results, results to verdicts, tables and reports.

load helpers

setup() {
    cd "$BATS_TEST_TMPDIR"
}

# One point of one condition: TOKENS NORM PR (layers 0 and 1 are one below and above it).
probe() {
    jq -nc --argjson t "$1" --arg norm "$2" --argjson pr "$3" '
        ("post_norm") as $site
        | {kind: "probe", version: 1, file: "keys-\($t).h5", step: ($t / 10), tokens_seen: $t,
           qk_norm: $norm, rows: 64, config: {d_model: 32, n_heads: 4, seed: 42, qk_norm: $norm},
           measures: [{of: "k", site: $site, centred: false, pr: $pr, pr_energy: ($pr - 1), null_pr: 7.8, null_pr_energy: 7.5}],
           layers: [0, 1 | {layer: ., k_pr: {($site): ($pr + 2 * . - 1)}, q_pr: {($site): $pr}, entropy: [1, 2], max_logit: [3]}
                    + (if $norm == "none" then {} else {gamma_k: {cv: ($t / 1000), values: [1, 1.5]}} end)],
           mean_pr: {($site): $pr}}'
}

# Steps 1 to 4 of 10 tokens: losses 8, 7, 6, 5 plus SHIFT, validated at the last.
training_log() {
    for step in 1 2 3 4; do
        jq -nc --argjson s $step --argjson shift "$1" '
            {step: $s, tokens_seen: (10 * $s), loss: (9 - $s + $shift)}
            + (if $s == 4 then {val_loss: (5.5 + $shift), val_tokens: 64} else {} end)'
    done
}

# TAG NORM PRs at 0, 20 and 40 tokens, loss SHIFT -> TAG.json
results_of() {
    { probe 0 "$2" "$3"; probe 20 "$2" "$4"; probe 40 "$2" "$5"; } >"$1.probe"
    training_log "$6" >"$1.log"
    qk-aggregate results --tag "$1" --probe "$1.probe" --log "$1.log" -o "$1.json"
}

three_conditions() {
    results_of QK learned 7 5 6 0
    results_of QK_frozen frozen 7 4 4.5 0.01
    results_of NoQK none 7 4 4.25 0.1
    qk-aggregate combine A=QK.json B=QK_frozen.json C=NoQK.json -o combined.json
}

@test "results.json has the keys and shapes of the format" {
    results_of QK learned 7 5 6 0
    [ "$(jq -c 'keys_unsorted' QK.json)" = '["tag","tokens","loss","val_loss","mean_pr","layer_pr","gamma_cv","gamma_final","mean_pr_sites","mean_pr_energy","q_pr","entropy","max_logit","q_layer_pr","layer_entropy","layer_max_logit","q_pr_sites","site","qk_norm","seed","config","head_dim","rows","null_pr","null_pr_energy","provenance"]' ]
    [ "$(jq -c '[.tokens, .loss, .val_loss, .mean_pr]' QK.json)" = '[[0,20,40],[null,7.5,5.5],[null,null,5.5],[7,5,6]]' ]
    [ "$(jq -c '[.layer_pr, .gamma_cv, .gamma_final]' QK.json)" = \
        '[{"0":[6,4,5],"1":[8,6,7]},{"0":[0,0.02,0.04],"1":[0,0.02,0.04]},{"0":[1,1.5],"1":[1,1.5]}]' ]
    [ "$(jq -c '.provenance.argv' QK.json)" = '["qk-aggregate","results","--tag","QK","--probe","QK.probe","--log","QK.log"]' ]
    [ "$(jq -r '.provenance.inputs[1].sha256' QK.json)" = "$(sha256sum QK.log | cut -d' ' -f1)" ]
}

@test "by layer: queries, attention, spectra where probes have them, the gain beside the dimensions" {
    results_of QK learned 7 5 6 0
    jq -c 'if .tokens_seen == 20 then . else
              .measures = [.layers[].layer as $l | {layer: $l, of: "k", site: "post_norm", centred: false, pr: 5, sigma: [4, 2, 0]},
                                                   {layer: $l, of: "k", site: "post_norm", centred: false, pr: 5, sigma: [2, 2, 1]},
                                                   {layer: $l, of: "k", site: "post_norm", centred: true, pr: 5, sigma: [1, 1, 1]},
                                                   {layer: $l, of: "qk", site: "post_norm", centred: false, pr: (3 + $l), null_pr: 9, sigma: [1, 1, 1]}]
              | .layers |= map(.gamma_k.values = [-1, 2] | .gamma_vs_svd = {post_norm: {c: [0.1, 0.9], rho: 1}, pre_norm: {c: [0.6, 0.4], rho: -1}}) end' \
        QK.probe >s.probe
    qk-aggregate results --tag QK --probe s.probe --log QK.log -o s.json
    [ "$(jq -c '[.q_layer_pr, .layer_entropy["1"], .layer_max_logit["0"], .q_pr_sites.post_norm]' s.json)" = \
        '[{"0":[7,5,6],"1":[7,5,6]},[1.5,1.5,1.5],[3,3,3],[7,5,6]]' ]
    [ "$(jq -c '.spectra' s.json)" = \
        '{"tokens":[0,40],"site":"post_norm","layers":{"0":[[1,0.75,0.25],[1,0.75,0.25]],"1":[[1,0.75,0.25],[1,0.75,0.25]]}}' ]
    [ "$(jq -c '.contribution["1"]' s.json)" = \
        '{"site":"pre_norm","gamma":[1,2],"c":[0.6,0.4],"spearman":-1,"spearman_sites":{"post_norm":1,"pre_norm":-1}}' ]
    [ "$(jq -c '[.qk_pr_sites.post_norm, .null_qk_pr]' s.json)" = '[[3.5,null,3.5],9]' ]
    jq '.seed = 7 | .spectra.layers["0"][1][1] = 0.25' s.json >t.json
    qk-aggregate combine A=s.json A=t.json -o both.json
    [ "$(jq -c '.A | [.spectra.layers["0"][1], .contribution["1"].gamma]' both.json)" = '[[1,0.5,0.25],[1,2]]' ]
}

@test "evaluations are kept under their names and averaged over seeds" {
    results_of QK learned 7 5 6 0
    printf '{"kind":"eval","version":1,"file":"c.h5","task":"hellaswag","n":10,"value":0.3,"stderr":0.1,"acc_norm":0.4,"how":{"shots":10},"provenance":{}}' >h.json
    printf '{"kind":"eval","version":1,"file":"c.h5","task":"loss","n":4,"value":3.5,"stderr":null}' >l.json
    set -- qk-aggregate results --tag QK --probe QK.probe --log QK.log
    "$@" --eval hellaswag=h.json --eval test=l.json -o e.json
    [ "$(jq -c '.evals' e.json)" = '{"hellaswag":{"task":"hellaswag","n":10,"value":0.3,"stderr":0.1,"acc_norm":0.4,"how":{"shots":10}},"test":{"task":"loss","n":4,"value":3.5,"stderr":null}}' ]
    [ "$(jq -r '.provenance.inputs[-1].path' e.json)" = l.json ]
    jq '.seed = 7 | .evals.hellaswag.value = 0.5' e.json >f.json
    qk-aggregate combine A=e.json A=f.json -o both.json
    [ "$(jq -c '[.A.evals.hellaswag.value, .A.evals.test.stderr]' both.json)" = '[0.4,null]' ]
    fails 2 "qk-aggregate: 'h.json' is not NAME=FILE, such as hellaswag=eval.json" "$@" --eval h.json -o out
    fails 1 "qk-aggregate: l.json: there are two evaluations named 'x'" "$@" --eval x=h.json --eval x=l.json -o out
    fails 1 "qk-aggregate: QK.json: has no key 'kind'" "$@" --eval x=QK.json -o out
    printf '{"kind":"eval","task":"loss"}' >b.json
    fails 1 "qk-aggregate: b.json: there is no number 'value'" "$@" --eval x=b.json -o out
}

@test "without a norm gamma_cv is empty; frozen gains have no gamma_final" {
    three_conditions
    [ "$(jq -c '[.gamma_cv, has("gamma_final")]' NoQK.json)" = '[{},false]' ]
    [ "$(jq -c '[(.gamma_cv | length), has("gamma_final")]' QK_frozen.json)" = '[2,false]' ]
}

@test "edges: several probes and logs are one run" {
    results_of QK learned 7 5 6 0
    head -n 2 QK.probe >p1 && tail -n 1 QK.probe >p2
    head -n 3 QK.log >l1 && tail -n 1 QK.log >l2
    qk-aggregate results --tag QK --probe p2 --probe p1 --log l1 --log l2 --no-provenance -o split.json
    qk-aggregate results --tag QK --probe QK.probe --log QK.log --no-provenance | cmp - split.json
    fails 1 "qk-aggregate: l1: step 1 follows step 4" qk-aggregate results --tag QK --probe p1 --log l2 --log l1 -o out
}

@test "edges that were both validated before the first step are one run" {
    results_of QK learned 7 5 6 0
    printf '{"step":0,"tokens_seen":0,"val_loss":9,"val_tokens":8}\n' >l0
    cat l0 QK.log >l1
    qk-aggregate results --tag QK --probe QK.probe --log l0 --log l1 --no-provenance -o split.json
    [ "$(jq -c .val_loss split.json)" = "[9,null,5.5]" ]
    tail -n 2 QK.log >l2
    fails 1 "qk-aggregate: l2: step 3 follows step 4" qk-aggregate results --tag QK --probe QK.probe --log QK.log --log l2 -o out
}

@test "combined, verdict and table" {
    three_conditions
    [ "$(jq -c 'keys_unsorted' combined.json)" = '["A","B","C","elapsed_s","provenance"]' ]
    [ "$(jq '.elapsed_s' combined.json)" = null ]
    qk-aggregate verdict --study causal50m combined.json -o verdict.json
    [ "$(jq -c '[.outcome, .kill_criterion_met, .equivalence]' verdict.json)" = '["A≠B≈C",false,null]' ]
    [ "$(jq -c '.numbers.contrasts | map_values(.difference)' verdict.json)" = '{"A-B":1.5,"B-C":0.25,"A-C":1.75}' ]
    [ "$(jq -c '.numbers.conditions.A.minimum' verdict.json)" = '{"tokens":20,"pr":5}' ]
    [ "$(jq -c '.numbers.order' verdict.json)" = '{"pr":"A > B > C","loss":"A < B < C","loss_of":"val","match":true}' ]
    jq -e '[.sentence, .sentences[]] | all(contains("one seed: no variance is known") and test("[0-9]"))' verdict.json
    [ "$(qk-aggregate table --study causal50m --format tsv combined.json)" = \
"condition	PR	sd of seeds	% of null	least PR	at Mtokens	query PR	QK PR	train	val
A learned gain	6.00	-	76.9	5.00	2e-05	6.00	-	5.5000	5.5000
B frozen gain	4.50	-	57.7	4.00	2e-05	4.50	-	5.5100	5.5100
C no QK-Norm	4.25	-	54.5	4.00	2e-05	4.25	-	5.6000	5.6000" ]
    [ "$(qk-aggregate table --study causal50m --of contrasts --format md combined.json | head -n 3 | tail -n 1)" = \
        "| A−B | +1.50 | - | - | - | - | +1.25 ± 0.35 | -0.0100 | -0.0100 | 2 of 2 |" ]
    qk-aggregate table --study causal50m --of trajectory --format text combined.json | grep -q "^4e-05 "
}

@test "several seeds: the mean under the name, the runs inside, tests in the verdict" {
    three_conditions
    for c in QK QK_frozen NoQK; do
        jq '.seed = 137 | .mean_pr = [.mean_pr[] + 0.5] | .layer_pr |= map_values([.[] + 0.5])' $c.json >$c-137.json
    done
    jq '.mean_pr[2] += 0.1' QK-137.json >x && mv x QK-137.json
    qk-aggregate combine A=QK.json A=QK-137.json B=QK_frozen.json B=QK_frozen-137.json C=NoQK.json C=NoQK-137.json -o seeds.json
    [ "$(jq -c '[.A.mean_pr, (.A.seeds | length), .A.seed, .A.config]' seeds.json)" = '[[7.25,5.25,6.3],2,null,{"d_model":32,"n_heads":4,"qk_norm":"learned"}]' ]
    qk-aggregate verdict --study causal50m seeds.json -o verdict.json
    jq -e '.numbers.contrasts["A-B"] | .n == 2 and .p_signflip == 0.5 and .p_holm == 1 and (.sd - (0.005 | sqrt) | fabs < 1e-9)' verdict.json
    [ "$(jq -r '.equivalence' verdict.json)" = effect ]
    jq -e '[.sentences[]] | all(contains("one seed") | not)' verdict.json
    fails 1 "qk-aggregate: A=QK.json A=QK-137.json B=QK_frozen.json: A has 2 seeds, B has 1: they cannot be paired" \
        qk-aggregate combine A=QK.json A=QK-137.json B=QK_frozen.json -o out
    fails 1 "qk-aggregate: QK.json: condition A has two runs of seed 42" qk-aggregate combine A=QK.json A=QK.json -o out
}

@test "times are added up and are no part of the provenance" {
    three_conditions
    printf '{"elapsed_s":1.5}\n{"elapsed_s":2}\n' >t1
    printf '{\n"elapsed_s": 4\n}\n' >t2
    qk-aggregate combine A=QK.json --timing t1 t2 -o timed.json
    [ "$(jq -c '[.elapsed_s, .provenance.argv]' timed.json)" = '[7.5,["qk-aggregate","combine","A=QK.json"]]' ]
}

# Stand-ins for drawn figures, as small as an SVG can be.
figures() {
    mkdir -p figures
    for f in 1_loss 2_key_pr_causal 3_per_layer 4_causal_decomposition 5_gamma_cv; do
        echo '<svg width="9" height="9" viewBox="0 0 9 9"><g id="a"/></svg>' >figures/$f.svg
        echo png >figures/$f.png
    done
}

@test "report in both forms, the same each time; it passes its own lint" {
    three_conditions
    figures
    qk-aggregate verdict --study causal50m combined.json -o verdict.json
    local made=(qk-aggregate report --study causal50m --combined combined.json --verdict verdict.json --figures figures --published)
    "${made[@]}" -o report.md
    qk-aggregate lint report.md
    "${made[@]}" | cmp - report.md
    grep -q '^!\[.*\](figures/1_loss.png)$' report.md
    "${made[@]}" --format html -o report.html
    [ "$(grep -c '<svg' report.html)" -eq 5 ]
    [ "$(grep -cE 'src=|<script|<link|@import' report.html)" -eq 0 ]
    grep -q 'sha256\|SHA-256' report.html
}

@test "a report is refused when a figure is missing or the verdict is another's" {
    three_conditions
    figures
    qk-aggregate verdict --study causal50m combined.json -o verdict.json
    jq '.outcome = "all differ"' verdict.json >other.json
    fails 1 "qk-aggregate: other.json: 'outcome' is not what the combined file gives: make the verdict anew" \
        qk-aggregate report --study causal50m --combined combined.json --verdict other.json --figures figures -o out
    rm figures/3_per_layer.*
    fails 1 "qk-aggregate: figures/3_per_layer.png: No such file or directory" \
        qk-aggregate report --study causal50m --combined combined.json --verdict verdict.json --figures figures -o out
    echo '<svg' >figures/3_per_layer.svg
    fails 1 "qk-aggregate: figures/3_per_layer.svg: is no whole SVG" \
        qk-aggregate report --study causal50m --combined combined.json --verdict verdict.json --figures figures --format html -o out
}

@test "lint finds what is claimed without evidence" {
    printf '## TL;DR\n\nThis proves 1.\n' >a.md
    fails 1 'qk-aggregate: a.md: line 3: says "proves"' qk-aggregate lint a.md
    printf '## TL;DR\n\nIt is so.\n' >b.md
    fails 1 "qk-aggregate: b.md: line 3: a claim under 'TL;DR' has neither number nor figure" qk-aggregate lint b.md
    printf '## TL;DR\n\n1. 2.\n' >c.md
    fails 1 "qk-aggregate: c.md: the TL;DR has fewer than three sentences" qk-aggregate lint c.md
    printf '## TL;DR\n\n1. 2. 3.\n\n## Set-up\n' >d.md
    fails 1 "qk-aggregate: d.md: the loss curves (figure 1_loss or its kin) are missing" qk-aggregate lint d.md
}

@test "misuse: exit 2, the sentence and the usage line" {
    fails 2 "qk-aggregate: a subcommand is needed" qk-aggregate
    fails 2 "qk-aggregate: there is no subcommand 'guess'" qk-aggregate guess
    fails 2 "qk-aggregate: --tag and at least one --probe are needed" qk-aggregate results --tag QK
    fails 2 "qk-aggregate: 'x.json' is not NAME=FILE, such as A=results.json" qk-aggregate combine x.json
    fails 2 "qk-aggregate: --study is needed" qk-aggregate verdict combined.json
    fails 2 "qk-aggregate: no input given" qk-aggregate verdict --study causal50m
    fails 2 "qk-aggregate: --combined, --verdict and --figures are needed" qk-aggregate report --study causal50m
    run -0 qk-aggregate --help
    [ "${lines[0]}" = "Usage: qk-aggregate SUBCOMMAND [options] INPUT... -o OUT" ]
    run -0 qk-aggregate results --help
    [[ "$output" == *"post_norm"* ]]
}

@test "bad inputs: one sentence, no output" {
    three_conditions
    qk-aggregate verdict --study causal50m combined.json -o verdict.json
    echo '{"A": ' >broken.json
    fails 1 "qk-aggregate: broken.json: malformed JSON at line 2" qk-aggregate verdict --study causal50m broken.json -o out
    echo '[]' >array.json
    fails 1 "qk-aggregate: array.json: not an object" qk-aggregate verdict --study causal50m array.json -o out
    : >empty.json
    fails 1 "qk-aggregate: empty.json: is empty, expected JSON" qk-aggregate verdict --study causal50m empty.json -o out
    fails 1 "qk-aggregate: none.json: cannot be opened: No such file or directory" qk-aggregate verdict --study causal50m none.json -o out
    jq 'del(.B)' combined.json >two.json
    fails 1 "qk-aggregate: two.json: there is no condition B, causal50m needs A, B and C" qk-aggregate verdict --study causal50m two.json -o out
    jq 'del(.A.mean_pr)' combined.json >nokey.json
    fails 1 "qk-aggregate: nokey.json: A: there is no 'mean_pr'" qk-aggregate verdict --study causal50m nokey.json -o out
    jq '.B.mean_pr[1] = null' combined.json >null.json
    fails 1 "qk-aggregate: null.json: condition B: 'mean_pr' is null at 20 tokens" qk-aggregate verdict --study causal50m null.json -o out
    jq '.C.tokens[2] = 50' combined.json >tokens.json
    fails 1 "qk-aggregate: tokens.json: A and C differ in tokens at point 2 (40 and 50)" qk-aggregate verdict --study causal50m tokens.json -o out
    jq '.C |= (.tokens = .tokens[:2] | .loss = .loss[:2] | .val_loss = .val_loss[:2] | .mean_pr = .mean_pr[:2] | .q_pr = .q_pr[:2] | .entropy = .entropy[:2]
        | .max_logit = .max_logit[:2] | .layer_pr |= map_values(.[:2]))' combined.json >short.json
    fails 1 "qk-aggregate: short.json: A and C have 3 and 2 points" qk-aggregate table --study causal50m short.json -o out
    printf '{"step":1,"tokens_seen":10,"loss":NaN}\n' >nan.log
    fails 1 "qk-aggregate: nan.log: malformed JSON at line 1" qk-aggregate results --tag QK --probe QK.probe --log nan.log -o out
    echo '{"kind":"keys"}' >keys.json
    fails 1 "qk-aggregate: keys.json: kind is 'keys', expected 'probe'" qk-aggregate results --tag QK --probe keys.json -o out
    fails 1 "qk-aggregate: QK.probe: probe of keys-0.h5: 'mean_pr' has no site post_rope" qk-aggregate results --tag QK --site post_rope --probe QK.probe -o out
    fails 1 "qk-aggregate: verdict.json: no condition A, B, ... in it" qk-aggregate table --study causal50m verdict.json -o out
}

@test "what is read beside the operand is no output either" {
    three_conditions
    echo '{"elapsed_s":1.5}' >t1
    fails 1 "qk-aggregate: t1: is an input and would be overwritten" qk-aggregate combine A=QK.json --timing t1 -o t1
    echo '{"A1":{"svd":[{"fraction":0,"loss":3,"draws":[3]},{"fraction":0.5,"loss":4,"draws":[4]}]}}' >surgery.json
    fails 1 "qk-aggregate: surgery.json: is an input and would be overwritten" \
        qk-aggregate table --study causal50m --surgery surgery.json combined.json -o surgery.json
    echo '{}' >chosen.json
    fails 1 "qk-aggregate: chosen.json: is an input and would be overwritten" \
        qk-aggregate table --study causal50m --chosen chosen.json combined.json -o chosen.json
}

@test "table: a fourth condition has its row" {
    three_conditions
    results_of QK_scalar scalar 7 5 6.5 0.05
    qk-aggregate combine A=QK.json B=QK_frozen.json C=NoQK.json D=QK_scalar.json -o four.json
    qk-aggregate table --study causal50m --format tsv four.json >table
    [ "$(wc -l <table)" -eq 5 ]
    [[ "$(tail -n 1 table)" == "D "*$'\t'6.50$'\t'* ]]
}

@test "surgery: dose curves from evaluations of cut checkpoints" {
    cut() { # FILE BY FRACTION SEED LOSS
        jq -n --arg by "$2" --argjson f "$3" --argjson s "$4" --argjson v "$5" '{kind: "eval", version: 1, task: "loss", n: 4, value: $v, stderr: 0.1,
            how: {split: "test", data: "t.h5"}} + (if $by == "" then {} else {pruned: {by: $by, fraction: $f, seed: $s, kept_rank: 3}} end)' >"$1"
    }
    cut 0.json "" 0 0 3; cut s.json svd 0.5 0 3.5; cut r1.json random 0.5 1 4; cut r2.json random 0.5 2 5
    qk-aggregate surgery A1=0.json A1=s.json A1=r1.json A1=r2.json B1=0.json B1=s.json -o surgery.json
    [ "$(jq -c 'keys_unsorted' surgery.json)" = '["A1","B1","area","provenance"]' ]
    [ "$(jq -c '.A1.random[1]' surgery.json)" = '{"fraction":0.5,"loss":4.5,"stderr":0.1,"draws":[4,5],"seeds":[1,2],"sd":0.7071067811865476,"kept_rank":3}' ]
    [ "$(jq -c '.area.A1' surgery.json)" = '{"svd":{"value":0.125,"sd":null,"draws":[0.125],"to":0.5},"random":{"value":0.375,"sd":0.1767766952966369,"draws":[0.25,0.5],"to":0.5}}' ]
    fails 2 "qk-aggregate: 's.json' is not NAME=FILE, such as A=results.json" qk-aggregate surgery A1=0.json s.json -o out
    fails 1 "qk-aggregate: A1=0.json: none of the evaluations is of a cut checkpoint" qk-aggregate surgery A1=0.json -o out
    jq '.n = 5' s.json >t.json
    fails 1 "qk-aggregate: 0.json and t.json are not evaluated on the same windows" qk-aggregate surgery A1=0.json A1=t.json -o out
}

# NAME at rates R1 R2 R3 with losses; the ranks are 10 times the loss
sweep_run() { # CONFIG RATE LOSS
    jq --argjson r "$2" --argjson l "$3" '.config += {adamw_lr: $r} | .val_loss[2] = $l | .mean_pr[2] = 10 * $l' QK.json >"$1-$2.json"
}

@test "pick-lr: winners, edges and the verdict of a sweep" {
    results_of QK learned 7 5 6 0
    sweep_run AdamW 1e-4 3.2; sweep_run AdamW 3e-4 3.1; sweep_run AdamW 6e-4 3.3
    sweep_run Muon 1e-4 3.2; sweep_run Muon 2e-4 3.1
    qk-aggregate pick-lr AdamW:1e-4=AdamW-1e-4.json AdamW:3e-4=AdamW-3e-4.json AdamW:6e-4=AdamW-6e-4.json \
        Muon:1e-4=Muon-1e-4.json Muon:2e-4=Muon-2e-4.json -o chosen.json 2>said
    [ "$(cat said)" = "qk-aggregate: Muon is best at the edge of its grid: add rates beyond it" ]
    [ "$(jq -c 'keys_unsorted' chosen.json)" = '["AdamW","Muon","site","config","provenance"]' ]
    [ "$(jq -c '.AdamW | del(.grid)' chosen.json)" = '{"lr":{"muon":null,"adamw":0.0003},"rate":0.0003,"val_loss":3.1,"rank":31,"edge":false,"side":null,"add":[]}' ]
    [ "$(jq -c '.Muon | [.edge, .side, .add, .grid[0]]' chosen.json)" = '[true,"high",[0.0004,0.0008],{"rate":0.0001,"lr":{"muon":null,"adamw":0.0001},"val_loss":3.2,"mean_pr":32,"seeds":1}]' ]
    qk-aggregate verdict --study sweep20m chosen.json -o verdict.json
    [ "$(jq -r .outcome verdict.json)" = "extend the grid" ]
    jq 'del(.AdamW.rate)' chosen.json >x.json
    fails 1 "qk-aggregate: x.json: configuration AdamW lacks rate, val_loss or grid" qk-aggregate verdict --study sweep20m x.json -o out
    jq -e '[.sentence, .sentences[]] | all(contains("one seed: no variance is known") and test("[0-9]"))' verdict.json
    [ "$(qk-aggregate table --study sweep20m --format tsv chosen.json)" = \
"configuration	best LR	sweep val loss	mean PR there	edge of the grid
AdamW	0.0003	3.1000	31.00	no
Muon	0.0002	3.1000	31.00	high" ]
    qk-aggregate pick-lr --added Muon:0.0002 Muon:1e-4=Muon-1e-4.json Muon:2e-4=Muon-2e-4.json -q -o added.json
    [ "$(jq -c '[.Muon.grid[].added]' added.json)" = '[null,true]' ]
    qk-aggregate verdict --study sweep20m added.json | jq -e '.sentences.Muon | contains("among 2, 1 of them added beyond an edge at which a rate was best")'
    fails 1 "qk-aggregate: 'Muon:3e-4' is no CONFIG:RATE of this sweep" qk-aggregate pick-lr -q --added Muon:3e-4 Muon:1e-4=Muon-1e-4.json -o out
    fails 2 "qk-aggregate: 'AdamW=x.json' is not CONFIG:RATE=FILE, such as AdamW:6e-4=results.json" qk-aggregate pick-lr AdamW=x.json -o out
    fails 1 "qk-aggregate: AdamW-1e-4.json: was trained at adamw_lr 0.0001, not at 0.5" \
        qk-aggregate pick-lr AdamW:0.5=AdamW-1e-4.json -o out
}

@test "power: seeds needed from the spread seen" {
    three_conditions
    fails 1 "qk-aggregate: combined.json: one seed tells no spread: two are the fewest that do" qk-aggregate power combined.json -o out
    for c in QK NoQK; do jq '.seed = 137' $c.json >$c-137.json; done
    jq '.mean_pr[2] += 1' QK-137.json >x && mv x QK-137.json
    qk-aggregate combine A=QK.json A=QK-137.json C=NoQK.json C=NoQK-137.json -o seeds.json
    qk-aggregate power seeds.json -o power.json
    jq -e '.pairs["A-C"].pr | .sd == (0.5 | sqrt) and .seeds_80 == 7 and .seeds_90 == 8 and .equivalence.margin == 1' power.json
    qk-aggregate power --effect 2 seeds.json | jq -e '.pairs["A-C"].pr.seeds_80 < 7'
    fails 2 "qk-aggregate: --effect and --effect-loss must be above 0" qk-aggregate power --effect 0 seeds.json -o out
}

@test "verdicts of the other studies" {
    three_conditions
    qk-aggregate combine QK=QK.json NoQK=NoQK.json -o pilot.json
    qk-aggregate verdict --study pilot500k pilot.json -o v.json
    [ "$(jq -r '.study, .outcome' v.json)" = "pilot500k
higher rank with QK-Norm" ]
    jq '.QK.layer_pr["1"][2] = null' pilot.json >null.json
    fails 1 "qk-aggregate: null.json: condition QK: 'layer_pr' of layer 1 is null at the last point" qk-aggregate verdict --study pilot500k null.json -o out
    jq '.NoQK.loss[2] = null' pilot.json >null.json
    fails 1 "qk-aggregate: null.json: condition NoQK: 'loss' is null at the last point" qk-aggregate verdict --study pilot500k null.json -o out
    [ "$(jq -c '.numbers.contrasts["QK-NoQK"] | [.difference, .loss.difference, .is]' v.json)" = '[1.75,-0.09999999999999964,"higher"]' ]
    qk-aggregate combine A1=QK.json A2=NoQK.json B1=QK.json B2=NoQK.json C1=QK.json C2=QK.json -o ablation.json
    qk-aggregate verdict --study ablation25m ablation.json -o v.json
    [ "$(jq -r .outcome v.json)" = "QK-Norm raises rank" ]
    [ "$(jq -c '.numbers.contrasts | keys_unsorted' v.json)" = '["A1-A2","B1-B2","A1-B1","A2-B2","C2-C1"]' ]
    qk-aggregate combine AdamW=NoQK.json AdamW_QK=QK.json Muon=NoQK.json Muon_QK=QK.json -o main.json
    jq '(.AdamW, .AdamW_QK, .Muon, .Muon_QK).evals = {wikitext: {value: 19660.74}, lambada: {value: 0.25}}' main.json >tested.json
    qk-aggregate verdict --study main300m tested.json | jq -e '.sentences.downstream | contains("LAMBADA accuracy 0.2500 / 0.2500 / ") and contains("perplexity 19660.7 / 19660.7 / ")'
    qk-aggregate verdict --study main300m main.json -o v.json
    [ "$(jq -r .outcome v.json)" = "none of these" ]
    jq -e '[.sentence, .sentences[]] | all(contains("one seed: no variance is known") and test("[0-9]"))' v.json
    [ "$(qk-aggregate table --study main300m --of configs --format tsv main.json | sed -n 3p)" = "AdamW+QK	-	5.5000	6.00	-	-" ]
    [ "$(qk-aggregate table --study main300m --of contrasts --format tsv main.json | sed -n 2p | cut -f 1,2)" = "AdamW+QK − AdamW	+1.75" ]
    fails 1 "qk-aggregate: main.json: the table of rates needs a chosen.json" qk-aggregate table --study main300m --of rates main.json -o out
    fails 1 "qk-aggregate: main.json: there is no condition A1, which ablation25m needs" qk-aggregate verdict --study ablation25m main.json -o out
}

# The figures of a study, by name.
named_figures() {
    mkdir -p figures
    for f in "$@"; do
        echo '<svg width="9" height="9" viewBox="0 0 9 9"><g id="a"/></svg>' >figures/$f.svg
        echo png >figures/$f.png
    done
}

# STUDY and the options that both verdict.json and the report are made with: report.md and report.html, both linted
reported() {
    local study=$1
    shift
    qk-aggregate report --study "$study" --verdict v.json --figures figures "$@" -o report.md
    qk-aggregate lint report.md
    qk-aggregate report --study "$study" --verdict v.json --figures figures "$@" --format html -o report.html
    [ "$(grep -cE 'src=|<script|<link|@import' report.html)" -eq 0 ]
    [ "$(grep -c '<svg' report.html)" -eq "$(grep -c '^!\[' report.md)" ]
    [ "$(grep -c '^# ' report.md)" -eq 1 ]
}

@test "reports of the other studies" {
    three_conditions
    named_figures panel_a_loss panel_b_pr_trajectory panel_c_per_layer panel_d_delta layer_pr_heatmap sheet trajectory sv_waterfall \
        data_complexity surgery gamma_vs_svd rank_and_loss lr_sweep val_loss mean_pr sv_spectra loss_vs_pr
    qk-aggregate combine QK=QK.json NoQK=NoQK.json -o pilot.json
    qk-aggregate verdict --study pilot500k pilot.json -o v.json
    reported pilot500k --combined pilot.json
    grep -q 'have 127.5' report.md
    fails 1 "qk-aggregate: v.json: is no verdict of main300m" \
        qk-aggregate report --study main300m --combined pilot.json --verdict v.json --figures figures -o out

    qk-aggregate combine A1=QK.json A2=NoQK.json B1=QK.json B2=NoQK.json C1=QK.json C2=QK.json -o ablation.json
    echo '{"A1": {"svd": [{"fraction": 0, "loss": 3}, {"fraction": 0.5, "loss": 3.1}], "gamma": [{"fraction": 0, "loss": 3}, {"fraction": 0.5, "loss": 3.1}],
        "random": [{"fraction": 0, "loss": 3}, {"fraction": 0.5, "loss": 4}]}}' >surgery.json
    qk-aggregate verdict --study ablation25m --surgery surgery.json ablation.json -o v.json
    reported ablation25m --combined ablation.json --surgery surgery.json
    [ "$(grep -c '^### ' report.md)" -eq 6 ] # learning rates and five claims
    grep -q '^| A1 | svd |' report.md
    fails 1 "qk-aggregate: v.json: 'numbers' is not what the combined file gives: make the verdict anew" \
        qk-aggregate report --study ablation25m --combined ablation.json --verdict v.json --figures figures -o out

    sweep_run AdamW 1e-4 3.2; sweep_run AdamW 3e-4 3.1; sweep_run AdamW 6e-4 3.3
    qk-aggregate pick-lr AdamW:1e-4=AdamW-1e-4.json AdamW:3e-4=AdamW-3e-4.json AdamW:6e-4=AdamW-6e-4.json -o chosen.json
    qk-aggregate verdict --study sweep20m chosen.json -o v.json
    reported sweep20m --chosen chosen.json
    grep -q '^| AdamW | 0.0003 |' report.md

    qk-aggregate combine AdamW=NoQK.json AdamW_QK=QK.json Muon=NoQK.json Muon_QK=QK.json -o main.json
    fails 1 "qk-aggregate: out: configurations are compared whose learning rates were not tuned for each: the limitations say \"No rate was chosen for\"" \
        sh -c 'qk-aggregate verdict --study main300m --chosen chosen.json main.json -o v.json &&
            qk-aggregate report --study main300m --combined main.json --chosen chosen.json --verdict v.json --figures figures -o out'
    jq '.AdamW.lr.adamw = .config.adamw_lr | .AdamW_QK = .AdamW | .Muon = .AdamW | .Muon_QK = .AdamW' chosen.json >x && mv x chosen.json
    qk-aggregate verdict --study main300m --chosen chosen.json main.json -o v.json
    reported main300m --combined main.json --chosen chosen.json
    grep -q '(figures/lr_sweep.png)' report.md
    fails 2 "qk-aggregate: --chosen, --verdict and --figures are needed" qk-aggregate report --study sweep20m --verdict v.json --figures figures
}

@test "experiment-config: every field from the configs" {
    study_inputs
    qk-aggregate results --tag QK --probe probes.json --log log -o QK.json
    jq '.config.qk_norm = "none" | .config.adamw_lr = 0.5' QK.json >NoQK.json
    qk-aggregate combine Muon_QK=QK.json Muon=NoQK.json -o main.json
    qk-aggregate experiment-config --data "plain text" main.json -o experiment_config.md
    for field in Model Parameters Layers Heads "Head dimension" Vocabulary "Context length" "Data set" Tokenizer "QK-Norm type" \
        "QK-Norm placement" "Weight decay" "Batch size" "Warm-up steps" "LR schedule" "Gradient clipping"; do
        grep -q "^| $field | [^|]*[^| -]" experiment_config.md
    done
    grep -qx "| Data set | plain text |" experiment_config.md
    grep -q "^| QK-Norm type | Muon+QK: RMSNorm per head.*; Muon: none |$" experiment_config.md
    jq 'del(.Muon.config)' main.json >x.json
    fails 1 "qk-aggregate: x.json: condition Muon carries no config" qk-aggregate experiment-config x.json -o out
}
