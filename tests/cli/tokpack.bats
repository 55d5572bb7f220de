# qk-tokpack: tokenizers, packs, and how both fail.

load helpers

golden=$BATS_TEST_DIRNAME/../golden/tokenizer

setup() {
    cd "$BATS_TEST_TMPDIR"
    awk 'BEGIN { for (d = 1; d <= 60; d++) {
        for (l = 0; l < 1 + d % 3; l++) printf "Document %d, line %d: the cat sat on %d mats\n", d, l, d * d
        print ""
        print "a second paragraph of number " d
        printf "\n\n" } }' >text.txt
}

numbers() { # FILE OBJECT: the elements, one a line
    h5dump -y -w 1 -d "$2" "$1" | sed -n '/DATA {/,/}/p' | grep -oE '[0-9]+'
}

document() { # FILE SPLIT I: its ids, without the end-of-text token
    local first last
    first=$(numbers "$1" "/$2/docs" | sed -n "$(($3 + 1))p")
    last=$(numbers "$1" "/$2/docs" | sed -n "$(($3 + 2))p")
    numbers "$1" "/$2/tokens" | sed -n "$((first + 1)),$((last - 1))p"
}

@test "ids equal the reference, for three families" {
    for k in gpt2 smollm qwen; do
        jq -r ".$k | map(tostring) | join(\" \")" "$golden/cases.jsonl" >want
        qk-tokpack --tokenizer "$golden/$k.json" --encode "$golden/cases.jsonl" >seen
        diff want seen
    done
}

@test "decode gives back what encode took" {
    jq -r '.text' "$golden/cases.jsonl" | tr -d '\000' >all.txt
    for k in gpt2 qwen; do
        qk-tokpack --tokenizer "$golden/$k.json" --encode all.txt >ids
        [ "$(wc -l <ids)" -eq 1 ]
        qk-tokpack --tokenizer "$golden/$k.json" --decode ids >back
        [ $k = qwen ] || cmp all.txt back
    done
    printf 'plain\n\n\n text \n' | qk-tokpack --tokenizer "$golden/qwen.json" --encode |
        qk-tokpack --tokenizer "$golden/qwen.json" --decode | cmp - <(printf 'plain\n\n\n text \n')
}

@test "invalid bytes are encoded as U+FFFD, as Python replaces them" {
    printf 'a\377b\303(\342\202x\360\237\230 \355\240\200\300\257' >bad.txt
    # bytes.decode(errors="replace")
    printf 'a~b~(~x~ ~~~~~' | sed 's/~/\xef\xbf\xbd/g' >good.txt
    qk-tokpack --tokenizer "$golden/gpt2.json" --encode bad.txt >a
    qk-tokpack --tokenizer "$golden/gpt2.json" --encode good.txt >b
    diff a b
}

@test "a pack has what the format says" {
    run -0 --separate-stderr qk-tokpack --train-bpe 300 --split val=200,test=100 --probe 2x40 text.txt -o t.h5
    [ "$(cut -f1 <<<"$output" | paste -sd' ')" = "documents duplicates tokens bytes bytes_per_token vocabulary val test probe train" ]
    [ "$(head -n 2 <<<"$output" | paste -sd' ')" = "$(printf 'documents\t60 duplicates\t0')" ]
    [ "$(h5dump -y -a kind -a version -a vocab_size -a eot t.h5 | grep -A1 'DATA {' | grep -vE 'DATA|--' | tr -d ' ' | paste -sd' ')" = '"tokens" 1 300 0' ]
    [ "$(h5dump -H t.h5 | grep -c 'H5T_STD_U16LE')" -eq 4 ]
    [ "$(h5dump -H -d /probe/tokens t.h5 | grep -o '( 2, 40 ) /')" = "( 2, 40 ) /" ]
    [ "$(h5dump -pH -d /train/tokens t.h5 | grep -cE 'FILTER_ID 32015|PREPROCESSING SHUFFLE|CHECKSUM FLETCHER32')" -eq 3 ]
    [ "$(numbers t.h5 /train/docs | head -n 1)" -eq 0 ]
    [ "$(numbers t.h5 /train/docs | tail -n 1)" -eq "$(numbers t.h5 /train/tokens | wc -l)" ]
    for split in train val test; do # every document ends with eot, and has no other
        diff <(numbers t.h5 /$split/tokens | grep -nx 0 | cut -d: -f1) <(numbers t.h5 /$split/docs | tail -n +2)
    done
    [ "$(numbers t.h5 /val/tokens | wc -l)" -ge 200 ]
    [ "$(numbers t.h5 /test/tokens | wc -l)" -ge 100 ]
}

@test "the embedded tokenizer is the exported one and reads the pack" {
    qk-tokpack -q --train-bpe 400 --export-tokenizer tok.json text.txt -o t.h5
    h5dump -d /tokenizer -b LE -o emb.json t.h5 >/dev/null
    cmp tok.json emb.json
    document t.h5 train 1 | qk-tokpack --tokenizer tok.json --decode >second
    diff second <(sed -n '/^Document 2,/,/second paragraph of number 2$/p' text.txt | head -c -1)
    mkdir folder && cp tok.json folder/tokenizer.json
    qk-tokpack -q --tokenizer tok.json --no-provenance text.txt -o a.h5
    qk-tokpack -q --tokenizer folder --no-provenance text.txt -o b.h5
    qk-tokpack -q --train-bpe 400 --no-provenance text.txt -o c.h5
    cmp a.h5 b.h5 && cmp a.h5 c.h5
}

@test "splits share no document, and train keeps the order" {
    qk-tokpack -q --train-bpe 300 --export-tokenizer tok.json --split val=200,test=100 --probe 2x40 text.txt -o t.h5
    for split in train val test; do
        numbers t.h5 /$split/tokens | qk-tokpack --tokenizer tok.json --decode | tr '\n' ' ' |
            grep -oE 'second paragraph of number [0-9]+' | grep -oE '[0-9]+$' >"$split"
    done
    [ "$(sort train val test | uniq -d | wc -l)" -eq 0 ]
    sort -nc train
    [ "$(sort -n train val test | wc -l)" -lt 60 ] # the rest is in the probe batch
}

@test "another seed chooses others, the order of splits counts" {
    qk-tokpack -q --no-provenance --train-bpe 300 --split val=200 text.txt -o a.h5
    qk-tokpack -q --no-provenance --train-bpe 300 --split val=200 --seed 7 text.txt -o b.h5
    [ "$(cmp -s a.h5 b.h5; echo $?)" -eq 1 ]
    qk-tokpack -q --train-bpe 300 --probe 2x20 --split val=200 text.txt -o c.h5
    qk-tokpack -q --train-bpe 300 --split val=200 --probe 2x20 text.txt -o d.h5
    diff <(numbers a.h5 /val/tokens) <(numbers d.h5 /val/tokens)
    [ "$(numbers c.h5 /val/tokens)" != "$(numbers d.h5 /val/tokens)" ]
    diff <(numbers c.h5 /probe/tokens | head -n 20) <(numbers a.h5 /val/tokens | head -n 20)
}

@test "duplicates are dropped and counted, across inputs and ends of files" {
    printf 'one\n\n\ntwo\n\n\n\n\none\n\n\nthree' >a.txt
    printf '\n\n\nthree\r\n\r\n\r\none' >b.txt
    printf '{"text":"two"}\n{"text":"two\\n"}\n' >c.jsonl
    run -0 --separate-stderr qk-tokpack --train-bpe 257 a.txt b.txt c.jsonl -o t.h5
    [ "$(head -n 4 <<<"$output" | paste -sd' ')" = "$(printf 'documents\t4 duplicates\t4 tokens\t19 bytes\t15')" ]
}

@test "text, JSON lines, compressed and from stdin are the same" {
    jq -Rs 'split("\n\n\n") | map(select(. != "") | {id: 1, text: .})[]' -c text.txt |
        sed 's/\\n"}$/"}/' >text.jsonl
    gzip -k text.jsonl && zstd -q text.jsonl && xz -k text.jsonl
    qk-tokpack -q --no-provenance --train-bpe 300 --split val=200 text.txt -o want.h5
    for input in text.jsonl text.jsonl.gz text.jsonl.zst text.jsonl.xz; do
        qk-tokpack -q --no-provenance --train-bpe 300 --split val=200 $input -o a.h5
        cmp want.h5 a.h5
        qk-tokpack -q --no-provenance --train-bpe 300 --split val=200 -o b.h5 <$input
        cmp want.h5 b.h5
    done
    cat text.txt | qk-tokpack -q --no-provenance --train-bpe 300 --split val=200 - -o c.h5
    cmp want.h5 c.h5
    qk-tokpack -q --no-provenance --train-bpe 300 --split val=200 <(cat text.txt) -o d.h5
    cmp want.h5 d.h5
}

@test "a field and a separator of one's own" {
    printf '{"body":"x","text":1}\n{"body":"y\\u0000z"}\n' >f.jsonl
    run -0 --separate-stderr qk-tokpack --train-bpe 257 --text-field body f.jsonl -o t.h5
    [ "$(head -n 4 <<<"$output" | paste -sd' ')" = "$(printf 'documents\t2 duplicates\t0 tokens\t6 bytes\t4')" ]
    printf 'a\n\n\nb<|endoftext|>c\n<|endoftext|>' >s.txt
    run -0 --separate-stderr qk-tokpack --train-bpe 257 --doc-sep '<|endoftext|>' s.txt -o t.h5
    [ "$(head -n 4 <<<"$output" | paste -sd' ')" = "$(printf 'documents\t2 duplicates\t0 tokens\t8 bytes\t6')" ]
    printf 'a\n--\nb\n--\n' >s.txt
    run -0 --separate-stderr qk-tokpack --train-bpe 257 --doc-sep '\n--\n' s.txt -o t.h5
    [ "$(head -n 4 <<<"$output" | paste -sd' ')" = "$(printf 'documents\t2 duplicates\t0 tokens\t4 bytes\t2')" ]
}

@test "above 65,536 ids tokens are uint32" {
    jq -c '.added_tokens += [{id: 65535, content: "<far>", normalized: false}]' "$golden/gpt2.json" >narrow.json
    jq -c '.added_tokens += [{id: 65536, content: "<far>", normalized: false}]' "$golden/gpt2.json" >wide.json
    printf '<far>a\n\n\n<far>b' >far.txt
    for k in narrow:65535:U16 wide:65536:U32; do
        IFS=: read -r name id type <<<"$k"
        qk-tokpack -q --tokenizer $name.json --no-eot --probe 1x1 far.txt -o $name.h5
        [ "$(h5dump -H $name.h5 | grep -c "H5T_STD_${type}LE")" -eq 2 ]
        numbers $name.h5 /train/tokens >ids
        numbers $name.h5 /probe/tokens >>ids
        [ "$(grep -cx $id ids)" -eq 2 ]
        [ "$(h5dump -a vocab_size $name.h5 | grep -oE '\(0\): [0-9]+' | cut -d' ' -f2)" -eq $((id + 1)) ]
    done
}

@test "no end-of-text token on request" {
    qk-tokpack -q --train-bpe 300 --no-eot text.txt -o t.h5
    [ "$(numbers t.h5 /train/tokens | grep -cx 0)" -eq 0 ]
    h5dump -a eot t.h5 >/dev/null # the tokenizer has one all the same
}

@test "the probe batch of another pack, without its documents" {
    qk-tokpack --train-bpe 300 --export-tokenizer tok.json --probe 2x55 text.txt -o a.h5 >summary
    run -0 --separate-stderr qk-tokpack --tokenizer tok.json --probe-from a.h5 --split val=100 text.txt -o b.h5
    diff <(numbers a.h5 /probe/tokens) <(numbers b.h5 /probe/tokens)
    left=$(sed -n 's/^left_out_as_in_probe\t//p' <<<"$output")
    [ "$left" -ge 2 ] # the last one is there only in part
    [ "$left" -eq "$(sed -n 's/^probe\t110\t\([0-9]*\) documents/\1/p' summary)" ]
    [ "$(sed -n 's/^documents\t//p' <<<"$output")" -eq $((60 - left)) ]
    tail -n 10 text.txt >>text.txt
    qk-tokpack -q --train-bpe 301 text.txt -o c.h5
    fails 1 "qk-tokpack: a.h5: its vocabulary of 300 is not this tokenizer's of 301" qk-tokpack --train-bpe 301 --probe-from a.h5 text.txt -o out
    fails 1 "qk-tokpack: c.h5: has no probe batch" qk-tokpack --train-bpe 301 --probe-from c.h5 text.txt -o out
}

@test "the probe batch of a pack without end-of-text tokens, and of one long document" {
    qk-tokpack --train-bpe 300 --no-eot --export-tokenizer tok.json --probe 2x70 text.txt -o a.h5 >summary
    for eot in "" --no-eot; do
        run -0 --separate-stderr qk-tokpack --tokenizer tok.json $eot --probe-from a.h5 text.txt -o b.h5
        [ "$(sed -n 's/^left_out_as_in_probe\t//p' <<<"$output")" -eq \
            "$(sed -n 's/^probe\t140\t\([0-9]*\) documents/\1/p' summary)" ]
    done
    qk-tokpack -q --tokenizer tok.json --probe 2x5 text.txt -o short.h5
    run -0 --separate-stderr qk-tokpack --tokenizer tok.json --probe-from short.h5 text.txt -o b.h5
    left=$(sed -n 's/^left_out_as_in_probe\t//p' <<<"$output")
    [ "$left" -ge 1 ] && [ "$left" -lt 60 ]
}

@test "the tokenizer may come from standard input, the text not at the same time" {
    qk-tokpack -q --train-bpe 300 --export-tokenizer tok.json text.txt
    qk-tokpack --tokenizer tok.json --encode text.txt >want
    qk-tokpack --tokenizer - --encode text.txt <tok.json | cmp - want
    fails 2 "qk-tokpack: standard input cannot be both the tokenizer and the text" qk-tokpack --tokenizer - --encode <tok.json
    fails 2 "qk-tokpack: standard input cannot be both the tokenizer and the text" qk-tokpack --tokenizer - text.txt - -o out <tok.json
}

@test "the simple and the complex third" {
    for i in $(seq 10 40); do
        printf '{"text":"%s%s"}\n' "$(printf 'We go. %.0s' $(seq $i))" $i
        printf '{"text":"%s%s"}\n' "$(printf 'The intermediate sentences wander %.0s' $(seq 3))" $i
        printf '{"text":"%s%s"}\n' "$(printf 'Notwithstanding considerable reservations %.0s' $(seq $i))" $i
    done >mixed.jsonl
    qk-tokpack --train-bpe 400 --export-tokenizer tok.json --filter simple mixed.jsonl mixed.jsonl -o s.h5 >summary
    [ "$(head -n 1 summary | cut -f1-3 | cut -d, -f1)" = "$(printf 'filter\tsimple\t31 of 93 documents')" ]
    [ "$(sed -n 2p summary | tr '\t' '\n' | wc -l)" -eq 12 ]
    grep -qx "$(printf 'documents\t31')" summary
    grep -qx "$(printf 'duplicates\t31')" summary
    [ "$(numbers s.h5 /train/tokens | qk-tokpack --tokenizer tok.json --decode | grep -cE 'Notwith|inter')" -eq 0 ]
    qk-tokpack -q --tokenizer tok.json --filter complex --split val=500 mixed.jsonl -o c.h5
    [ "$(numbers c.h5 /train/tokens | qk-tokpack --tokenizer tok.json --decode | grep -cE 'We go|inter')" -eq 0 ]
    qk-tokpack -q --threads 1 --tokenizer tok.json --filter complex --split val=500 mixed.jsonl -o d.h5
    cmp c.h5 d.h5
    printf '{"text":"a b"}\n{"text":"12"}\n{"text":"c"}\n' >few.jsonl
    fails 1 "qk-tokpack: --filter needs three documents with words or more, and there are 2" qk-tokpack --tokenizer tok.json --filter simple few.jsonl -o out
    printf '{"text":"%s"}\n' 'it is so and he is so too' 'an average sentence has words like these' 'the hypothesis of quantum analysis' >rule.jsonl
    qk-tokpack --tokenizer tok.json --filter complex --filter-rule original rule.jsonl -o r.h5 >summary
    [ "$(head -n 1 summary)" = "$(printf 'filter\tcomplex\t1 of 3 documents, score >= 7.0000')" ]
    fails 1 "qk-tokpack: --filter complex would keep none of 3 documents: scores are 1 to 2" \
        qk-tokpack --tokenizer tok.json --filter complex --filter-rule original -o out <<<$'a b\n\n\nc d ee e\n\n\nff gg'
    fails 2 "qk-tokpack: --filter-rule needs --filter" qk-tokpack --tokenizer tok.json --filter-rule original few.jsonl -o out
    fails 2 "qk-tokpack: --filter: 'hard' is not one of simple|complex" qk-tokpack --tokenizer tok.json --filter hard few.jsonl -o out
    fails 2 "qk-tokpack: --filter is for packs, not for --encode" qk-tokpack --tokenizer tok.json --filter simple --encode few.jsonl
}

@test "no input is overwritten" {
    cp text.txt keep.txt
    fails 1 "qk-tokpack: text.txt: is an input and would be overwritten" qk-tokpack --train-bpe 300 text.txt -o text.txt
    fails 1 "qk-tokpack: text.txt: is an input and would be overwritten" qk-tokpack --train-bpe 300 --export-tokenizer text.txt text.txt
    cmp keep.txt text.txt
}

@test "the same bytes twice, and for any number of threads" {
    for n in 1 2 5; do
        qk-tokpack --threads $n -q --train-bpe 400 --split val=200 --probe 2x20 text.txt -o $n.h5
    done
    qk-tokpack -q --train-bpe 400 --split val=200 --probe 2x20 text.txt -o again.h5
    cmp 1.h5 2.h5 && cmp 1.h5 5.h5 && cmp 1.h5 again.h5
}

@test "provenance names inputs and tokenizer, not what cannot matter" {
    qk-tokpack -q --train-bpe 300 --export-tokenizer tok.json text.txt -o a.h5
    qk-tokpack -q --threads 1 --tokenizer tok.json --split val=100 text.txt -o b.h5
    h5dump -a provenance b.h5 | grep -o '{.*}' | sed 's/\\"/"/g' >p.json
    [ "$(jq -c .argv p.json)" = '["qk-tokpack","--tokenizer","tok.json","--split","val=100","text.txt"]' ]
    [ "$(jq -c '[.inputs[].path]' p.json)" = '["text.txt","tok.json"]' ]
    [ "$(jq -r '.inputs[0].sha256' p.json)" = "$(sha256sum text.txt | cut -d' ' -f1)" ]
}

@test "quiet says nothing" {
    run -0 qk-tokpack -q --train-bpe 300 text.txt -o t.h5
    [ -z "$output" ]
}

@test "a small text gives a small vocabulary, and that is said" {
    run -0 --separate-stderr qk-tokpack --train-bpe 10K --export-tokenizer t.json - <<<"abc abc"
    [ "$stderr" = "qk-tokpack: the text gives a vocabulary of 260 only, not 10000" ]
    [ -z "$output" ]
}

@test "misuse" {
    fails 2 "qk-tokpack: a tokenizer is needed: --tokenizer or --train-bpe" qk-tokpack text.txt -o out
    fails 2 "qk-tokpack: --tokenizer and --train-bpe exclude each other" qk-tokpack --tokenizer x --train-bpe 300 text.txt -o out
    fails 2 "qk-tokpack: no output given: -o FILE" qk-tokpack --train-bpe 300 text.txt
    fails 2 "qk-tokpack: --train-bpe: 256 is less than 257" qk-tokpack --train-bpe 256 text.txt -o out
    fails 2 "qk-tokpack: --encode needs --tokenizer" qk-tokpack --train-bpe 300 --encode text.txt
    fails 2 "qk-tokpack: --encode and --decode exclude each other" qk-tokpack --tokenizer x --decode --encode text.txt
    fails 2 "qk-tokpack: --decode makes no splits and no probe batch" qk-tokpack --tokenizer x --decode --split a=1 text.txt
    fails 2 "qk-tokpack: --split: 'val' is not NAME=TOKENS" qk-tokpack --train-bpe 300 --split val text.txt -o out
    fails 2 "qk-tokpack: --split: 'train' cannot be the name of a split" qk-tokpack --train-bpe 300 --split train=5 text.txt -o out
    fails 2 "qk-tokpack: --split: 'a/b' cannot be the name of a split" qk-tokpack --train-bpe 300 --split a/b=5 text.txt -o out
    fails 2 "qk-tokpack: --split: 'val' is there twice" qk-tokpack --train-bpe 300 --split val=5,val=6 text.txt -o out
    fails 2 "qk-tokpack: --split: '0' is no number of tokens for val" qk-tokpack --train-bpe 300 --split val=0 text.txt -o out
    fails 2 "qk-tokpack: --split: '5Q' is no number of tokens for val" qk-tokpack --train-bpe 300 --split val=5Q text.txt -o out
    fails 2 "qk-tokpack: --probe: '8*20' is not SEQUENCESxLENGTH, such as 8x2048" qk-tokpack --train-bpe 300 --probe '8*20' text.txt -o out
    fails 2 "qk-tokpack: --probe and --probe-from exclude each other" qk-tokpack --train-bpe 300 --probe 2x4 --probe-from x text.txt -o out
    fails 2 "qk-tokpack: -o and --probe-from are the same file" qk-tokpack --train-bpe 300 --probe-from x text.txt -o x
    fails 2 "qk-tokpack: --doc-sep: \\q is none of \\n \\t \\r \\\\" qk-tokpack --train-bpe 300 --doc-sep '\q' text.txt -o out
    fails 2 "qk-tokpack: --eot and --no-eot exclude each other" qk-tokpack --train-bpe 300 --eot x --no-eot text.txt -o out
}

@test "bad inputs: one sentence, exit 1, no file" {
    fails 1 "qk-tokpack: none.txt: cannot be opened: No such file or directory" qk-tokpack --train-bpe 300 none.txt -o out
    fails 1 "qk-tokpack: .: is a folder, not a file" qk-tokpack --train-bpe 300 . -o out
    : >empty.txt
    fails 1 "qk-tokpack: empty.txt: holds no text" qk-tokpack --train-bpe 300 text.txt empty.txt -o out
    fails 1 "qk-tokpack: standard input: holds no text" qk-tokpack --train-bpe 300 -o out </dev/null
    printf '\n\n\r\n \n' | tr -d ' ' >blank.txt
    fails 1 "qk-tokpack: blank.txt: holds no text" qk-tokpack --train-bpe 300 blank.txt -o out
    printf 'good\nb\303d\n' >latin.txt
    fails 1 "qk-tokpack: latin.txt: line 2 is not valid UTF-8 (byte 7 of the text)" qk-tokpack --train-bpe 300 latin.txt -o out
    printf 'x\n\n\n\ngood\nand\355\240\200\n' >surrogate.txt
    fails 1 "qk-tokpack: surrogate.txt: line 6 is not valid UTF-8 (byte 14 of the text)" qk-tokpack --train-bpe 300 surrogate.txt -o out
    printf 'a@b\n@\377' >sep.txt
    fails 1 "qk-tokpack: sep.txt: line 2 is not valid UTF-8 (byte 6 of the text)" qk-tokpack --train-bpe 300 --doc-sep @ sep.txt -o out
    for z in gz zst xz; do
        case $z in gz) gzip -k text.txt ;; zst) zstd -q text.txt ;; xz) xz -k text.txt ;; esac
        head -c 200 text.txt.$z >cut.$z
        fails 1 "qk-tokpack: cut.$z: the compressed data is truncated" qk-tokpack --train-bpe 300 cut.$z -o out
    done
}

@test "bad JSON lines: the line is named" {
    jsonl() { printf '{"text":"fine"}\n\n'"$1"'\n' >bad.jsonl; shift; fails 1 "qk-tokpack: bad.jsonl: $1" qk-tokpack --train-bpe 300 bad.jsonl -o out; }
    jsonl '{"text":"x"' "line 3: malformed JSON at column 12"
    jsonl '{"text":"x"} y' "line 3: malformed JSON at column 14"
    jsonl '{"text":"\\ud800"}' "line 3: malformed JSON at column 16"
    jsonl '{"text":"a\tb"}' "line 3: malformed JSON at column 11"
    jsonl '{"n":01,"text":"x"}' "line 3: malformed JSON at column 7"
    jsonl '{"txt":"x"}' "line 3: has no key 'text'"
    jsonl '{"text":7}' "line 3: 'text' is not text"
    jsonl '{"text":null}' "line 3: 'text' is not text"
    jsonl '["text"]' "line 3: not a JSON object"
    jsonl '{"text":""}' "line 3: 'text' is empty"
    jsonl '{"text":"\377"}' "line 3 is not valid UTF-8"
    { head -c 600 /dev/zero | tr '\0' '['; echo; } >deep.jsonl
    fails 1 "qk-tokpack: deep.jsonl: line 1: malformed JSON at column 502" qk-tokpack --train-bpe 300 deep.jsonl -o out
}

@test "too much is asked for" {
    total=$(qk-tokpack --train-bpe 257 text.txt -o t.h5 | sed -n 's/^tokens\t//p' | sed ':a;s/\B[0-9]\{3\}\>/,&/;ta')
    fails 1 "qk-tokpack: the inputs hold $total tokens, too few for val of 1,000,000 tokens" qk-tokpack --train-bpe 257 --split val=1M text.txt -o out
    fails 1 "qk-tokpack: the inputs hold $total tokens, too few for probe of 16,384 tokens after the splits before it" qk-tokpack --train-bpe 257 --split val=10 --probe 8x2048 text.txt -o out
    fails 1 "qk-tokpack: splits and probe of 1,000,000 tokens need --memory 8,000,000 or more" qk-tokpack --train-bpe 257 --memory 1M --split val=1M text.txt -o out
    head -c 200000 /dev/zero | tr '\0' x >long.txt
    fails 1 "qk-tokpack: long.txt: the document at line 1 is larger than 125000 bytes, more than --memory allows" qk-tokpack --train-bpe 257 --memory 1M long.txt -o out
}

@test "tokenizers that are not supported are refused by name" {
    tok() { jq -c "$1" "$golden/gpt2.json" >bad.json; shift; fails 1 "qk-tokpack: bad.json: $1" qk-tokpack --tokenizer bad.json text.txt -o out; }
    tok '.model.type = "Unigram"' "model type Unigram is not supported, only BPE is"
    tok '.model.dropout = 0.1' "the model's dropout is not supported"
    tok '.model.byte_fallback = true' "the model's byte_fallback is not supported"
    tok '.model.continuing_subword_prefix = "##"' "the model's continuing_subword_prefix is not supported"
    tok '.model.end_of_word_suffix = "</w>"' "the model's end_of_word_suffix is not supported"
    tok '.model.unk_token = "a" | del(.model.vocab["!"])' "the model's unk_token is not supported"
    tok '.normalizer = {"type":"Lowercase"}' "normalizer Lowercase is not supported"
    tok '.normalizer = {"type":"Sequence","normalizers":[{"type":"NFC"},{"type":"Strip"}]}' "normalizer Strip is not supported"
    tok '.pre_tokenizer = null' "it has no pre_tokenizer, so it is not a byte-level tokenizer"
    tok '.pre_tokenizer = {"type":"Metaspace"}' "pre_tokenizer Metaspace is not supported"
    tok '.pre_tokenizer = {"type":"Digits"}' "its pre_tokenizer has no ByteLevel: only byte-level BPE is supported"
    tok '.pre_tokenizer = {"type":"Sequence","pretokenizers":[.pre_tokenizer,{"type":"Digits"}]}' "pre_tokenizer Digits behind ByteLevel is not supported"
    split() { tok ".pre_tokenizer = {\"type\":\"Split\",\"behavior\":\"${3-Isolated}\",\"invert\":false,\"pattern\":{\"Regex\":\"$1\"}}" "pre_tokenizer Split: $2"; }
    split '\\w+' 'pattern "\w+": \w is not supported in a pattern'
    split '(?<n>x)' 'pattern "(?<n>x)": (?<n is not supported in a pattern'
    split '(x' 'pattern "(x": missing closing parenthesis'
    split '[a-z&&[x]]' 'pattern "[a-z&&[x]]": && in a class is not supported in a pattern'
    split 'x' 'behavior "Elsewhere" is not supported' Elsewhere
}

@test "damaged tokenizer files" {
    fails 1 "qk-tokpack: none.json: No such file or directory" qk-tokpack --tokenizer none.json text.txt -o out
    fails 1 "qk-tokpack: .: has neither tokenizer.json nor encoder.json with vocab.bpe" qk-tokpack --tokenizer . text.txt -o out
    head -c 1000 "$golden/gpt2.json" >cut.json
    fails 1 "qk-tokpack: cut.json: malformed JSON at line 1" qk-tokpack --tokenizer cut.json text.txt -o out
    tok() { jq -c "$1" "$golden/gpt2.json" >bad.json; shift; fails 1 "qk-tokpack: bad.json: $1" qk-tokpack --tokenizer bad.json text.txt -o out; }
    tok '.model.merges += ["ab"]' "merge 224, \"ab\", is not two tokens"
    tok '.model.merges += ["q zzz"]' "merge 224, \"q zzz\", has parts that are no tokens"
    tok '.model.vocab["!"] = 5' 'token "%" or its id 5 is there twice'
    tok '.model.vocab["!"] = -5' 'token "!" has no valid id'
    tok '.model.vocab["!"] = 1e9' 'token "!" has no valid id'
    tok 'del(.model)' "it has no model"
    tok '.added_tokens[0].id = 7' 'added token "<|endoftext|>" has an id that is not its own'
    tok '.added_tokens = [] | .model.vocab["gone"] = 0 | del(.model.vocab["<|endoftext|>"])' "has no end-of-text token: name it with --eot, or use --no-eot"
    fails 1 "qk-tokpack: $golden/gpt2.json: has no token \"<s>\"" qk-tokpack --tokenizer "$golden/gpt2.json" --eot '<s>' text.txt -o out
    echo "1 2 nine" >ids
    fails 1 "qk-tokpack: ids: 'nine' is no token id" qk-tokpack --tokenizer "$golden/gpt2.json" --decode ids
    echo "1 2 480" >ids
    fails 1 "qk-tokpack: ids: 480 is not the id of a token" qk-tokpack --tokenizer "$golden/gpt2.json" --decode ids
}

@test "GPT-2's own files" {
    mkdir g
    jq -c '.model.vocab' "$golden/gpt2.json" >g/encoder.json
    { echo "#version: 0.2"; jq -r '.model.merges[]' "$golden/gpt2.json"; } >g/vocab.bpe
    jq -r '.gpt2 | map(tostring) | join(" ")' "$golden/cases.jsonl" >want
    qk-tokpack --tokenizer g --encode "$golden/cases.jsonl" | diff want -
    qk-tokpack --tokenizer g --export-tokenizer out.json --encode "$golden/cases.jsonl" >/dev/null
    qk-tokpack --tokenizer out.json --encode "$golden/cases.jsonl" | diff want -
    echo "x y z" >>g/vocab.bpe
    fails 1 "qk-tokpack: g/vocab.bpe: merge 224, \"x y z\", is not two tokens" qk-tokpack --tokenizer g text.txt -o out
}

# Start a pack in the background and wait until it is being written.
writing() {
    rm -f kept.h5.tmp
    qk-tokpack -q --train-bpe 300 --probe 2x20 big.txt -o kept.h5 3>&- &
    for _ in $(seq 2000); do
        [ ! -e kept.h5.tmp ] || return 0
        sleep 0.005
    done
    return 1
}

@test "killed while writing, it leaves no output" {
    for i in $(seq 400); do sed "s/Document/Text $i/" text.txt; done >big.txt
    echo old >kept.h5
    writing
    kill -9 $!
    run wait $!
    [ "$(cat kept.h5)" = old ]
    writing
    kill -TERM $!
    run wait $!
    [ "$(cat kept.h5)" = old ] && [ ! -e kept.h5.tmp ]
    touch kept.h5.tmp # what a kill -9 left is no hindrance
    qk-tokpack -q --train-bpe 300 big.txt -o kept.h5
    h5dump -H kept.h5 >/dev/null && [ ! -e kept.h5.tmp ]
}

@test "a full disk is an error" {
    for i in $(seq 40); do sed "s/Document/Text $i/" text.txt; done >big.txt
    (
        ulimit -f 8
        qk-tokpack -q --train-bpe 300 big.txt -o full.h5 2>stderr && exit 9
        [ $? -eq 1 ]
    )
    cat stderr
    [ "$(wc -l <stderr)" -eq 1 ]
    grep -qE '^qk-tokpack: full.h5: .*File too large' stderr
    [ ! -e full.h5 ] && [ ! -e full.h5.tmp ]
    [ -e /dev/full ]
    run -1 --separate-stderr bash -c "qk-tokpack --tokenizer '$golden/gpt2.json' --encode text.txt >/dev/full"
    [ "$stderr" = "qk-tokpack: standard output: cannot be written: No space left on device" ]
}

# The most memory, in kB, that it held while so many copies of big.txt, each text another one, came through a pipe.
peak() { # COPIES [OPTION...]
    local copies=$1 i
    shift
    rm -f pipe && mkfifo pipe
    qk-tokpack -q --threads 2 --tokenizer "$golden/gpt2.json" "$@" - -o stream.h5 <pipe 3>&- &
    {
        for i in $(seq "$copies"); do sed "s/^Document/Text $i/" big.txt; done
        sed -n 's/^VmHWM:[^0-9]*\([0-9]*\) kB/\1/p' /proc/$!/status >peak # before it sees the end
    } >pipe
    wait $!
    cat peak
}

@test "a stream is packed as it comes, in memory that does not grow with it" {
    ! ldd "$QK_BIN/qk-tokpack" | grep -q libasan || skip "the address sanitizer keeps what is freed"
    for i in $(seq 100); do sed "s/Document/number $i of the/; s/^number/Document&/" text.txt; done >big.txt
    few=$(peak 20)
    many=$(peak 100)
    echo "few $few many $many"
    [ "$(wc -c <big.txt)" -gt 500000 ]
    [ "$many" -lt $((few + 12000)) ] # 6,000 documents in a copy: 480,000 hashes of 11 bytes more, and some to spare
    [ "$(numbers stream.h5 /train/docs | tail -n 1)" -gt 10000000 ]
}

@test "text without an end is refused before it fills the memory" {
    ! ldd "$QK_BIN/qk-tokpack" | grep -q libasan || skip "the address sanitizer keeps what is freed"
    for format in text jsonl auto; do
        head -c 3000000000 /dev/zero | tr '\0' a | (
            ulimit -v 1500000 # the BLAS library alone maps a gigabyte
            qk-tokpack -q --threads 1 --tokenizer "$golden/gpt2.json" --memory 8M --format $format - -o none.h5 2>stderr && exit 9
            [ $? -eq 1 ]
        )
        grep -q '^qk-tokpack: standard input: the document at line 1 is larger than 1000000 bytes' stderr
    done
}
