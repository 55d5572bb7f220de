# What the command-line tests share; `load helpers` at the top of a file.

bats_require_minimum_version 1.5.0

make_input=$QK_BIN/../tests/make_input # small HDF5 files, whole or wrong in one way

# The command ends with STATUS and the one SENTENCE on stderr (a usage line may follow with 2); there is
# nothing on stdout, no output named `out` and no temporary.
fails() { # STATUS SENTENCE COMMAND...
    local status=$1 sentence=$2 seen=0
    shift 2
    "$@" >stdout 2>stderr || seen=$?
    cat stderr
    [ $seen -eq "$status" ]
    [ "$(head -n 1 stderr)" = "$sentence" ]
    [ "$status" -eq 2 ] || [ "$(wc -l <stderr)" -eq 1 ]
    [ ! -s stdout ]
    [ ! -e out ] && [ -z "$(find . -name '*.tmp')" ]
}

# In the folder: t.h5 c.h5 c.json, and what the tools make of them: log, probes.json, the results of three
# conditions, study.json and judged.json.
study_inputs() {
    local tag pr=3
    "$make_input" tokens t.h5
    "$make_input" checkpoint c.h5
    "$make_input" config c.json
    qk-train -q --config c.json --data t.h5 --until 32 -o b.h5 --log log --val-at every:16 --keys-at every:16 --keys-dir .
    qk-probe -q keys-*.h5 >probes.json
    rm b.h5 keys-*.h5
    for tag in QK QK_frozen NoQK; do
        jq -n --arg tag $tag --argjson pr $pr '{tag: $tag, tokens: [0, 16, 32], loss: [null, 3.4, 3.3],
            val_loss: [3.5, 3.4, 3.3], mean_pr: [4, 3.5, $pr], layer_pr: {"0": [4, 3.5, $pr]},
            gamma_cv: {"0": [0, 0.01, 0.02]}, seed: 42}' >$tag.json
        pr=$((pr + 1))
    done
    qk-aggregate combine A=QK.json B=QK_frozen.json C=NoQK.json -o study.json
    qk-aggregate verdict --study causal50m study.json -o judged.json
}
