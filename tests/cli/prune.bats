# qk-prune: cut checkpoints, evaluated and trained on.

load helpers

setup() {
    cd "$BATS_TEST_TMPDIR"
    "$make_input" checkpoint c.h5
    "$make_input" tokens t.h5
}

loss() { qk-eval -q "$1" --task loss --data t.h5 | jq .value; }

@test "with a fraction of 0 the loss is bit for bit the same" {
    local by
    for by in svd gamma random random-subspace; do
        qk-prune -q c.h5 --by $by --fraction 0 --calib t.h5:probe -o p.h5
        [ "$(loss p.h5)" = "$(loss c.h5)" ]
    done
}

@test "a cut changes the loss, and more of it the spectrum" {
    qk-prune -q c.h5 --by svd --fraction 0.5 --calib t.h5:val -o p.h5
    [ "$(loss p.h5)" != "$(loss c.h5)" ]
    qk-probe -q p.h5 --site pre_norm --of k --spectra | jq -e '.measures[0].sigma | .[2] < 1e-6 * .[0] and .[1] > 1e-3 * .[0]'
}

@test "the input stays, and the same command gives the same bytes" {
    sha256sum c.h5 t.h5 >before
    qk-prune -q --threads 1 c.h5 --by svd --fraction 0.5 --calib t.h5:probe -o 1.h5
    qk-prune -q --threads 2 c.h5 --by svd --fraction 0.5 --calib t.h5:probe -o 2.h5
    sha256sum -c before
    cmp 1.h5 2.h5
    qk-prune -q --no-provenance --seed 1 c.h5 --by random --fraction 0.5 -o 1.h5
    qk-prune -q --no-provenance --seed 2 c.h5 --by random --fraction 0.5 -o 2.h5
    ! cmp -s 1.h5 2.h5
}

@test "bf16 weights stay so, but for what is cut" {
    "$make_input" config c.json
    qk-train -q --config c.json --data t.h5 --until 0 --weights bf16 -o b.h5
    qk-prune -q b.h5 --by random-subspace --fraction 0.5 -o p.h5
    h5dump -H -d /weights/layers/0/wq p.h5 | grep -q '16-bit'
    h5dump -H -d /weights/layers/0/wk p.h5 | grep -q 'H5T_IEEE_F32LE'
}

@test "training goes on from a cut checkpoint" {
    "$make_input" config c.json
    qk-train -q --config c.json --data t.h5 --until 32 -o a.h5
    qk-prune -q a.h5 --by gamma --fraction 0.5 -o p.h5
    qk-train -q --from p.h5 --data t.h5 --until 64 -o b.h5 2>said
    [ "$(qk-probe -q b.h5 | jq .tokens_seen)" -eq 64 ]
}

@test "what is trained on from a cut remembers it, and is not scored on what calibrated it" {
    qk-prune -q c.h5 --by svd --fraction 0.5 --calib t.h5:val -o p.h5
    qk-train -q --from p.h5 --data t.h5 --until 32 --weights-only -o b.h5
    qk-train -q --from b.h5 --data t.h5 --until 64 -o d.h5
    fails 1 "qk-eval: t.h5: split val calibrated the cut of d.h5, and what it loses there says nothing: evaluate another split" \
        qk-eval -q d.h5 --task loss --data t.h5 --split val -o out
}

@test "a cut of a cut remembers both" {
    qk-prune -q c.h5 --by gamma --fraction 0.25 -o p.h5
    qk-prune -q p.h5 --by svd --fraction 0.5 --calib t.h5:probe -o q.h5
    h5dump -a /pruned q.h5 | grep -F '"before":{"by":"gamma"'
}

@test "what calibrated a cut is told of svd alone, and scored on nothing it was made of" {
    fails_on_val() { fails 1 "qk-eval: t.h5: split val calibrated the cut of $1, and what it loses there says nothing: evaluate another split" \
        qk-eval -q $1 --task loss --data t.h5 --split val -o out; }
    qk-prune -q c.h5 --by svd --fraction 0.5 --calib t.h5:val -o p.h5
    fails_on_val p.h5
    qk-eval -q p.h5 --task loss --data t.h5 --split test -o e.json
    jq -e '.pruned.calibration.split == "val"' e.json
    qk-prune -q p.h5 --by random --seed 1 --fraction 0.25 -o q.h5
    fails_on_val q.h5
    for by in gamma random random-subspace; do
        qk-prune -q c.h5 --by $by --fraction 0.5 --calib t.h5:val -o p.h5
        qk-eval -q p.h5 --task loss --data t.h5 --split val -o e.json
        jq -e '.pruned | has("calibration") and .calibration == null' e.json
    done
}

@test "what cannot be done is said" {
    "$make_input" checkpoint b.h5 "text:pruned={"
    fails 1 "qk-prune: b.h5: attribute 'pruned': malformed JSON at line 1" qk-prune b.h5 --by gamma --fraction 0.5 -o out
    "$make_input" checkpoint b.h5 "text:pruned=[1]"
    fails 1 "qk-prune: b.h5: attribute 'pruned': is not a JSON object" qk-prune b.h5 --by gamma --fraction 0.5 -o out
    "$make_input" checkpoint b.h5 value:/weights/layers/0/wk=3e38
    fails 1 "qk-prune: b.h5: layer 0, key head 0: the Gram matrix holds a number that is not finite" \
        qk-prune -q b.h5 --by svd --fraction 0.5 --calib t.h5:val -o out
    fails 1 "qk-prune: t.h5: split test is for evaluation and cannot calibrate: take probe or val" \
        qk-prune c.h5 --by svd --fraction 0.5 --calib t.h5:test -o out
    fails 1 "qk-prune: t.h5: there is no split 'nosuch'" \
        qk-prune c.h5 --by svd --fraction 0.5 --calib t.h5:nosuch -o out
    fails 1 "qk-prune: c.h5: has no layer '1': there are 0 to 0" qk-prune c.h5 --by gamma --fraction 0.5 --layers 1 -o out
    fails 2 "qk-prune: --by svd needs --calib TOKENS.h5:SPLIT" qk-prune c.h5 --by svd --fraction 0.5 -o out
    fails 2 "qk-prune: --calib: 't.h5' is not FILE:SPLIT, as tokens.h5:probe" qk-prune c.h5 --by svd --fraction 0.5 --calib t.h5 -o out
    fails 2 "qk-prune: --fraction F is needed, from 0 to 1" qk-prune c.h5 --by svd --fraction 1.5 --calib t.h5:probe -o out
    fails 2 "qk-prune: --by is missing: one of svd|gamma|random|random-subspace" qk-prune c.h5 --fraction 0.5 -o out
    fails 1 "qk-prune: c.h5: is an input and would be overwritten" qk-prune c.h5 --by gamma --fraction 0.5 -o c.h5
    "$make_input" checkpoint n.h5 'config:qk_norm="none"' without:/weights/layers/0/q_norm without:/weights/layers/0/k_norm
    fails 1 "qk-prune: n.h5: qk_norm is none, so keys have no learned gain per dimension to choose by: take svd, random or random-subspace" \
        qk-prune n.h5 --by gamma --fraction 0.5 -o out
}
