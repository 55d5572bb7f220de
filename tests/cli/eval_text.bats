# qk-eval's tasks of text: what lm-evaluation-harness says of the same items (tests/golden/eval).

load helpers

golden=$BATS_TEST_DIRNAME/../golden/eval

setup_file() {
    cd "$BATS_FILE_TMPDIR"
    (cd "$golden" && cat hellaswag.jsonl hellaswag_train.jsonl hellaswag_plain.jsonl lambada.jsonl wiki.raw) >texts.txt
    qk-tokpack -q --train-bpe 384 --doc-sep $'\n' texts.txt -o t.h5
    for norm in learned none; do
        qk-train -q --config "$golden/config.json" --set qk_norm=$norm --data t.h5 --until 0 --weights-only -o $norm.h5
    done
}

setup() {
    cd "$BATS_TEST_TMPDIR"
    cp -l "$BATS_FILE_TMPDIR"/*.h5 .
}

# agrees RUN TOLERANCE: result.json and items.jsonl say what the run does; log-likelihoods within TOLERANCE, relative
# to those above 100 nats.
agrees() {
    jq -s -e --argjson run "$1" --argjson tolerance "$2" --slurpfile result result.json '
        def near(a; b): (a - b | fabs) <= $tolerance * ([1, (b | fabs) / 100] | max);
        ($run.items | length) == length
        and ([., $run.items] | transpose | all(
            .[0].prompt_sha256 == .[1].prompt_sha256
            and (.[0].greedy == .[1].greedy)
            and ([.[0].logp] | flatten) as $ours | .[1].logp as $theirs
            | ($ours | length) == ($theirs | length)
              and ([$ours, $theirs] | transpose | all(near(.[0]; .[1])))))
        and ($run.results | to_entries | all(.value as $v | $result[0][.key]
            | (. / (if $v == 0 then 1 else $v end) - (if $v == 0 then 0 else 1 end) | fabs) < 1e-4))' items.jsonl
}

@test "lm-evaluation-harness says the same of every item" {
    local run runs=0
    while IFS= read -r run; do
        set -- "$(jq -r .qk_norm <<<"$run").h5" --task "$(jq -r .task <<<"$run")" --data "$golden/$(jq -r .data <<<"$run")"
        set -- "$@" $(jq -r --arg g "$golden" 'select(.shots > 0) | "--shots \(.shots)"
            + if .shots_data then " --shots-data \($g)/\(.shots_data)" else "" end' <<<"$run")
        echo "$@"
        qk-eval -q "$@" --items items.jsonl -o result.json
        agrees "$run" 1e-4
        run ! agrees "$(jq -c '.items[0].logp[0] += 0.01 * (1 + (.items[0].logp[0] | fabs))' <<<"$run")" 1e-4
        runs=$((runs + 1))
    done <"$golden/expected.jsonl"
    [ $runs -eq 12 ]
}

@test "what LAMBADA's result and items hold" {
    qk-eval -q learned.h5 --task lambada --data "$golden/lambada.jsonl" --items items.jsonl -o r.json
    [ "$(jq -c 'keys_unsorted' r.json)" = '["kind","version","file","step","tokens_seen","task","n","value","stderr","metric","acc","acc_stderr","perplexity","perplexity_stderr","logp","logp_stderr","tokens","available","subset","cut","cut_continuations","how","provenance"]' ]
    [ "$(jq -c '[.task, .n, .value, .metric, .subset, .cut, .how.shots, .how.seed, .how.bos, .how.prefix_token, .how.max_length]' r.json)" = '["lambada",12,0.25,"acc",false,1,0,null,false,0,96]' ]
    h5dump -d /tokenizer -b LE -o tokenizer.json learned.h5 >dump
    [ "$(jq -r .how.tokenizer_sha256 r.json)" = "$(sha256sum tokenizer.json | cut -c1-64)" ]
    [ "$(jq -c '[.item, .target, .greedy]' items.jsonl | sed -n '5p;9p')" = $'[4,"alone",false]\n[8," the",true]' ]
    jq -s -e --slurpfile r r.json '(map(.logp) | add / length | exp | 1 / .) / $r[0].perplexity - 1 | fabs < 1e-12' items.jsonl
}

@test "HellaSwag: where examples come from is said, and the item is never among them" {
    qk-eval -q learned.h5 --task hellaswag --data "$golden/hellaswag_plain.jsonl" --shots 4 --items items.jsonl -o r.json
    [ "$(jq -c '[.how.shots, .how.seed, .how.shots_source]' r.json)" = '[4,1234,"the evaluated file itself, never the item"]' ]
    jq -s -e 'all(.item as $i | (.shots | length) == 4 and (.shots | index($i)) == null)' items.jsonl
    qk-eval -q learned.h5 --task hellaswag --data "$golden/hellaswag_plain.jsonl" --shots 4 --seed 7 --items other.jsonl -o o.json
    [ "$(jq -c .how.seed o.json)" = 7 ]
    run ! cmp items.jsonl other.jsonl
    qk-eval -q learned.h5 --task hellaswag --data "$golden/hellaswag.jsonl" --shots 2 --shots-data "$golden/hellaswag_train.jsonl" -o r.json
    [ "$(jq -r .how.shots_source r.json)" = "$golden/hellaswag_train.jsonl" ]
    [ "$(jq '.provenance.inputs | length' r.json)" -eq 3 ]
    [ "$(jq -c '[.metric, (.value == .acc_norm), (.stderr == .acc_norm_stderr)]' r.json)" = '["acc_norm",true,true]' ]
    # copies of an item are not examples of it, even when nothing else would be drawn
    head -n 2 "$golden/hellaswag_plain.jsonl" >few.jsonl
    yes "$(head -n 1 "$golden/hellaswag_plain.jsonl")" | head -n 12 >>few.jsonl
    qk-eval -q learned.h5 --task hellaswag --data few.jsonl --shots 1 --items items.jsonl -o r.json
    jq -s -e '[.[] | select(.item != 1)] | length == 13 and all(.shots == [1])' items.jsonl
    fails 1 "qk-eval: few.jsonl: item 0: there are not 2 examples but itself" \
        qk-eval -q learned.h5 --task hellaswag --data few.jsonl --shots 2 -o out
}

@test "a part of the items, in their order" {
    qk-eval -q learned.h5 --task lambada --data "$golden/lambada.jsonl" --items all.jsonl -o all.json
    qk-eval -q learned.h5 --task lambada --data "$golden/lambada.jsonl" --max-tokens 100 --items some.jsonl -o r.json
    n=$(jq .n r.json)
    [ "$n" -gt 1 ] && [ "$n" -lt 12 ]
    [ "$(jq -c '[.subset, .available, .tokens <= 100]' r.json)" = '[true,12,true]' ]
    jq -n -e --slurpfile a all.jsonl --slurpfile s some.jsonl '[$s, $a[:($s | length)]] | transpose | all((.[0].logp - .[1].logp | fabs) < 1e-5)'
    qk-eval -q learned.h5 --task wikitext --data "$golden/wiki.raw" --max-tokens 1 -o r.json
    [ "$(jq -c '[.n, .stderr, .word_perplexity_stderr]' r.json)" = '[1,null,null]' ]
    jq -e '[.. | numbers] | all(isfinite)' r.json
}

@test "WikiText: a line per page says the same as the raw file" {
    qk-eval -q learned.h5 --task wikitext --data "$golden/wiki.raw" --items raw.jsonl -o raw.json
    jq -e '.n == 3 and .how.line_ends == "CR LF or CR, read as LF"' raw.json
    tr -d '\r' <"$golden/wiki.raw" | jq -R -s -c '[splits("\n(?= = (Ice|Étude) = \n)")] | .[0] |= ltrimstr(" \n") | .[] | {page: .}' >pages.jsonl
    [ "$(wc -l <pages.jsonl)" -eq 3 ]
    qk-eval -q learned.h5 --task wikitext --data pages.jsonl --items lines.jsonl -o lines.json
    cmp raw.jsonl lines.jsonl
    [ "$(jq .value raw.json)" = "$(jq .value lines.json)" ]
    jq -e '.bits_per_byte - (.byte_perplexity | log2) | fabs < 1e-12' raw.json
}

@test "one thread and two give the same bytes" {
    for threads in 1 2; do
        qk-eval -q --threads $threads learned.h5 --task hellaswag --data "$golden/hellaswag.jsonl" --shots 2 \
            --shots-data "$golden/hellaswag_train.jsonl" --items $threads.jsonl >$threads
    done
    cmp 1 2 && cmp 1.jsonl 2.jsonl
}

@test "another tokenizer, and none" {
    h5dump -d /tokenizer -b LE -o tokenizer.json learned.h5 >dump
    "$make_input" checkpoint c.h5
    fails 1 "qk-eval: c.h5: has no tokenizer: name one with --tokenizer" qk-eval -q c.h5 --task lambada --data "$golden/lambada.jsonl" -o out
    qk-eval -q learned.h5 --task lambada --data "$golden/lambada.jsonl" -o a.json
    qk-eval -q learned.h5 --task lambada --data "$golden/lambada.jsonl" --tokenizer tokenizer.json -o b.json
    [ "$(jq -c 'del(.provenance)' a.json)" = "$(jq -c 'del(.provenance)' b.json)" ]
    [ "$(jq '.provenance.inputs | length' b.json)" -eq 3 ]
    # a template that begins with a token puts it before every text
    jq -c '.post_processor = {type: "TemplateProcessing", single: [{SpecialToken: {id: "<|endoftext|>", type_id: 0}}, {Sequence: {id: "A", type_id: 0}}], pair: [], special_tokens: {"<|endoftext|>": {id: "<|endoftext|>", ids: [0], tokens: ["<|endoftext|>"]}}}' tokenizer.json >bos.json
    qk-eval -q learned.h5 --task lambada --data "$golden/lambada.jsonl" --tokenizer bos.json --items bos.jsonl -o b.json
    qk-eval -q learned.h5 --task lambada --data "$golden/lambada.jsonl" --items plain.jsonl -o a.json
    [ "$(jq -c '[.how.bos, .how.prefix_token]' b.json)" = '[true,0]' ]
    [ "$(jq .context_tokens bos.jsonl | head -n 1)" -eq $(($(jq .context_tokens plain.jsonl | head -n 1) + 1)) ]
    [ "$(jq -c '.post_processor.single |= . + [.[0]]' bos.json >two.json; qk-eval -q learned.h5 --task lambada --data "$golden/lambada.jsonl" --tokenizer two.json 2>&1)" = "qk-eval: the tokenizer's template is not one token before the text" ]
    fails 1 "qk-eval: $golden/lambada.jsonl: item 0: the tokenizer gives token 336, but the model has a vocabulary of 32" \
        qk-eval -q c.h5 --task lambada --data "$golden/lambada.jsonl" --tokenizer tokenizer.json -o out
}

@test "a checkpoint that was cut is not scored on what calibrated the cut" {
    sha=$(sha256sum t.h5 | cut -c1-64)
    record() { jq -c -n --arg sha "$1" --arg split "$2" '{by: "svd", fraction: 0.5, kept_rank: 2, calibration: {path: "t.h5", sha256: $sha, split: $split, rows: 9}, before: null}'; }
    "$make_input" tokens t.h5.new && mv -f t.h5.new t.h5
    sha=$(sha256sum t.h5 | cut -c1-64)
    "$make_input" checkpoint c.h5 "text:pruned=$(record "$sha" val)"
    run -0 qk-eval -q c.h5 --task loss --data t.h5
    [ "$(jq -c '.pruned | [.by, .fraction, .calibration.split]' <<<"$output")" = '["svd",0.5,"val"]' ]
    fails 1 "qk-eval: t.h5: split val calibrated the cut of c.h5, and what it loses there says nothing: evaluate another split" \
        qk-eval -q c.h5 --task loss --data t.h5 --split val -o out
    # so did an earlier cut; the same split of another file is another one
    "$make_input" checkpoint c.h5 "text:pruned=$(jq -c -n --argjson b "$(record "$sha" val)" '{by: "gamma", calibration: null, before: $b}')"
    fails 1 "qk-eval: t.h5: split val calibrated the cut of c.h5, and what it loses there says nothing: evaluate another split" \
        qk-eval -q c.h5 --task loss --data t.h5 --split val --no-provenance -o out
    "$make_input" checkpoint c.h5 "text:pruned=$(record 00 val)"
    run -0 qk-eval -q c.h5 --task loss --data t.h5 --split val
    "$make_input" checkpoint c.h5 "text:pruned={"
    fails 1 "qk-eval: c.h5: attribute 'pruned': malformed JSON at line 1" qk-eval -q c.h5 --task loss --data t.h5 -o out
    "$make_input" checkpoint c.h5 "text:pruned=[]"
    fails 1 "qk-eval: c.h5: attribute 'pruned': is not a JSON object" qk-eval -q c.h5 --task loss --data t.h5 -o out
}

@test "what is piped in counts as a whole, as does a file" {
    qk-eval -q learned.h5 --task wikitext --data "$golden/wiki.raw" | jq -c '[.n, .value]' >file
    for from in - /dev/stdin; do
        cat "$golden/wiki.raw" | qk-eval -q learned.h5 --task wikitext --data $from | jq -c '[.n, .value]' >piped
        cmp file piped
        cat "$golden/lambada.jsonl" | qk-eval -q learned.h5 --task lambada --data $from >piped.json
        jq -e '.n == 12 and (.provenance.inputs | length) == 1' piped.json
    done
    jq -R -s -c '{page: .}' "$golden/wiki.raw" >page.jsonl
    qk-eval -q learned.h5 --task wikitext --data page.jsonl | jq -c '[.n, .value]' >file
    qk-eval -q learned.h5 --task wikitext --data - <page.jsonl | jq -c '[.n, .value]' >piped
    cmp file piped
    { printf '\xef\xbb\xbf'; cat page.jsonl; } >mark.jsonl
    qk-eval -q learned.h5 --task wikitext --data mark.jsonl | jq -c '[.n, .value]' >marked
    cmp file marked
}

@test "what does not fit" {
    for task in wikitext hellaswag lambada; do
        fails 2 "qk-eval: --task $task needs --data FILE" qk-eval learned.h5 --task $task -o out
        : >empty
        run qk-eval -q learned.h5 --task $task --data empty
        [ "$status" -eq 1 ] && [ "${#lines[@]}" -eq 1 ]
    done
    fails 2 "qk-eval: --task lambada takes no --shots" qk-eval learned.h5 --task lambada --data x --shots 3
    fails 2 "qk-eval: --shots-data needs --shots" qk-eval learned.h5 --task hellaswag --data x --shots-data y
    printf '{"text": "a b"}\n{"txt": "a b"}\n' >bad.jsonl
    fails 1 "qk-eval: bad.jsonl: item 1: the line: has no key 'text'" qk-eval -q learned.h5 --task lambada --data bad.jsonl -o out
    fails 1 "qk-eval: bad.jsonl: item 0: the line: has no key 'query'" qk-eval -q learned.h5 --task hellaswag --data bad.jsonl -o out
    for label in 4 -1 1.5 '"x"' null; do
        jq -c --argjson gold "$label" '.label = $gold' "$golden/hellaswag.jsonl" >bad.jsonl
        fails 1 "qk-eval: bad.jsonl: item 0: the line: 'label' is not the number of an ending" \
            qk-eval -q learned.h5 --task hellaswag --data bad.jsonl -o out
    done
    fails 1 "qk-eval: $golden/hellaswag.jsonl: item 0: 7 examples are drawn for 6 shots, but there are 6" \
        qk-eval -q learned.h5 --task hellaswag --data "$golden/hellaswag.jsonl" --shots 6 -o out
    printf '{"text": "a b"}\n{"text": "a\\u0000 b"}\n' >bad.jsonl
    for task in lambada wikitext; do
        fails 1 "qk-eval: bad.jsonl: a zero byte in line 2" qk-eval -q learned.h5 --task $task --data bad.jsonl -o out
    done
    printf '{"text": "a\\\\u0000 b"}\n' >good.jsonl
    qk-eval -q learned.h5 --task lambada --data good.jsonl -o good.json
    printf '{"text": "a b", }\n' >bad.jsonl
    fails 1 "qk-eval: bad.jsonl: malformed JSON at line 1" qk-eval -q learned.h5 --task wikitext --data bad.jsonl -o out
    printf 'caf\xe9\n' >bad.raw
    fails 1 "qk-eval: bad.raw: is not valid UTF-8 (byte 4)" qk-eval -q learned.h5 --task wikitext --data bad.raw -o out
    cp "$golden/lambada.jsonl" l.jsonl
    fails 1 "qk-eval: l.jsonl: is an input and would be overwritten" qk-eval -q learned.h5 --task lambada --data l.jsonl --items l.jsonl -o out
}
