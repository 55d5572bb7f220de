# The house rules hold, and the checks that say so can fail.

setup() { cd "$BATS_TEST_DIRNAME/../.."; }

# A small tree of its own: plant a file, run the check in it.
plant() { # PATH TEXT
    mkdir -p "$BATS_TEST_TMPDIR/tree/$(dirname "$1")"
    printf '%s\n' "$2" >"$BATS_TEST_TMPDIR/tree/$1"
    top=$PWD
    cd "$BATS_TEST_TMPDIR/tree"
    GIT_CEILING_DIRECTORIES=$BATS_TEST_TMPDIR run "$top/tests/house/layers"
    cd "$top"
}

@test "the tree keeps the house rules" {
    run tests/house/layers
    echo "$output"
    [ "$status" -eq 0 ]
}

@test "a lib/base file that includes the model is found" {
    plant lib/base/planted.c '#include "model/config.h"'
    [ "$status" -eq 1 ]
    [[ $output == *"lib/base/planted.c:1: lib/base may not include model/"* ]]
}

@test "the way down is allowed" {
    plant lib/study/train/planted.c '#include "base/err.h"'
    [ "$status" -eq 0 ]
    plant lib/study/train/planted.c '#include "study/measure/keys.h"'
    [ "$status" -eq 0 ]
}

@test "a measure that includes the training it measures is found" {
    plant lib/study/measure/planted.c '#include "study/train/train.h"'
    [ "$status" -eq 1 ]
    [[ $output == *"lib/study/measure/planted.c:1: lib/study/measure may not include study/train/"* ]]
}

@test "hdf5.h outside lib/base/h5*.c is found" {
    plant lib/model/planted.c '#include <hdf5.h>'
    [ "$status" -eq 1 ]
    [[ $output == *"only lib/base/h5*.c"* ]]
}

@test "CUDA outside lib/compute/cuda is found" {
    plant lib/model/planted.c '#include <cuda_runtime.h>'
    [ "$status" -eq 1 ]
    [[ $output == *"lib/model/planted.c"*"only lib/compute/cuda"* ]]
}

@test "PTX outside ptx.cuh, and a launch that only nvcc understands, are found" {
    plant lib/compute/cuda/planted.cu 'asm volatile("exit;");'
    [ "$status" -eq 1 ]
    [[ $output == *"PTX lives in ptx.cuh"* ]]
    plant lib/compute/cuda/planted.cu 'kernel<<<1, 32>>>();'
    [ "$status" -eq 1 ]
    [[ $output == *"launched by qk_cuda_launch"* ]]
}

@test "an unsafe function is found" {
    plant tools/planted.c 'int f(const char *s) { return atoi(s); }'
    [ "$status" -eq 1 ]
}

@test "a ! that no test fails by is found; as the last line, or before ||, it counts" {
    plant tests/cli/planted.bats $'@test "x" {\n    ! true\n    true\n}'
    [ "$status" -eq 1 ]
    [[ $output == *"tests/cli/planted.bats:2: bats does not fail"* ]]
    plant tests/cli/planted.bats $'@test "x" {\n    ! false || skip\n    ! false\n}'
    [ "$status" -eq 0 ]
}

@test "a strange name at the top is found" {
    plant notes.txt 'hello'
    [ "$status" -eq 1 ]
}

@test "make help lists every target that people call" {
    run make help
    [ "$status" -eq 0 ]
    for target in deps check check-sanitize check-gpu gpu-bundle lint bench pipelines/causal50m figures health status install uninstall dist clean; do
        [[ $output == *"make $target"* ]] || { echo "$target is not in make help"; false; }
    done
}

@test "every tool has a man page, --help and --version" {
    shopt -s nullglob
    for source in tools/qk-*.c; do
        tool=$(basename "$source" .c)
        [ -s "tools/$tool.1" ] || { echo "tools/$tool.1 is missing"; false; }
        run "$QK_BIN/$tool" --help
        [ "$status" -eq 0 ]
        [[ $output == *"$tool"* ]]
        run "$QK_BIN/$tool" --version
        [ "$status" -eq 0 ]
    done
}

@test "install puts programs, pages and plugin below DESTDIR and PREFIX, uninstall takes them away" {
    # Dry: the makefile would build another flavour than the one under test.
    run make -n install DESTDIR="$BATS_TEST_TMPDIR/stage" PREFIX=/opt/qk
    [ "$status" -eq 0 ]
    [[ $output == *"$BATS_TEST_TMPDIR/stage/opt/qk/bin"* ]]
    [[ $output == *"$BATS_TEST_TMPDIR/stage/opt/qk/lib/qk/hdf5"* ]]
}

@test "the failure of a test is counted and shown, and tests/run fails" {
    mkdir -p "$BATS_TEST_TMPDIR/b"
    printf '@test "good" { true; }\n@test "bad" { echo reason; false; }\n@test "left" { skip "no moon"; }\n' \
        >"$BATS_TEST_TMPDIR/x.bats"
    run tests/run "$BATS_TEST_TMPDIR/b" "$BATS_TEST_TMPDIR/x.bats"
    [ "$status" -eq 1 ]
    [ "${lines[-1]}" = "1 passed, 1 failed, 1 skipped" ]
    [[ $output == *"FAILED $BATS_TEST_TMPDIR/x.bats: bad"* ]]
    [[ $output == *"reason"* ]]
    [[ $output == *"left: no moon"* ]]
}
