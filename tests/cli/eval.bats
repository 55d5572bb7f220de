# qk-eval: loss over the windows of a split.

load helpers

setup() {
    cd "$BATS_TEST_TMPDIR"
    "$make_input" checkpoint c.h5
    "$make_input" tokens t.h5
}

@test "the loss of a split" {
    run -0 qk-eval c.h5 --task loss --data t.h5 -q
    [ "$(jq -c 'keys_unsorted' <<<"$output")" = '["kind","version","file","step","tokens_seen","task","n","value","stderr","tokens","perplexity","how","provenance"]' ]
    [ "$(jq -c '[.kind, .version, .file, .task, .n, .tokens]' <<<"$output")" = '["eval",1,"c.h5","loss",12,96]' ]
    [ "$(jq -c '.how' <<<"$output")" = '{"shots":0,"seed":null,"bos":false,"shots_source":null,"tokenizer_sha256":null,"value":"nats per token, mean over windows","stderr":"sd over windows / sqrt(n), sd with n - 1","data":"t.h5","split":"test","window":8}' ]
    [ "$(jq -c '.provenance.argv' <<<"$output")" = '["qk-eval","--task","loss","--data","t.h5","c.h5"]' ]
    [ "$(jq -c '[.provenance.inputs[].path]' <<<"$output")" = '["c.h5","t.h5"]' ]
    [ "$(jq -r '.value * 10000 | round' <<<"$output")" -eq 38127 ]
    jq -e '(.perplexity | log) - .value | fabs < 1e-12' <<<"$output"
}

@test "items add up to value and standard error" {
    qk-eval c.h5 --task loss --data t.h5 --split val --items items.jsonl -o out.json
    [ "$(wc -l <items.jsonl)" -eq 12 ]
    [ "$(jq -c '[.window, .tokens]' items.jsonl | sed -n '2p;12p' | paste -sd' ')" = '[1,8] [11,8]' ]
    jq -s -e --slurpfile r out.json '
        (map(.loss) | add / length) as $mean
        | (map(.loss - $mean | . * .) | add / (length - 1) / length | sqrt) as $error
        | ($r[0].value - $mean | fabs < 1e-12) and ($r[0].stderr - $error | fabs < 1e-12)' items.jsonl
}

@test "a part of the split, and one window without an error" {
    qk-eval c.h5 --task loss --data t.h5 --items all.jsonl -o all.json
    run -0 qk-eval c.h5 --task loss --data t.h5 --max-tokens 31 --items some.jsonl
    [ "$(jq -c '[.n, .tokens]' <<<"$output")" = '[3,24]' ]
    cmp some.jsonl <(head -n 3 all.jsonl)
    run -0 qk-eval c.h5 --task loss --data t.h5 --max-tokens 1
    [ "$(jq -c '[.n, .stderr]' <<<"$output")" = '[1,null]' ]
    run -0 qk-eval c.h5 --task loss --data t.h5 --max-tokens 1M
    [ "$(jq -c '[.n, .value]' <<<"$output")" = "$(jq -c '[.n, .value]' all.json)" ]
}

@test "one thread and two give the same bytes" {
    qk-eval --threads 1 c.h5 --task loss --data t.h5 --items 1 >a
    qk-eval --threads 2 c.h5 --task loss --data t.h5 --items 2 >b
    cmp a b && cmp 1 2
}

@test "training says the same" {
    "$make_input" config config.json
    qk-train --config config.json --data t.h5 --steps 2 --val-at every:1 --log log.jsonl -q -o b.h5
    run -0 qk-eval b.h5 --task loss --data t.h5 --split val
    jq -n -e --argjson e "$output" --slurpfile log log.jsonl '$e.value - $log[-1].val_loss | fabs < 1e-6'
}

@test "tasks that are not there are refused by name" {
    fails 2 "qk-eval: --task: 'arc' is not one of loss|wikitext|hellaswag|lambada" qk-eval c.h5 --task arc
    fails 2 "qk-eval: --task is missing: one of loss|wikitext|hellaswag|lambada" qk-eval c.h5
    fails 2 "qk-eval: no input given" qk-eval --task loss
    fails 2 "qk-eval: unexpected 'd.h5'" qk-eval --task loss c.h5 d.h5
    fails 2 "qk-eval: --max-tokens: '1.5' is not a count (a whole number, or one with K, M or G)" qk-eval --task loss --max-tokens 1.5 c.h5
}

@test "what does not fit" {
    fails 2 "qk-eval: --task loss needs --data TOKENS.h5" qk-eval c.h5 --task loss -o out
    fails 1 "qk-eval: t.h5: there is no split 'exam'" qk-eval c.h5 --task loss --data t.h5 --split exam -o out
    fails 1 "qk-eval: t.h5: split short has 8 tokens, too few for one window of 8 and its targets" \
        qk-eval c.h5 --task loss --data t.h5 --split short -o out
    "$make_input" tokens wide.h5 int:vocab_size=64
    fails 1 "qk-eval: wide.h5: has a vocabulary of 64, but c.h5 one of 32" qk-eval c.h5 --task loss --data wide.h5 -o out
    "$make_input" tokens high.h5 last:/test/tokens=32
    fails 1 "qk-eval: high.h5: /test/tokens holds token 32, but the vocabulary has 32" qk-eval c.h5 --task loss --data high.h5 -o out
    "$make_input" checkpoint n.h5 inf:/weights/embed
    fails 1 "qk-eval: n.h5: /weights/embed holds a number that is not finite (element 0)" qk-eval n.h5 --task loss --data t.h5 -o out
    fails 1 "qk-eval: t.h5: is a tokens file, expected checkpoint" qk-eval t.h5 --task loss --data t.h5 -o out
    fails 1 "qk-eval: t.h5: is an input and would be overwritten" qk-eval c.h5 --task loss --data t.h5 --items t.h5 -o out
}

@test "both outputs or none" {
    for limit in 0; do
        run bash -c "ulimit -f $limit; exec qk-eval c.h5 --task loss --data t.h5 --items items.jsonl -o out.json"
        [ "$status" -eq 1 ]
        [ "${#lines[@]}" -eq 1 ]
        [ ! -e items.jsonl ] && [ ! -e out.json ] && [ -z "$(find . -name '*.tmp')" ]
    done
    run bash -c "qk-eval c.h5 --task loss --data t.h5 >/dev/full"
    [ "$status" -eq 1 ]
    [ "$output" = "qk-eval: standard output: cannot be written: No space left on device" ]
}
