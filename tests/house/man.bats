# Manual pages tell what the tools do: their options, and examples that run.

setup() { cd "$BATS_TEST_DIRNAME/../.."; }

pages() { ls tools/qk-*.1; }

help_of() { # TOOL: its --help, and that of its subcommands
    "$QK_BIN/$1" --help
    "$QK_BIN/$1" --help | sed -n '/^Subcommands/,/^$/s/^  \([a-z-]*\) .*/\1/p' | while read -r step; do
        "$QK_BIN/$1" "$step" --help
    done
}

options_of_help() { sed -nE 's/^  (-([a-zA-Z]),|   )? ?--([a-z-]+).*/\2 --\3/p' | tr ' ' '\n' | sed 's/^[a-zA-Z]$/-&/; /^$/d' | LC_ALL=C sort -u; }

# "Fl -name", "Fl x" and, behind a comma, "Fl x , -name"
options_of_page() {
    sed -E 's/^\.(It|Op|Dl)? ?//; s/Fl ([a-zA-Z]) , -([a-z])/Fl \1 , Fl -\2/g' | grep -oE '\bFl -?[a-zA-Z][a-z-]*' |
        sed 's/^Fl /-/' | LC_ALL=C sort -u
}

@test "a page and --help tell of the same options" {
    for page in $(pages); do
        tool=$(basename "$page" .1)
        help_of "$tool" | options_of_help >"$BATS_TEST_TMPDIR/help"
        [ "$(wc -l <"$BATS_TEST_TMPDIR/help")" -ge 7 ]
        options_of_page <"$page" >"$BATS_TEST_TMPDIR/page"
        diff "$BATS_TEST_TMPDIR/help" "$BATS_TEST_TMPDIR/page" || { echo "< --help of $tool, > $page"; false; }
    done
}

@test "pages are drawn without a warning" {
    command -v groff >/dev/null || skip "there is no groff"
    compgen -G '/usr/share/groff/*/tmac/mdoc.tmac' >/dev/null || skip "groff has no mdoc macros here"
    for page in $(pages); do
        groff -mandoc -Tutf8 -ww -z "$page" 2>"$BATS_TEST_TMPDIR/warnings"
        cat "$BATS_TEST_TMPDIR/warnings"
        [ ! -s "$BATS_TEST_TMPDIR/warnings" ]
    done
}

# Commands of the section EXAMPLES: lines of .Dl, and of .Bd -literal.
examples() { # PAGE
    awk '/^\.Sh/ { on = /EXAMPLES/ } !on { next }
        /^\.Bd/ { literal = 1; next } /^\.Ed/ { literal = 0; next }
        literal { print } /^\.Dl/ { sub(/^\.Dl /, ""); gsub(/^"|"$/, ""); print }' "$1" | sed 's/\\e/\\/g; s/\\-/-/g'
}

# What the examples speak of, small; tokens by the thousand where they say million.
@test "the examples run" {
    pages=$(pages | sed "s,^,$PWD/,")
    ln -s "$PWD/pipelines" "$BATS_TEST_TMPDIR/pipelines"
    for name in hellaswag:hellaswag_val hellaswag_train:hellaswag_train lambada:lambada_test; do
        cp "tests/golden/eval/${name%%:*}.jsonl" "$BATS_TEST_TMPDIR/${name##*:}.jsonl"
    done
    cd "$BATS_TEST_TMPDIR"
    awk 'BEGIN { srand(1); for (d = 0; d < 4000; d++) { t = ""; for (w = 0; w < 60; w++) t = t " w" int(rand() * 900)
        printf "{\"text\":\"%s\"}\n", t } }' | zstd -q >corpus.jsonl.zst
    zstd -dcq corpus.jsonl.zst | head -n 400 | qk-tokpack -q --train-bpe 300 --export-tokenizer tokenizer.json \
        --split val=2K,test=2K --probe 2x32 -o tokens.h5
    printf '%s' '{"vocab_size":300,"d_model":16,"n_layers":2,"n_heads":2,"d_ff":16,"seq_len":32,"muon_lr":0.01,"adamw_lr":0.003,
        "batch_size":4,"train_tokens":20000}' | tee big.json >C.json
    mkdir -p runs/A items
    for tag in QK QK_frozen NoQK; do
        kind=$(case $tag in QK) echo learned ;; QK_frozen) echo frozen ;; *) echo none ;; esac)
        rm -rf keys
        qk-train -q --config C.json --set qk_norm=$kind --data tokens.h5 --until 1K --keys-at every:256 --keys-dir keys \
            --val-at every:256 --log log.jsonl -o ckpt.h5
        qk-probe -q keys/*.h5 | qk-aggregate results --tag $tag --probe - --log log.jsonl -o $tag.json
    done
    cp keys/* runs/A
    qk-aggregate combine A=QK.json B=QK_frozen.json C=NoQK.json -o combined.json
    for page in $pages; do
        echo "== $page"
        cp tokens.h5 tokens-before.h5
        examples "$page" | sed -E 's,/tmp/,items/,g; s/\b([0-9]+)M\b/\1K/g' >script
        [ "$(wc -l <script)" -ge 2 ]
        bash -euo pipefail script >out 2>err || { cat script err; false; }
        [ -s out ] || [ "$(basename "$page")" = qk-plotdata.1 ]
        mv tokens-before.h5 tokens.h5
    done
}
