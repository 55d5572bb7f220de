# Bad inputs to every tool.  Each is refused with the exit status and the one sentence given here,
# prints nothing else, writes no file and changes none.

load helpers

setup_file() {
    mkdir "$BATS_FILE_TMPDIR/good"
    cd "$BATS_FILE_TMPDIR/good"
    study_inputs
    "$make_input" keys k.h5
    "$make_input" keys full.h5 full
    for i in {1..40}; do printf 'Text %d says hello, hello and %d times hello.\n\n\n' "$i" $((i * i)); done >text.txt
    qk-tokpack -q --train-bpe 300 --export-tokenizer tok.json text.txt
    mkdir folder
}

setup() {
    cp -R "$BATS_FILE_TMPDIR/good" "$BATS_TEST_TMPDIR/in"
    cd "$BATS_TEST_TMPDIR/in"
}

# A bad file bad.h5: "bad checkpoint nan:/weights/embed".
bad() { "$make_input" "$1" bad.h5 "${@:2}"; }

listing() { find . -type d -print -o -printf '%p %s %i %T@\n' | sort; }

# "TOOL: SENTENCE" is all that is said; with status 2 the usage line follows.
refuses() { # STATUS SENTENCE TOOL...
    local status=$1 sentence=$2 seen=0
    shift 2
    listing >../before
    "$@" >../stdout 2>../stderr </dev/null || seen=$?
    listing >../after
    echo "exit status $seen"
    cat ../stderr
    [ $seen -eq "$status" ]
    if [ "$status" -eq 2 ]; then
        [ "$(wc -l <../stderr)" -eq 2 ]
        [[ $(tail -n 1 ../stderr) == "Usage: $1 "* ]]
    else
        [ "$(wc -l <../stderr)" -eq 1 ]
    fi
    [ "$(head -n 1 ../stderr)" = "$1: $sentence" ]
    [ ! -s ../stdout ]
    diff ../before ../after
}

# ---- files that are no files of ours ----

@test "no such file" { refuses 1 'gone.h5: cannot be opened: No such file or directory' qk-probe gone.h5 -o out; }
@test "a folder" { refuses 1 'folder: cannot be read: Is a directory' qk-probe folder -o out; }
@test "a folder as data" { refuses 1 'folder: is a folder, not an HDF5 file' qk-train -q --config c.json --data folder --until 0 -o out; }
@test "an empty file" { : >bad.h5; refuses 1 'bad.h5: is not an HDF5 file' qk-probe bad.h5 -o out; }
@test "a text" { refuses 1 'text.txt: is not an HDF5 file' qk-probe text.txt -o out; }
@test "HDF5 from standard input" { refuses 1 '-: an HDF5 file cannot be read from standard input' qk-probe - -o out; }
@test "a checkpoint from standard input" { refuses 1 '-: an HDF5 file cannot be read from standard input' qk-train --from - --data t.h5 --until 1K -o out; }
@test "an operand without a name" { refuses 2 'an operand is empty' qk-probe ''; }
@test "half a checkpoint" { head -c 20000 c.h5 >bad.h5; refuses 1 'bad.h5: cannot be opened as HDF5 (the file is truncated)' qk-probe bad.h5 -o out; }
@test "the first 100 bytes of a checkpoint" { head -c 100 c.h5 >bad.h5; refuses 1 'bad.h5: cannot be opened as HDF5 (the file is truncated)' qk-probe bad.h5 -o out; }
@test "half a checkpoint, to be scored" { head -c 20000 c.h5 >bad.h5; refuses 1 'bad.h5: cannot be opened as HDF5 (the file is truncated)' qk-eval bad.h5 --task loss --data t.h5 -o out; }
@test "half a token pack" { head -c 9000 t.h5 >bad.h5; refuses 1 'bad.h5: cannot be opened as HDF5 (the file is truncated)' qk-eval c.h5 --task loss --data bad.h5 -o out; }
@test "half a start" { head -c 20000 c.h5 >bad.h5; refuses 1 'bad.h5: cannot be opened as HDF5 (the file is truncated)' qk-train -q --from bad.h5 --data t.h5 --until 32 -o out; }
@test "half a dump" { head -c 40000 k.h5 >bad.h5; refuses 1 'bad.h5: cannot be opened as HDF5 (the file is truncated)' qk-probe bad.h5 -o out; }
@test "a flipped bit in the weights" {
    bad checkpoint value:/weights/embed=123456 # as little endian bytes 00 20 f1 47
    at=$(LC_ALL=C grep -obUaP '\x00\x20\xf1\x47' bad.h5 | cut -d: -f1)
    printf '\x48' | dd of=bad.h5 bs=1 seek=$((at + 3)) conv=notrunc status=none
    refuses 1 'bad.h5: /weights/embed cannot be read (data error detected by Fletcher32 checksum)' qk-probe bad.h5 -o out
}

# ---- kind, version, attributes ----

@test "a token pack as checkpoint" { refuses 1 't.h5: is a tokens file, expected checkpoint or keys' qk-probe t.h5 -o out; }
@test "a checkpoint as token pack" { refuses 1 'c.h5: is a checkpoint file, expected tokens' qk-eval c.h5 --task loss --data c.h5 -o out; }
@test "a dump as checkpoint" { refuses 1 'k.h5: is a keys file, expected checkpoint' qk-train -q --from k.h5 --data t.h5 --until 64 -o out; }
@test "a kind nobody knows" { bad checkpoint text:kind=soup; refuses 1 'bad.h5: is a soup file, expected checkpoint or keys' qk-probe bad.h5 -o out; }
@test "no kind" { bad checkpoint without:kind; refuses 1 "bad.h5: has no attribute 'kind'" qk-probe bad.h5 -o out; }
@test "a kind that is a number" { bad checkpoint int:kind=3; refuses 1 "bad.h5: attribute 'kind' is not text" qk-probe bad.h5 -o out; }
@test "a checkpoint of the future" { bad checkpoint int:version=2; refuses 1 'bad.h5: has version 2 of the checkpoint format, this program reads 1' qk-probe bad.h5 -o out; }
@test "a dump of the future" { bad keys int:version=9; refuses 1 'bad.h5: has version 9 of the keys format, this program reads 1' qk-probe bad.h5 -o out; }
@test "a token pack of the future" { bad tokens int:version=2; refuses 1 'bad.h5: has version 2 of the tokens format, this program reads 1' qk-train -q --config c.json --data bad.h5 --until 0 -o out; }
@test "no version" { bad tokens without:version; refuses 1 "bad.h5: has no attribute 'version'" qk-eval c.h5 --task loss --data bad.h5 -o out; }
@test "a version that is text" { bad checkpoint text:version=one; refuses 1 "bad.h5: attribute 'version' is not an integer" qk-probe bad.h5 -o out; }
@test "no step" { bad checkpoint without:step; refuses 1 "bad.h5: has no attribute 'step'" qk-probe bad.h5 -o out; }
@test "no tokens_seen" { bad keys without:tokens_seen; refuses 1 "bad.h5: has no attribute 'tokens_seen'" qk-probe bad.h5 -o out; }
@test "a step before the first" { bad checkpoint int:step=-1; refuses 1 'bad.h5: step -1 and tokens_seen 0 must not be negative' qk-probe bad.h5 -o out; }
@test "an end of text outside the vocabulary" { bad checkpoint int:eot=32; refuses 1 'bad.h5: eot 32 is no token of a vocabulary of 32' qk-probe bad.h5 -o out; }
@test "no vocab_size" { bad tokens without:vocab_size; refuses 1 "bad.h5: has no attribute 'vocab_size'" qk-train -q --config c.json --data bad.h5 --until 0 -o out; }
@test "a vocabulary of nothing" { bad tokens int:vocab_size=0; refuses 1 'bad.h5: vocab_size 0 is no size of a vocabulary' qk-eval c.h5 --task loss --data bad.h5 -o out; }

# ---- config ----

@test "no config" { bad checkpoint without:config; refuses 1 "bad.h5: has no attribute 'config'" qk-probe bad.h5 -o out; }
@test "a config that is no JSON" { bad checkpoint 'text:config={"vocab_size":'; refuses 1 'bad.h5: config: malformed JSON at line 1' qk-probe bad.h5 -o out; }
@test "a config that is a list" { bad checkpoint 'text:config=[]'; refuses 1 'bad.h5: config: the config is not a JSON object' qk-probe bad.h5 -o out; }
@test "an unknown key" { bad checkpoint config:d_modell=8; refuses 1 "bad.h5: config: unknown config key 'd_modell'" qk-probe bad.h5 -o out; }
@test "a key that is missing" { bad checkpoint config:d_ff=; refuses 1 'bad.h5: config: config key d_ff is missing' qk-eval bad.h5 --task loss --data t.h5 -o out; }
@test "a number that is text" { bad checkpoint 'config:d_ff="16"'; refuses 1 'bad.h5: config: config key d_ff must be a number' qk-probe bad.h5 -o out; }
@test "half a unit" { bad keys config:d_ff=16.5; refuses 1 'bad.h5: config key d_ff must be a whole number, not 16.5' qk-probe bad.h5 -o out; }
@test "a width beyond all bounds" { bad checkpoint config:d_ff=1e300; refuses 1 'bad.h5: config: config key d_ff is 1e+300, not between 1 and 1048576' qk-probe bad.h5 -o out; }
@test "no layers" { bad checkpoint config:n_layers=0; refuses 1 'bad.h5: config: config key n_layers is 0, not between 1 and 4096' qk-probe bad.h5 -o out; }
@test "an odd head dimension" { bad checkpoint config:n_heads=8; refuses 1 'bad.h5: config: the head dimension d_model / n_heads is 1, not an even number up to 128' qk-probe bad.h5 -o out; }
@test "heads that are too wide" { bad checkpoint config:d_model=512; refuses 1 'bad.h5: config: the head dimension d_model / n_heads is 256, not an even number up to 128' qk-probe bad.h5 -o out; }
@test "heads that do not divide the width" { bad checkpoint config:n_heads=3; refuses 1 'bad.h5: config: d_model 8 is no multiple of n_heads 3, so there is no whole head dimension' qk-probe bad.h5 -o out; }
@test "key heads that do not divide the heads" { bad checkpoint config:n_kv_heads=3; refuses 1 'bad.h5: config: n_heads 2 is no multiple of n_kv_heads 3' qk-probe bad.h5 -o out; }
@test "a norm nobody knows" { bad checkpoint 'config:qk_norm="layer"'; refuses 1 'bad.h5: config: config key qk_norm must be one of learned|frozen|scalar|none' qk-probe bad.h5 -o out; }
@test "Muon without a rate" { bad checkpoint config:muon_lr=; refuses 1 'bad.h5: config: config key muon_lr is missing (optimizer is muon+adamw)' qk-probe bad.h5 -o out; }
@test "a truth that is a number" { bad checkpoint config:tie_embeddings=1; refuses 1 'bad.h5: config: config key tie_embeddings must be true or false' qk-probe bad.h5 -o out; }
@test "no config file" { refuses 1 'gone.json: cannot be opened: No such file or directory' qk-train -q --config gone.json --data t.h5 --until 0 -o out; }
@test "an empty config file" { : >bad.json; refuses 1 'bad.json: is empty, expected JSON' qk-train -q --config bad.json --data t.h5 --until 0 -o out; }
@test "a config file with a second value" { (cat c.json; echo 5) >bad.json; refuses 1 'bad.json: malformed JSON at line 14' qk-train -q --config bad.json --data t.h5 --until 0 -o out; }
@test "a config file that is not UTF-8" { printf '{"ffn": "\xff"}' >bad.json; refuses 1 'bad.json: line 1 is not valid UTF-8' qk-train -q --config bad.json --data t.h5 --until 0 -o out; }
@test "a config file with a zero byte" { printf '{}\0' >bad.json; refuses 1 'bad.json: malformed JSON: a zero byte' qk-train -q --config bad.json --data t.h5 --until 0 -o out; }
@test "a key given twice" { echo '{"d_ff": 16, "d_ff": 8}' >bad.json; refuses 1 'bad.json: config key d_ff is given twice' qk-train -q --config bad.json --data t.h5 --until 0 -o out; }

# ---- weights ----

@test "a weight that is not a number" { bad checkpoint nan:/weights/layers/0/wq; refuses 1 'bad.h5: /weights/layers/0/wq holds a number that is not finite (element 0)' qk-probe bad.h5 -o out; }
@test "an infinite weight, to be scored" { bad checkpoint inf:/weights/final_norm; refuses 1 'bad.h5: /weights/final_norm holds a number that is not finite (element 0)' qk-eval bad.h5 --task loss --data t.h5 -o out; }
@test "an infinite weight, to be trained" { bad checkpoint inf:/weights/embed; refuses 1 'bad.h5: /weights/embed holds a number that is not finite (element 0)' qk-train -q --from bad.h5 --data t.h5 --until 32 -o out; }
@test "a gain that is not a number" { bad checkpoint nan:/weights/layers/0/k_norm; refuses 1 'bad.h5: /weights/layers/0/k_norm holds a number that is not finite (element 0)' qk-probe bad.h5 -o out; }
@test "a row too many" { bad checkpoint wide:/weights/layers/0/wk; refuses 1 'bad.h5: /weights/layers/0/wk has shape 5x8, but the config says 4x8' qk-probe bad.h5 -o out; }
@test "another vocabulary than the embedding's" { bad checkpoint config:vocab_size=16; refuses 1 'bad.h5: /weights/embed has shape 32x8, but the config says 16x8' qk-eval bad.h5 --task loss --data t.h5 -o out; }
@test "a tensor that is missing" { bad checkpoint without:/weights/layers/0/wk; refuses 1 'bad.h5: /weights/layers/0/wk is missing' qk-probe bad.h5 -o out; }
@test "a layer that is missing" { bad checkpoint config:n_layers=2; refuses 1 'bad.h5: /weights/layers/1/attn_norm is missing' qk-probe bad.h5 -o out; }
@test "a head that is missing" { bad checkpoint config:tie_embeddings=false; refuses 1 'bad.h5: /weights/head is missing' qk-probe bad.h5 -o out; }
@test "gains where there is no norm" { bad checkpoint 'config:qk_norm="none"'; refuses 1 'bad.h5: /weights/layers/0/k_norm is no tensor of this config' qk-probe bad.h5 -o out; }
@test "vectors where there is a scalar" { bad checkpoint 'config:qk_norm="scalar"'; refuses 1 'bad.h5: /weights/layers/0/q_norm has shape 4, but the config says 1' qk-probe bad.h5 -o out; }
@test "weights that are integers" { bad checkpoint as:/weights/layers/0/wk=int32; refuses 1 'bad.h5: /weights/layers/0/wk holds integers, not floating-point numbers' qk-probe bad.h5 -o out; }

# ---- tokens and the probe batch ----

@test "a token beyond the vocabulary, to be scored" { bad tokens last:/test/tokens=32; refuses 1 'bad.h5: /test/tokens holds token 32, but the vocabulary has 32' qk-eval c.h5 --task loss --data bad.h5 -o out; }
@test "a token beyond the vocabulary, to be trained on" { bad tokens value:/train/tokens=99; refuses 1 'bad.h5: /train/tokens holds token 99, but the vocabulary has 32' qk-train -q --config c.json --data bad.h5 --until 32 -o out; }
@test "a vocabulary larger than the model's" { bad tokens int:vocab_size=64; refuses 1 "bad.h5: has a vocabulary of 64, but the model's vocab_size is 32" qk-train -q --config c.json --data bad.h5 --until 0 -o out; }
@test "tokens that are floating-point numbers" { bad tokens as:/test/tokens=float32; refuses 1 'bad.h5: /test/tokens is no list of tokens' qk-eval c.h5 --task loss --data bad.h5 -o out; }
@test "tokens that have a sign" { bad tokens as:/test/tokens=int32; refuses 1 'bad.h5: /test/tokens holds signed numbers, not uint16 or uint32' qk-eval c.h5 --task loss --data bad.h5 -o out; }
@test "a split that is not there" { bad tokens without:/test/tokens; refuses 1 "bad.h5: there is no split 'test'" qk-eval c.h5 --task loss --data bad.h5 -o out; }
@test "nothing to train on" { bad tokens without:/train/tokens; refuses 1 "bad.h5: there is no split 'train'" qk-train -q --config c.json --data bad.h5 --until 32 -o out; }
@test "nothing to validate on" { bad tokens without:/val/tokens; refuses 1 "bad.h5: there is no split 'val'" qk-train -q --config c.json --data bad.h5 --until 32 --val-at 0 -o out; }
@test "a split of less than a window" { refuses 1 't.h5: split short has 8 tokens, too few for one window of 8 and its targets' qk-eval c.h5 --task loss --data t.h5 --split short -o out; }
@test "a train split of less than a window" { refuses 1 't.h5: split train has 400 tokens, but one window needs 401' qk-train -q --config c.json --set seq_len=400 --data t.h5 --until 400 -o out; }
@test "a split with the name of a path" { refuses 1 "t.h5: 'a/b' is no name of a split" qk-eval c.h5 --task loss --data t.h5 --split a/b -o out; }
@test "no probe batch" { bad checkpoint without:/probe/tokens; refuses 1 'bad.h5: has no probe batch (/probe/tokens): give one with --batch, or measure the weights alone with --of wk,wq' qk-probe bad.h5 -o out; }
@test "no probe batch in the pack" { bad tokens without:/probe/tokens; refuses 1 'bad.h5: has no probe batch (/probe/tokens)' qk-probe c.h5 --batch bad.h5 -o out; }
@test "no probe batch for dumps" { bad tokens without:/probe/tokens; refuses 1 'bad.h5: has no probe batch, which --keys-at needs' qk-train -q --config c.json --data bad.h5 --until 16 --keys-at 0 --keys-dir d -o out; }
@test "a probe token beyond the vocabulary" { bad checkpoint value:/probe/tokens=32; refuses 1 'bad.h5: /probe/tokens holds token 32, but the vocabulary ends at 32' qk-probe bad.h5 -o out; }
@test "a probe batch longer than the model reads" { bad checkpoint config:seq_len=4; refuses 1 'bad.h5: sequences of 8 positions in the probe batch are too long for a model of seq_len 4' qk-probe bad.h5 -o out; }
@test "more positions skipped than there are" { refuses 1 'c.h5: sequences have only 8 positions, so none is left after 8' qk-probe c.h5 --skip-first 8 -o out; }

# ---- keys dumps ----

@test "positions skipped in a dump without rows" { refuses 1 'k.h5: the dump was made without --full: no rows are there to skip' qk-probe k.h5 --skip-first 2 -o out; }
@test "more positions skipped than a dump has" { refuses 1 'full.h5: sequences have only 8 positions, so none is left after 9' qk-probe full.h5 --skip-first 9 -o out; }
@test "positions skipped where one site has no rows" { bad keys full without:/layers/0/pre_norm/k/rows; refuses 1 'bad.h5: holds no rows of k at pre_norm in layer 0 to skip' qk-probe bad.h5 --skip-first 2 -o out; }
@test "a Gram matrix that is not symmetric" { bad keys second:/layers/0/pre_norm/k/gram=9; refuses 1 'bad.h5: /layers/0/pre_norm/k/gram is no Gram matrix (head 0: not symmetric)' qk-probe bad.h5 -o out; }
@test "a sum of squares below zero" { bad keys value:/layers/0/post_norm/q/gram=-3; refuses 1 'bad.h5: /layers/0/post_norm/q/gram is no Gram matrix (head 0: a square is negative)' qk-probe bad.h5 -o out; }
@test "a Gram matrix that is not a number" { bad keys nan:/layers/0/weight/k/gram; refuses 1 'bad.h5: /layers/0/weight/k/gram holds a number that is not finite (element 0)' qk-probe bad.h5 -o out; }
@test "an infinite mean" { bad keys inf:/layers/0/post_rope/q/mean; refuses 1 'bad.h5: /layers/0/post_rope/q/mean holds a number that is not finite (element 0)' qk-probe bad.h5 -o out; }
@test "a head too many" { bad keys wide:/layers/0/pre_norm/k/gram; refuses 1 'bad.h5: /layers/0/pre_norm/k/gram has shape 2x4x4, expected 1x4x4' qk-probe bad.h5 -o out; }
@test "no count of rows" { bad keys without:rows; refuses 1 'bad.h5: /layers/0/pre_norm/q has no attribute rows' qk-probe bad.h5 -o out; }
@test "less than no rows" { bad keys int:rows=-5; refuses 1 'bad.h5: /layers/0/pre_norm/q has attribute rows = -5, expected at least 1' qk-probe bad.h5 -o out; }
@test "rows that are fewer than told" { bad keys full int:rows=32; refuses 1 'bad.h5: /layers/0/pre_norm/q/rows has shape 2x16x4, expected 2x32x4' qk-probe bad.h5 -o out; }
@test "a dump of more layers than it holds" { bad keys config:n_layers=2; refuses 1 'bad.h5: has no /layers/1' qk-probe bad.h5 -o out; }
@test "a dump of a dump" { refuses 1 'k.h5: is a keys dump already, so --keys has nothing to make' qk-probe k.h5 --keys out; }
@test "a batch for a dump" { refuses 1 'k.h5: is a keys dump: a batch can only be given to a checkpoint' qk-probe k.h5 --batch t.h5 -o out; }

# ---- text and tokenizers ----

@test "an empty text" { : >bad; refuses 1 'bad: holds no text' qk-tokpack --train-bpe 300 bad -o out; }
@test "a text that is not UTF-8" { printf 'good\n\n\nbad \xff\n' >bad; refuses 1 'bad: line 4 is not valid UTF-8 (byte 12 of the text)' qk-tokpack --train-bpe 300 bad -o out; }
@test "half a .gz" { gzip <text.txt | head -c 200 >bad; refuses 1 'bad: the compressed data is truncated' qk-tokpack --train-bpe 300 bad -o out; }
@test "half a .xz" { xz <text.txt | head -c 200 >bad; refuses 1 'bad: the compressed data is truncated' qk-tokpack --train-bpe 300 bad -o out; }
@test "half a .zst" { zstd -q <text.txt | head -c 200 >bad; refuses 1 'bad: the compressed data is truncated' qk-tokpack --train-bpe 300 bad -o out; }
@test "a .gz with other bytes inside" { gzip <text.txt >bad; printf XXXXXXXX | dd of=bad bs=1 seek=150 conv=notrunc status=none; refuses 1 'bad: the compressed data is damaged' qk-tokpack --train-bpe 300 bad -o out; }
@test "a broken JSON line" { printf '{"text": "a"}\n{"text": "b\n' >bad.jsonl; refuses 1 'bad.jsonl: line 2: malformed JSON at column 12' qk-tokpack --train-bpe 300 bad.jsonl -o out; }
@test "something behind the JSON" { echo '{"text": "a"} b' >bad.jsonl; refuses 1 'bad.jsonl: line 1: malformed JSON at column 15' qk-tokpack --train-bpe 300 bad.jsonl -o out; }
@test "a line without text" { echo '{"txt": "a"}' >bad.jsonl; refuses 1 "bad.jsonl: line 1: has no key 'text'" qk-tokpack --train-bpe 300 bad.jsonl -o out; }
@test "a text that is a number" { echo '{"text": 5}' >bad.jsonl; refuses 1 "bad.jsonl: line 1: 'text' is not text" qk-tokpack --train-bpe 300 bad.jsonl -o out; }
@test "less text than asked for" { refuses 1 'the inputs hold 550 tokens, too few for val of 5,000 tokens' qk-tokpack -q --train-bpe 300 text.txt --split val=5K -o out; }
@test "the probe batch of another vocabulary" { refuses 1 "t.h5: its vocabulary of 32 is not this tokenizer's of 300" qk-tokpack -q --train-bpe 300 text.txt --probe-from t.h5 -o out; }
@test "no tokenizer in the folder" { refuses 1 'folder: has neither tokenizer.json nor encoder.json with vocab.bpe' qk-tokpack --tokenizer folder --encode text.txt; }
@test "a tokenizer that is no JSON" { refuses 1 'text.txt: malformed JSON at line 1' qk-tokpack --tokenizer text.txt --encode text.txt; }
@test "a tokenizer of another type" { jq '.model.type = "WordPiece"' tok.json >bad.json; refuses 1 'bad.json: model type WordPiece is not supported, only BPE is' qk-tokpack --tokenizer bad.json --encode text.txt; }
@test "two tokens of one id" { jq '.model.vocab.zz = 1' tok.json >bad.json; refuses 1 'bad.json: token "zz" or its id 1 is there twice' qk-tokpack --tokenizer bad.json --encode text.txt; }
@test "a merge of no tokens" { jq '.model.merges[0] = ["hell", "no"]' tok.json >bad.json; refuses 1 'bad.json: merge 1, "hell no", has parts that are no tokens' qk-tokpack --tokenizer bad.json --encode text.txt; }
@test "an id that is no token" { echo 3 99999 >bad; refuses 1 'bad: 99999 is not the id of a token' qk-tokpack --tokenizer tok.json --decode bad; }
@test "an id that is no number" { echo 3 x >bad; refuses 1 "bad: 'x' is no token id" qk-tokpack --tokenizer tok.json --decode bad; }

# ---- probes, logs, results ----

@test "half a probe" { head -c 500 probes.json >bad.json; refuses 1 'bad.json: malformed JSON at line 1' qk-aggregate results --tag QK --probe bad.json -o out; }
@test "an empty probe" { : >bad.json; refuses 1 'bad.json: is empty, expected JSON' qk-aggregate results --tag QK --probe bad.json -o out; }
@test "a probe with something behind it" { echo '{"kind":"probe"} x' >bad.json; refuses 1 'bad.json: malformed JSON at line 1' qk-aggregate results --tag QK --probe bad.json -o out; }
@test "an evaluation as probe" { echo '{"kind":"eval"}' >bad.json; refuses 1 "bad.json: kind is 'eval', expected 'probe'" qk-aggregate results --tag QK --probe bad.json -o out; }
@test "a checkpoint as probe" { refuses 1 'c.h5: line 1 is not valid UTF-8' qk-aggregate results --tag QK --probe c.h5 -o out; }
@test "a probe without ranks" { head -n 1 probes.json | jq -c '.file = "x.h5" | .layers[0].k_pr = null' >bad.json; refuses 1 "bad.json: probe of x.h5: layer 0 has no 'k_pr' at post_norm" qk-aggregate results --tag QK --probe bad.json -o out; }
@test "two probes of one point" { jq -c '.file = "x.h5" | .tokens_seen = 1' probes.json | head -n 2 >bad.json; refuses 1 'bad.json: probe of x.h5 and bad.json: probe of x.h5 are both at 1 tokens but differ' qk-aggregate results --tag QK --probe bad.json -o out; }
@test "no such log" { refuses 1 'gone: cannot be opened: No such file or directory' qk-aggregate results --tag QK --probe probes.json --log gone -o out; }
@test "logs out of order" { refuses 1 'log: step 0 follows step 2' qk-aggregate results --tag QK --probe probes.json --log log --log log -o out; }
@test "a log without steps" { jq -c 'del(.step)' log >bad.log; refuses 1 "bad.log: has no key 'step'" qk-aggregate results --tag QK --probe probes.json --log bad.log -o out; }
@test "half a log" { head -c 150 log >bad.log; refuses 1 'bad.log: malformed JSON at line 2' qk-aggregate results --tag QK --probe probes.json --log bad.log -o out; }
@test "results without ranks" { jq 'del(.layer_pr)' QK.json >bad.json; refuses 1 "bad.json: there is no object 'layer_pr'" qk-aggregate combine A=bad.json -o out; }
@test "results that go back in time" { jq '.tokens = [0, 32, 16]' QK.json >bad.json; refuses 1 "bad.json: 'tokens' does not rise at index 2" qk-aggregate combine A=bad.json -o out; }
@test "results of different length" { jq '.loss = [1]' QK.json >bad.json; refuses 1 "bad.json: 'loss' has 1 values, 'tokens' has 3" qk-aggregate combine A=bad.json -o out; }
@test "an infinite loss" { sed 's/3\.4/1e999/' QK.json >bad.json; refuses 1 "bad.json: 'loss' holds something that is no number at index 1" qk-aggregate combine A=bad.json -o out; }
@test "one seed twice" { refuses 1 'QK.json: condition A has two runs of seed 42' qk-aggregate combine A=QK.json A=QK.json -o out; }
@test "a log as timing file" { refuses 1 "log: has no 'elapsed_s': is it a timing file?" qk-aggregate combine A=QK.json --timing log -o out; }
@test "a study without a condition" { jq 'del(.B)' study.json >bad.json; refuses 1 'bad.json: there is no condition B, causal50m needs A, B and C' qk-aggregate verdict --study causal50m bad.json -o out; }
@test "a table without a condition" { jq 'del(.C)' study.json >bad.json; refuses 1 'bad.json: there is no condition C, causal50m needs A, B and C' qk-aggregate table --study causal50m --of contrasts bad.json -o out; }
@test "results as a study" { refuses 1 'QK.json: no condition A, B, ... in it' qk-aggregate verdict --study causal50m QK.json -o out; }
@test "another study's verdict" { jq '.outcome = "x"' judged.json >bad.json; refuses 1 "bad.json: 'outcome' is not what the combined file gives: make the verdict anew" qk-aggregate report --study causal50m --combined study.json --verdict bad.json --figures folder -o out; }
@test "no figures for the report" { refuses 1 'folder/1_loss.png: No such file or directory' qk-aggregate report --study causal50m --combined study.json --verdict judged.json --figures folder -o out; }
@test "a figure of a study without a condition" { jq 'del(.C)' study.json >bad.json; refuses 1 'bad.json: 4_causal_decomposition needs conditions A, B and C' qk-plotdata 4_causal_decomposition bad.json -o out; }
@test "a figure of nothing" { echo '{}' >bad.json; refuses 1 'bad.json: no condition A, B, ... in it' qk-plotdata 1_loss bad.json -o out; }
@test "a figure of half a file" { head -c 300 study.json >bad.json; refuses 1 "bad.json: malformed JSON at line $(($(wc -l <bad.json) + 1))" qk-plotdata 1_loss bad.json -o out; }

# ---- outputs ----

@test "an output in no folder" { refuses 1 'no/out: cannot be created: No such file or directory' qk-probe c.h5 -o no/out; }
@test "a dump in no folder" { refuses 1 'no/out: cannot be created: No such file or directory' qk-probe c.h5 --keys no/out; }
@test "a checkpoint in no folder" { refuses 1 'no/out: cannot be written: No such file or directory' qk-train -q --config c.json --data t.h5 --until 0 -o no/out; }
@test "a pack in no folder" { refuses 1 'no/out: cannot be created: No such file or directory' qk-tokpack -q --train-bpe 300 text.txt -o no/out; }
@test "a log in no folder" { refuses 1 'no/log.partial: cannot be created: No such file or directory' qk-train -q --config c.json --data t.h5 --until 16 --log no/log -o out; }
@test "an output that is a folder" { refuses 1 'folder: cannot be written: Is a directory' qk-eval c.h5 --task loss --data t.h5 -o folder; }
@test "a log that is a folder" { refuses 1 'folder: is a folder' qk-train -q --config c.json --data t.h5 --until 16 --log folder -o out; }
@test "dumps below a file" { refuses 1 't.h5/d: the folder cannot be made: Not a directory' qk-train -q --config c.json --data t.h5 --until 0 --keys-at 0 --keys-dir t.h5/d -o out; }
@test "HDF5 on standard output" { refuses 1 '-: an HDF5 file cannot be written to standard output' qk-probe c.h5 --keys -; }
@test "a checkpoint on standard output" { refuses 1 '-o -: a checkpoint cannot go to standard output' qk-train -q --config c.json --data t.h5 --until 0 -o -; }
@test "a pack on standard output" { refuses 1 '-: an HDF5 file cannot be written to standard output' qk-tokpack -q --train-bpe 300 text.txt -o -; }
@test "a probe over its checkpoint" { refuses 1 'c.h5: is an input and would be overwritten' qk-probe c.h5 -o c.h5; }
@test "a probe over its checkpoint by another name" { ln -s c.h5 link; refuses 1 'link: is an input and would be overwritten' qk-probe --no-provenance c.h5 -o link; }
@test "a dump over its checkpoint" { refuses 1 'c.h5: is an input and would be overwritten' qk-probe c.h5 --keys c.h5; }
@test "a checkpoint over its start" { refuses 1 'c.h5: is an input and would be overwritten' qk-train -q --from c.h5 --data t.h5 --until 16 -o c.h5; }
@test "a log over its data" { refuses 1 't.h5: is an input and would be overwritten' qk-train -q --config c.json --data t.h5 --until 16 -o out --log t.h5; }
@test "items over their data" { refuses 1 't.h5: is an input and would be overwritten' qk-eval c.h5 --task loss --data t.h5 --items t.h5; }
@test "a pack over its text" { refuses 1 'text.txt: is an input and would be overwritten' qk-tokpack -q --train-bpe 300 text.txt -o text.txt; }
@test "a tokenizer over its text" { refuses 1 'text.txt: is an input and would be overwritten' qk-tokpack -q --train-bpe 300 text.txt --export-tokenizer text.txt -o out; }
@test "results over their probes" { refuses 1 'probes.json: is an input and would be overwritten' qk-aggregate results --tag QK --probe probes.json -o probes.json; }
@test "a table over its study" { refuses 1 'study.json: is an input and would be overwritten' qk-aggregate table --study causal50m study.json -o study.json; }
@test "figure data over its study" { refuses 1 'study.json: is an input and would be overwritten' qk-plotdata 1_loss study.json -o study.json; }
@test "log and checkpoint of one name" { refuses 1 'out: is asked for as two outputs' qk-train -q --config c.json --data t.h5 --until 16 -o out --log out; }
@test "log and timing of one name" { refuses 1 'l: is asked for as two outputs' qk-train -q --config c.json --data t.h5 --until 16 -o out --log l --timing l; }
@test "items and result of one name" { refuses 1 'out: is being written already' qk-eval c.h5 --task loss --data t.h5 -o out --items out; }

# ---- command lines ----

@test "no input" { refuses 2 'no input given' qk-probe; }
@test "no task" { refuses 2 '--task is missing: one of loss|wikitext|hellaswag|lambada' qk-eval c.h5; }
@test "no data" { refuses 2 '--task loss needs --data TOKENS.h5' qk-eval c.h5 --task loss; }
@test "no subcommand" { refuses 2 'a subcommand is needed' qk-aggregate; }
@test "a subcommand nobody knows" { refuses 2 "there is no subcommand 'judge'" qk-aggregate judge; }
@test "no tag" { refuses 2 '--tag and at least one --probe are needed' qk-aggregate results; }
@test "no study" { refuses 2 '--study is needed' qk-aggregate verdict study.json; }
@test "no figure" { refuses 2 'too few inputs' qk-plotdata 1_loss; }
@test "a figure nobody knows" { refuses 2 "there is no figure '6_x', only 1_loss|2_key_pr_causal|3_per_layer|4_causal_decomposition|5_gamma_cv|panel_a_loss|panel_b_pr_trajectory|panel_c_per_layer|panel_d_delta|sheet|layer_pr_heatmap|trajectory|sv_waterfall|data_complexity|surgery|gamma_vs_svd|rank_and_loss|val_loss|mean_pr|loss_vs_pr|sv_spectra|lr_sweep|entropy_max_logit|sites" qk-plotdata 6_x study.json; }
@test "no tokenizer" { refuses 2 'a tokenizer is needed: --tokenizer or --train-bpe' qk-tokpack text.txt -o out; }
@test "no output for a pack" { refuses 2 'no output given: -o FILE' qk-tokpack --train-bpe 300 text.txt; }
@test "no start" { refuses 2 'either --config or --from must say where to start' qk-train --data t.h5 --until 0 -o out; }
@test "two starts" { refuses 2 'either --config or --from must say where to start' qk-train --config c.json --from c.h5 --data t.h5 --until 0 -o out; }
@test "no end" { refuses 2 '--until or --steps must say where to end' qk-train --config c.json --data t.h5 -o out; }
@test "two ends" { refuses 2 '--until and --steps exclude each other' qk-train --config c.json --data t.h5 --until 16 --steps 1 -o out; }
@test "an operand too many" { refuses 2 "unexpected 'x'" qk-train --config c.json --data t.h5 --until 0 -o out x; }
@test "an unknown option" { refuses 2 "unknown option '--frob'" qk-probe c.h5 --frob; }
@test "an unknown letter" { refuses 2 "unknown option '-z'" qk-eval c.h5 -z; }
@test "an ambiguous option" { refuses 2 "option '--s' is ambiguous" qk-probe c.h5 --s all; }
@test "an option without its value" { refuses 2 "option '--site' needs a value" qk-probe c.h5 --site; }
@test "a flag with a value" { refuses 2 "option '--tsv' takes no value" qk-probe c.h5 --tsv=3; }
@test "an empty value" { refuses 2 '--output: the value is empty' qk-probe c.h5 -o ''; }
@test "a word instead of a number" { refuses 2 "--threads: 'x' is not a whole number" qk-tokpack --train-bpe 300 text.txt --threads x -o out; }
@test "threads below zero" { refuses 2 '--threads: -1 is not between 0 and 4096' qk-probe c.h5 --threads -1; }
@test "a number with a tail" { refuses 2 "--skip-first: '1.5' is not a whole number" qk-probe c.h5 --skip-first 1.5; }
@test "a number beyond 64 bits" { refuses 2 "--skip-first: '99999999999999999999' is not a whole number" qk-probe c.h5 --skip-first 99999999999999999999; }
@test "a count in floating point" { refuses 2 "--until: '1e3' is not a count (a whole number, or one with K, M or G)" qk-train --config c.json --data t.h5 --until 1e3 -o out; }
@test "a count with an unknown unit" { refuses 2 "--max-tokens: '1X' is not a count (a whole number, or one with K, M or G)" qk-eval c.h5 --task loss --data t.h5 --max-tokens 1X; }
@test "a count beyond 64 bits" { refuses 2 "--until: '99999999999G' is too large a count" qk-train --config c.json --data t.h5 --until 99999999999G -o out; }
@test "minutes that are no number" { refuses 2 "--autosave: 'nan' is not a number" qk-train --config c.json --data t.h5 --until 0 --autosave nan -o out; }
@test "minutes below zero" { refuses 2 '--autosave: minutes cannot be negative' qk-train --config c.json --data t.h5 --until 0 --autosave -1 -o out; }
@test "a word that is no choice" { refuses 2 "--weights: 'f16' is not one of f32|bf16" qk-train --config c.json --data t.h5 --until 0 --weights f16 -o out; }
@test "a device nobody knows" { refuses 2 "--device: 'gpu' is none of auto, cpu, cuda or cuda:N" qk-probe k.h5 --device gpu; }
@test "a site nobody knows" { refuses 2 "--site: 'pre' is not a site: all, pre_norm, post_norm, post_rope or weight" qk-probe c.h5 --site pre; }
@test "points at no distance" { refuses 2 '--keys-at: every:0 is no distance between points' qk-train --config c.json --data t.h5 --until 0 --keys-at every:0 --keys-dir d -o out; }
@test "points without a folder" { refuses 2 '--keys-at and --keys-dir go together' qk-train --config c.json --data t.h5 --until 0 --keys-at 0 -o out; }
@test "a key to set that is unknown" { refuses 2 '--set foo=1: unknown config key' qk-train --config c.json --data t.h5 --until 0 --set foo=1 -o out; }
@test "a key to set without a value" { refuses 2 '--set d_ff: not of the form key=value' qk-train --config c.json --data t.h5 --until 0 --set d_ff -o out; }
@test "a split without a size" { refuses 2 "--split: 'val' is not NAME=TOKENS" qk-tokpack --train-bpe 300 text.txt --split val -o out; }
@test "a split named twice" { refuses 2 "--split: 'val' is there twice" qk-tokpack --train-bpe 300 text.txt --split val=5,val=6 -o out; }
@test "a probe batch without length" { refuses 2 "--probe: '8x' is not SEQUENCESxLENGTH, such as 8x2048" qk-tokpack --train-bpe 300 text.txt --probe 8x -o out; }
@test "a vocabulary beyond all bounds" { refuses 2 '--train-bpe: 99999999999 is more than 4194304' qk-tokpack --train-bpe 99999999999 text.txt -o out; }
@test "an escape without an end" { refuses 2 '--doc-sep: ends in the middle of an escape' qk-tokpack --train-bpe 300 text.txt --doc-sep 'x\' -o out; }
@test "a name without a file" { refuses 2 "'A=' is not NAME=FILE, such as A=results.json" qk-aggregate combine A=; }

# ---- damage of no kind in particular ----

# Whatever is wrong, it ends with 0 or 1 and one sentence, without a trace.  Under a sanitizer a read
# too far, or a leak, inside the HDF5 library itself is not ours (frame #1 is its).
survives() { # FILE TIMES TOOL... with bad as the damaged file
    local file=$1 times=$2 status
    shift 2
    for i in $(seq "$times"); do
        "$make_input" flip bad "$file" "$i"
        status=0
        timeout 60 "$@" >../stdout 2>../stderr </dev/null || status=$?
        echo "$file $i: $status $(cat ../stderr)"
        ! grep -q 'Sanitizer' ../stderr || ! grep -q '^ *#1 .*libhdf5' ../stderr || { rm -f out bad; continue; }
        [ $status -eq 0 ] || { [ $status -eq 1 ] && [ "$(wc -l <../stderr)" -eq 1 ] && [[ $(cat ../stderr) == "$1: "* ]]; }
        rm -f out bad
        [ -z "$(find . -name '*.tmp' -o -name '*.partial')" ]
    done
}

@test "a damaged checkpoint" { survives c.h5 25 qk-probe -q bad; }
@test "a damaged checkpoint, to be scored" { survives c.h5 15 qk-eval -q bad --task loss --data t.h5; }
@test "a damaged start" { survives c.h5 15 qk-train -q --from bad --data t.h5 --until 16 -o out; }
@test "a damaged dump" { survives full.h5 25 qk-probe -q bad --skip-first 1; }
@test "damaged data" { survives t.h5 15 qk-train -q --config c.json --data bad --until 16 -o out; }
@test "a damaged config" { survives c.json 15 qk-train -q --config bad --data t.h5 --until 0 -o out; }
@test "a damaged tokenizer" { survives tok.json 15 qk-tokpack -q --tokenizer bad text.txt -o out; }
@test "a damaged .gz" { gzip -k text.txt; survives text.txt.gz 10 qk-tokpack -q --train-bpe 300 bad -o out; }
@test "a damaged probe" { survives probes.json 15 qk-aggregate results --tag QK --probe bad; }
@test "a damaged study" { survives study.json 15 qk-plotdata 1_loss bad; }
