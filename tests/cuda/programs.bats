# The programs on an emulated card: BUILD/emulated/bin, kernels under AddressSanitizer, so the model is
# as small as they come.  What they must do is in programs.bash.

bats_require_minimum_version 1.5.0

setup_file() {
    export PATH=$PWD/$BUILD/emulated/bin:$PATH OMP_NUM_THREADS=1
    cd "$BATS_FILE_TMPDIR"
    awk -v bytes=60000 -f "$BATS_TEST_DIRNAME/../bench/words.awk" >text.txt
    qk-tokpack -q --no-provenance --train-bpe 280 --split val=150 --probe 2x12 text.txt -o t.h5
    cat >c.json <<'JSON'
{"vocab_size": 280, "d_model": 16, "n_layers": 2, "n_heads": 2, "n_kv_heads": 1, "d_ff": 40, "seq_len": 24,
 "batch_size": 3, "train_tokens": 8640, "muon_lr": 0.02, "adamw_lr": 0.01}
JSON
}

setup() {
    . "$BATS_TEST_DIRNAME/programs.bash"
    cd "$BATS_FILE_TMPDIR"
    steps=6 dtypes="fp32 bf16"
}

no_card() { QK_EMULATION_CARDS=0 "$@"; }

@test "initial weights are the CPU's, bit for bit" { initial_weights_are_the_cpus; }

@test "two runs give the same bytes, whatever the order of blocks and threads" { two_runs_give_the_same_bytes; }

@test "A to C is A to B to C, in both dtypes" { resuming_is_exact; }

@test "SIGTERM saves, exits 75, and the same command goes on to the same bytes" { stopped_it_goes_on; }

@test "micro-batches and recomputation change rounding only" { micro_batches_change_rounding_only; }

@test "probing and evaluation agree with the CPU" { probing_agrees_with_the_cpu; }

@test "without a card it is one sentence, and auto takes the CPU" { without_a_card_it_says_so; }

@test "bf16 learns as fp32 does" { bf16_learns_as_fp32_does 30 c.json; }

@test "what does not fit is one sentence that says what to lower" {
    export QK_EMULATION_MEMORY=200000
    one_sentence 1 '^qk-train: .*do not fit.*\(lower --micro-batch\|a smaller model\)' \
        qk-train -q --device cuda --config c.json --data t.h5 --steps 1 --micro-batch 3 -o big.h5
    [ ! -e big.h5 ] && [ ! -e big.h5.partial ]
}

@test "a program built without a card's libraries, or beside none, says so" {
    one_sentence 1 '^qk-train: device cuda: ' env CUDA_VISIBLE_DEVICES= "$QK_BIN/qk-train" -q --device cuda --config c.json --data t.h5 --steps 1 -o none.h5
    CUDA_VISIBLE_DEVICES= "$QK_BIN/qk-train" -q --config c.json --data t.h5 --steps 1 -o some.h5
    [ ! -e none.h5 ] && [ -e some.h5 ]
}
