# qk-probe: what it prints, from checkpoints and from dumps, and how it fails.

load helpers

setup() {
    cd "$BATS_TEST_TMPDIR"
    "$make_input" checkpoint c.h5
}

without_name() { sed 's/"file":"[^"]*",//'; }

@test "probe.json has the keys of the format, in order" {
    run -0 qk-probe c.h5
    [ "$(jq -c 'keys_unsorted' <<<"$output")" = '["kind","version","file","step","tokens_seen","qk_norm","rows","skip_first","config","null","measures","layers","mean_pr","provenance"]' ]
    [ "$(jq -c '.measures[0] | keys_unsorted' <<<"$output")" = '["layer","head","of","site","centred","pr","pr_energy","rank90","cond","effective_rank","stable_rank","axis_alignment","null_pr","null_pr_energy"]' ]
    [ "$(jq -c '.layers[0] | keys_unsorted' <<<"$output")" = '["layer","k_pr","q_pr","gamma_k","gamma_q","entropy","max_logit","head_overlap","gamma_vs_svd"]' ]
    [ "$(jq -c '[.kind, .version, .file, .step, .tokens_seen, .qk_norm, .rows]' <<<"$output")" = '["probe",1,"c.h5",0,0,"learned",16]' ]
    [ "$(jq -c '[.provenance.tool, .provenance.argv]' <<<"$output")" = '["qk-probe",["qk-probe","c.h5"]]' ]
    [ "$(jq -r '.provenance.inputs[0].sha256' <<<"$output")" = "$(sha256sum c.h5 | cut -d' ' -f1)" ]
    [ "$(wc -l <<<"$output")" -eq 1 ]
}

@test "by default keys and queries at every site, not centred" {
    run -0 qk-probe c.h5
    [ "$(jq -r '[.measures[] | "\(.site).\(.of).\(.head).\(.centred)"] | join(" ")' <<<"$output")" = \
        "pre_norm.k.0.false pre_norm.q.0.false pre_norm.q.1.false post_norm.k.0.false post_norm.q.0.false post_norm.q.1.false post_rope.k.0.false post_rope.q.0.false post_rope.q.1.false" ]
}

@test "the numbers" { # of an independent float64 calculation with numpy
    qk-probe --tsv --centred both --of k,q,qk,wk,wq c.h5 | awk -F'\t' 'NR > 1 {
        printf "%s %s %s %s %.4f %.4f %s %.3f %.4f %.4f %.4f\n", $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12 }' >seen
    grep -E '^0 (k|qk|wk) ' seen >some
    cat some
    diff some - <<'END'
0 k pre_norm false 2.9643 1.8788 3 5.234 3.3797 1.4338 0.4008
0 k pre_norm true 2.8521 1.8743 2 7.708 3.2554 1.4405 0.3941
0 qk pre_norm false 2.5354 1.4132 2 5.425 3.1093 1.1991 0.4351
0 k post_norm false 3.3084 2.3131 3 3.754 3.6076 1.6557 0.4972
0 k post_norm true 3.1984 2.2646 3 4.941 3.5114 1.6437 0.4858
0 qk post_norm false 2.7397 1.5463 2 4.704 3.2669 1.2609 0.3081
0 k post_rope false 3.5487 2.5737 4 2.295 3.7726 1.7607 0.6270
0 k post_rope true 3.5710 2.6260 4 2.260 3.7841 1.7907 0.6375
0 qk post_rope false 3.0582 1.8030 3 3.490 3.4921 1.3766 0.4662
0 wk weight false 3.4282 2.8421 3 3.860 3.6375 2.2145 0.4761
END
}

@test "a dump gives the same bytes as its checkpoint" {
    qk-probe --no-provenance --of k,q,qk,wk,wq --centred both --spectra --keys keys.h5 c.h5 | without_name >a
    qk-probe --no-provenance --of k,q,qk,wk,wq --centred both --spectra keys.h5 | without_name >b
    [ -s a ]
    cmp a b
    qk-probe --no-provenance --of wk c.h5 | without_name >a
    qk-probe --no-provenance --of wk keys.h5 | without_name >b
    cmp a b
    [ "$(jq -c '[.rows, .layers[0].entropy, .mean_pr]' a)" = '[0,[],{}]' ]
}

@test "one thread and two give the same bytes, twice" {
    qk-probe --threads 1 --keys 1.h5 --full --no-provenance c.h5 >a
    qk-probe --threads 2 --keys 2.h5 --full --no-provenance c.h5 >b
    qk-probe --threads 2 --keys 3.h5 --full --no-provenance c.h5 >c
    cmp a b && cmp b c && cmp 1.h5 2.h5 && cmp 2.h5 3.h5
}

@test "a dump may tell its rows at any of its places" {
    "$make_input" keys k.h5
    qk-probe --no-provenance k.h5 | without_name >want
    for place in / /layers /layers/0 /layers/0/post_rope /layers/0/post_rope/k /layers/0/post_rope/k/gram \
        /layers/0/post_rope/k/mean; do
        "$make_input" keys moved.h5 move:rows=$place
        if [[ $place == */post_rope* ]]; then
            fails 1 "qk-probe: moved.h5: /layers/0/pre_norm/q has no attribute rows" qk-probe moved.h5 -o out
        else
            qk-probe --no-provenance moved.h5 | without_name | cmp - want
        fi
    done
    "$make_input" keys moved.h5 move:rows=/layers/0/post_rope/k/mean \
        without:/layers/0/pre_norm/{q,k}/gram without:/layers/0/post_norm/{q,k}/gram without:/layers/0/post_rope/q/gram
    qk-probe moved.h5 --of k | jq -e '.rows == 16'
}

@test "skipping positions, from the checkpoint and from a dump with rows" {
    qk-probe --no-provenance --skip-first 3 c.h5 | without_name >a
    qk-probe --no-provenance --keys full.h5 --full c.h5 | without_name >whole
    qk-probe --no-provenance --skip-first 3 full.h5 | without_name >b
    cmp a b
    [ "$(jq -c '[.rows, .skip_first]' a)" = '[10,3]' ]
    [ "$(jq .layers[0].entropy a)" = "$(jq .layers[0].entropy whole)" ]
    qk-probe --keys slim.h5 c.h5 >whole
    fails 1 "qk-probe: slim.h5: the dump was made without --full: no rows are there to skip" \
        qk-probe --skip-first 3 slim.h5 -o out
    "$make_input" keys full.h5 full
    qk-probe --no-provenance --skip-first 3 --centred both full.h5 >a
    "$make_input" keys full.h5 full without:/layers/0/pre_norm/k/mean # it can be had from the rows
    qk-probe --no-provenance --skip-first 3 --centred both full.h5 | cmp - a
    "$make_input" keys uncut.h5 full config:seq_len=7
    fails 1 "qk-probe: uncut.h5: the dump does not say how its rows are cut into sequences (attributes sequences and positions), so none can be skipped" \
        qk-probe --skip-first 3 uncut.h5 -o out
}

@test "several files are JSON lines, or one table with their names" {
    run -0 qk-probe --keys k.h5 c.h5
    run -0 qk-probe c.h5 k.h5
    [ "${#lines[@]}" -eq 2 ]
    [ "$(jq -r .file <<<"$output" | paste -sd' ')" = "c.h5 k.h5" ]
    run -0 qk-probe --tsv --site post_rope --of qk c.h5 k.h5
    [ "$(cut -f1-6 <<<"$output" | head -n 1)" = "$(printf 'file\tlayer\thead\tof\tsite\tcentred')" ]
    [ "$(cut -f1,3,16 <<<"$output" | tail -n 4 | paste -sd' ')" = "$(printf 'c.h5\t0\t0 c.h5\t1\t0 k.h5\t0\t0 k.h5\t1\t0')" ]
}

@test "another pack's probe batch" {
    "$make_input" tokens t.h5
    "$make_input" checkpoint bare.h5 without:/probe/tokens
    fails 1 "qk-probe: bare.h5: has no probe batch (/probe/tokens): give one with --batch, or measure the weights alone with --of wk,wq" \
        qk-probe bare.h5 -o out
    run -0 qk-probe --batch t.h5 bare.h5
    [ "$(jq .rows <<<"$output")" -eq 16 ]
    [ "$(jq -r '.provenance.inputs[1].path' <<<"$output")" = t.h5 ]
    run -0 qk-probe --of wk,wq bare.h5
    [ "$(jq -c '[.measures[] | [.of, .head]]' <<<"$output")" = '[["wk",0],["wq",0],["wq",1]]' ]
    run -0 qk-probe --site weight bare.h5
    [ "$(jq -c '[.measures[] | [.of, .head]]' <<<"$output")" = '[["wk",0],["wq",0],["wq",1]]' ]
    "$make_input" tokens none.h5 without:/probe/tokens
    fails 1 "qk-probe: none.h5: has no probe batch (/probe/tokens)" qk-probe --batch none.h5 bare.h5 -o out
    "$make_input" keys k.h5
    fails 1 "qk-probe: k.h5: is a keys dump: a batch can only be given to a checkpoint" qk-probe --batch t.h5 k.h5 -o out
}

@test "a model without a norm" {
    "$make_input" checkpoint none.h5 'config:qk_norm="none"' without:/weights/layers/0/q_norm without:/weights/layers/0/k_norm
    run -0 qk-probe none.h5
    [ "$(jq -c '[.qk_norm, .layers[0].gamma_k, .layers[0].k_pr.pre_norm == .layers[0].k_pr.post_norm]' <<<"$output")" = '["none",null,true]' ]
}

@test "-o is written whole, and an input is never written over" {
    run -0 qk-probe c.h5 -o out.json
    [ -z "$output" ]
    jq -e .mean_pr.post_norm out.json
    before=$(sha256sum <c.h5)
    fails 1 "qk-probe: c.h5: is an input and would be overwritten" qk-probe c.h5 -o c.h5
    fails 1 "qk-probe: c.h5: is an input and would be overwritten" qk-probe c.h5 --keys c.h5 -o out
    [ "$(sha256sum <c.h5)" = "$before" ]
    fails 1 "qk-probe: -: an HDF5 file cannot be written to standard output" qk-probe c.h5 --keys - -o out
    fails 1 "qk-probe: -: an HDF5 file cannot be read from standard input" qk-probe - -o out
}

@test "misuse is told with exit status 2" {
    fails 2 "qk-probe: no input given" qk-probe
    fails 2 "qk-probe: --site: 'middle' is not a site: all, pre_norm, post_norm, post_rope or weight" qk-probe --site middle c.h5
    fails 2 "qk-probe: --of: 'v' is none of k, q, qk, wk, wq" qk-probe --of k,v c.h5
    fails 2 "qk-probe: --centred: 'maybe' is not one of no|yes|both" qk-probe --centred maybe c.h5
    fails 2 "qk-probe: --of k has nothing at --site weight: wk and wq are at weight, k, q and qk at the others" qk-probe --site weight --of k c.h5
    fails 2 "qk-probe: --of wk has nothing at --site pre_norm: wk and wq are at weight, k, q and qk at the others" qk-probe --site pre_norm --of wk c.h5
    fails 2 "qk-probe: --centred yes: only k and q can be centred" qk-probe --centred yes --of qk c.h5
    fails 2 "qk-probe: --full is about the dump: it needs --keys" qk-probe --full c.h5
    fails 2 "qk-probe: --keys makes one dump, so it needs just one FILE" qk-probe --keys k.h5 c.h5 c.h5
}

@test "what is not in a dump is refused by name" {
    "$make_input" keys k.h5 without:/layers/0/pre_norm/k/gram without:/layers/0/pre_norm/q/gram
    fails 1 "qk-probe: k.h5: holds nothing of site pre_norm" qk-probe --site pre_norm k.h5 -o out
    run -0 qk-probe k.h5
    [ "$(jq -c '.mean_pr | keys_unsorted' <<<"$output")" = '["post_norm","post_rope"]' ]
    "$make_input" keys k.h5 without:/layers/0/post_rope/k/mean
    fails 1 "qk-probe: k.h5: holds no mean of k at post_rope, so it cannot be centred" qk-probe --centred yes k.h5 -o out
    fails 1 "qk-probe: k.h5: is a keys dump already, so --keys has nothing to make" qk-probe k.h5 --keys x.h5 -o out
    "$make_input" keys k.h5 nan:/layers/0/post_norm/q/gram
    fails 1 "qk-probe: k.h5: /layers/0/post_norm/q/gram holds a number that is not finite (element 0)" qk-probe k.h5 -o out
    "$make_input" tokens t.h5
    fails 1 "qk-probe: t.h5: is a tokens file, expected checkpoint or keys" qk-probe t.h5 -o out
}

@test "broken weights and files" {
    "$make_input" checkpoint n.h5 nan:/weights/layers/0/wk
    fails 1 "qk-probe: n.h5: /weights/layers/0/wk holds a number that is not finite (element 0)" qk-probe n.h5 -o out
    fails 1 "qk-probe: n.h5: /weights/layers/0/wk holds a number that is not finite (element 0)" qk-probe --of wk n.h5 -o out
    head -c 3000 c.h5 >cut.h5
    run qk-probe cut.h5 -o out
    [ "$status" -eq 1 ] && [[ $output == "qk-probe: cut.h5: "* ]] && [ "${#lines[@]}" -eq 1 ] && [ ! -e out ]
    echo text >t
    fails 1 "qk-probe: t: is not an HDF5 file" qk-probe t -o out
}

# A model whose dump takes a while to write.
larger() {
    "$make_input" tokens t.h5
    "$make_input" config config.json config:d_model=192 config:n_heads=12 config:n_kv_heads=12 config:n_layers=6
    qk-train --config config.json --data t.h5 --until 0 -q -o large.h5
}

@test "killed at any moment, a dump is whole, old or absent" {
    larger
    for delay in .02 .05 .08 .1 .12 .14 .16 .18 .2 .25 .3; do
        rm -f keys.h5
        qk-probe large.h5 --keys keys.h5 -o out.json & pid=$!
        sleep $delay
        kill -9 $pid 2>/dev/null || true
        wait $pid || true
        [ ! -e keys.h5 ] || qk-probe keys.h5 >/dev/null
    done
    qk-probe large.h5 --keys keys.h5 -o out.json # over what was left behind
    qk-probe keys.h5 >/dev/null
    [ -z "$(find . -name '*.tmp')" ]
}

@test "a full disk is an error, and leaves nothing" {
    larger
    for limit in 0 1 64 200; do
        run bash -c "ulimit -f $limit; exec qk-probe --of wk large.h5 --keys keys.h5 --full -o /dev/null"
        [ "$status" -eq 1 ]
        [ "${#lines[@]}" -eq 1 ]
        [[ $output == "qk-probe: keys.h5"* ]]
        [ ! -e keys.h5 ] && [ -z "$(find . -name '*.tmp')" ]
    done
    run bash -c "ulimit -f 1; exec qk-probe large.h5 -o out.json"
    [ "$status" -eq 1 ] && [[ $output == "qk-probe: out.json: "* ]] && [ ! -e out.json ]
    run bash -c "qk-probe large.h5 >/dev/full"
    [ "$status" -eq 1 ]
    [ "$output" = "qk-probe: standard output: cannot be written: No space left on device" ]
}

@test "stopped by a signal, temporaries go" {
    larger
    for delay in .05 .1 .15 .2; do
        qk-probe large.h5 --keys keys.h5 -o out.json & pid=$!
        sleep $delay
        kill -TERM $pid 2>/dev/null || true
        wait $pid || true
        [ -z "$(find . -name '*.tmp')" ]
    done
}
