# What make bench rests on: times and memory as they were, bars judged right.  No test asserts a speed.

setup() {
    cd "$BATS_TEST_DIRNAME/../.."
    measure=$PWD/$BUILD/bench/measure
}

@test "measure tells time, memory and status of a command, and ends with its status" {
    run "$measure" "$BATS_TEST_TMPDIR/m" sh -c 'sleep 0.05; exit 3'
    [ "$status" -eq 3 ]
    jq -e '.status == 3 and .wall_s >= 0.05 and .wall_s < 60 and .max_rss_bytes > 100000 and .user_s >= 0 and .sys_s >= 0' "$BATS_TEST_TMPDIR/m"
    run "$measure" "$BATS_TEST_TMPDIR/m" no-such-program
    [ "$status" -eq 127 ]
}

@test "measure -l notes when each line came" {
    run "$measure" -l "$BATS_TEST_TMPDIR/m" sh -c 'echo a; sleep 0.5; echo b; echo c'
    [ "$status" -eq 0 ]
    jq -e '(.lines_s | length) == 3 and .lines_s[1] - .lines_s[0] >= 0.05 and .lines_s[2] <= .wall_s' "$BATS_TEST_TMPDIR/m"
}

row() { # FIGURE WHO VALUE [VARIANT]
    jq -cn --arg figure "$1" --arg who "$2" --argjson value "$3" --arg variant "${4:-}" '$ARGS.named' >>"$BATS_TEST_TMPDIR/runs"
}
table() { jq -s --slurpfile figures tests/bench/figures.json --argjson threads 2 -f tests/bench/table.jq "$BATS_TEST_TMPDIR/runs" >"$BATS_TEST_TMPDIR/table"; }
holds() { jq -e "$1" "$BATS_TEST_TMPDIR/table" >/dev/null || { cat "$BATS_TEST_TMPDIR/table"; return 1; }; }

@test "the table takes medians, the better variant of a peer, and judges every kind of bar" {
    for value in 100 300 200; do row mini.tokens qk $value; done
    row mini.tokens ceiling 400
    row mini.tokens "torch 1.13.1" 100 jemalloc
    row mini.tokens "torch 2.9.0" 90 jemalloc
    row mini.tokens "torch 2.9.0" 250 default
    row mini.scaling qk 1.9
    row mini.rss qk 100
    row mini.rss "torch 1.13.1" 300
    row bpe.train qk 61
    table
    holds 'map(select(.who == "qk" and .figure == "mini.tokens"))[0] | .value == 200 and .share == 0.5 and .met == false'
    holds 'map(select(.figure == "mini.tokens" and (.who | startswith("torch 1"))))[0] | .ratio == 2 and .met == false'
    holds 'map(select(.who == "torch 2.9.0"))[0] | .variant == "default" and .ratio == 0.8 and .bar.ratio == 1 and .met == false'
    holds 'map(select(.figure == "mini.scaling"))[0].met == true'
    holds 'map(select(.figure == "mini.rss" and .who != "qk"))[0] | .ratio == 3 and .met == true'
    holds 'map(select(.figure == "bpe.train"))[0] | .bar.most == 60 and .met == false'
    run jq -r -f tests/bench/print.jq "$BATS_TEST_TMPDIR/table"
    [ "$status" -eq 0 ]
    [[ $output == *"mini: training, all threads"$'\t'"qk"$'\t'"200"* ]]
    [[ $output == *"≥ 2.2 ×"$'\t'"no"* ]]
}

@test "made-up words are the same in every run, and as many as asked for" {
    awk -v bytes=20000 -f tests/bench/words.awk >"$BATS_TEST_TMPDIR/text"
    size=$(wc -c <"$BATS_TEST_TMPDIR/text")
    [ "$size" -ge 20000 ] && [ "$size" -lt 21000 ]
    run cksum <"$BATS_TEST_TMPDIR/text"
    [ "$output" = "822629351 20228" ]
}

@test "the scripts of the bench are whole" {
    for script in tests/bench/run tests/bench/instructions tests/bench/*.sh tests/bench/*.bash; do bash -n "$script"; done
    command -v python3 >/dev/null || skip "no python3 here: the peers' scripts are not looked at"
    for script in tests/bench/peers/*.py; do
        python3 -c 'import ast, sys; ast.parse(open(sys.argv[1]).read(), sys.argv[1])' "$script"
    done
}

@test "record puts a report into RESULTS.md in place of the one before, and leaves the rest" {
    mkdir -p "$BATS_TEST_TMPDIR/tests/bench"
    cp tests/bench/record tests/bench/RESULTS.md "$BATS_TEST_TMPDIR/tests/bench"
    cd "$BATS_TEST_TMPDIR"
    run tests/bench/record no-such-file
    [ "$status" -eq 1 ]
    for report in first second; do
        echo "the $report report" >report.md
        tests/bench/record report.md
    done
    grep -qx 'the second report' tests/bench/RESULTS.md
    grep -qx '## Instructions' tests/bench/RESULTS.md
    run grep 'the first report' tests/bench/RESULTS.md
    [ "$status" -eq 1 ]
}

@test "gpu.sh runs every part on the CPU at tiny sizes, says that it was no GPU, and writes whole JSON" {
    mkdir "$BATS_TEST_TMPDIR/tmp"
    DEVICE=cpu QUICK=1 PEER_PYTHON=no-such-python GPU_OUT=$BATS_TEST_TMPDIR/gpu TMPDIR=$BATS_TEST_TMPDIR/tmp run tests/bench/gpu.sh
    [ "$status" -eq 0 ] || { echo "$output"; false; }
    [[ $output == *"Not of a GPU: computed by cpu"* ]]
    jq -e '.device_kind == "cpu" and .quick == 1 and .driver == null and .bf16_peak_tflops == null and .best_product_tflops > 0 and .copy_gbs > 0
        and .parts == " ceilings 88m 1b58 attention profile probe checkpoint torch"' "$BATS_TEST_TMPDIR/gpu.json" || { cat "$BATS_TEST_TMPDIR/gpu.json"; false; }
    for figure in ceilings:TFLOP/s ceilings:GB/s 88m:tokens/s 1b58:tokens/s 88m:TFLOP/s 88m:% 88m:MB attention:TFLOP/s "88m profile:ms" "1b58 profile:ms" \
        probe:s checkpoint:s checkpoint:MB/s; do
        jq -e --arg part "${figure%%:*}" --arg unit "${figure#*:}" '[.figures[] | select(.part == $part and .unit == $unit and .who != "any")]
            | length > 0 and all(.value != null and .command != "")' "$BATS_TEST_TMPDIR/gpu.json" || { echo "no $figure"; false; }
    done
    jq -e '[.profile[] | select(.model == "1b58")] | length == 9 and (map(.gflop) | add) > 0' "$BATS_TEST_TMPDIR/gpu.json"
    jq -e '.losses | map(.losses | length) | min >= 8' "$BATS_TEST_TMPDIR/gpu.json"
    jq -e '.left_out | length == 1 and (.[0] | contains("PyTorch"))' "$BATS_TEST_TMPDIR/gpu.json" || { jq .left_out "$BATS_TEST_TMPDIR/gpu.json"; false; }
    [ -z "$(ls "$BATS_TEST_TMPDIR/tmp")" ]
}

@test "gpu.sh keeps what was done when its time is over, and refuses parts and devices that are not there" {
    DEVICE=cpu QUICK=1 LIMIT=0 PEER_PYTHON=no-such-python GPU_OUT=$BATS_TEST_TMPDIR/gpu run tests/bench/gpu.sh 88m
    [ "$status" -eq 1 ]
    [[ $output == *"no time was left"* ]]
    run tests/bench/gpu.sh celings
    [ "$status" -eq 1 ]
    [[ $output == *"celings is no part"* ]]
    DEVICE=cuda:7 run tests/bench/gpu.sh
    [ "$status" -eq 1 ]
    [[ $output == *"device cuda:7 cannot be had"* ]]
}

@test "the table of a GPU's figures puts ours beside each peer, and its JSON holds odd values" {
    cd "$BATS_TEST_TMPDIR"
    top=$BATS_TEST_DIRNAME/../..
    printf 'chip\tA "card"\t\nquick\t0\tnumber\ndriver\t\t\n' >machine
    printf '88m\ttraining\tqk\t3000\ttokens/s\tc\n88m\ttraining\ttorch 2\t1500\ttokens/s\tc\n88m\tpeak memory\tqk\t10\tMB\tc\n88m\tpeak memory\ttorch 2\t35\tMB\tc\n88m\todd\tqk\tnan\ts\tc\n' >rows
    printf '88m\tmatmul\t0.002\t800\t1\t0.001\n' >classes
    printf '88m\tqk\t1.5 1.25\n' >losses
    : >left_out
    run awk -f "$top/tests/bench/gpu_table.awk" rows classes
    [[ $output == *"| torch 2 |  1,500 | tokens/s | 2.00 × |"* ]] && [[ $output == *"|   35.0 |       MB | 3.50 × |"* ]] || { echo "$output"; false; }
    [[ $output == *"| matmul   | 2.000 |     1.000 |   1.000 | 800.00 | 1.000 |   400.0 |"* ]] || { echo "$output"; false; }
    awk -f "$top/tests/bench/gpu_json.awk" machine rows classes losses left_out >json
    jq -e '.chip == "A \"card\"" and .quick == 0 and .driver == null and .figures[4].value == null and .profile[0].floor_seconds == 0.001
        and .losses[0].losses == [1.5, 1.25]' json || { cat json; false; }
}

@test "the table of compiled kernels: what fits a multiprocessor, registers and spills of each architecture" {
    cd "$BATS_TEST_TMPDIR"
    {
        printf 'code\tvoid k<float, 8>(float*, f(int))\tnorm\t80\t64\t12\t1024\t256\ncode\tvoid k<float, 8>(float*, f(int))\tnorm\t90\t100\t0\t1024\t256\n'
        printf 'op\tvoid k<float, 8>(float*, f(int))\tLDG\t16\t3\nop\tvoid k<float, 8>(float*, f(int))\tLDG\t4\t1\nop\tvoid k<float, 8>(float*, f(int))\tHMMA\t0\t64\n'
        printf 'asked\tk<float, 8>\t75776\nasked\tk<float, 8>\t100\n'
    } >facts
    run awk -v archs="80 90" -v sass=1 -f "$BATS_TEST_DIRNAME/../bench/gpu_code.awk" facts
    # 104 registers of 256 threads fit twice, 75 + 1 + 1 KiB of shared memory of 228 also twice
    [ "${lines[2]}" = '| norm | `k<float, 8>` | 64, 100 | 12, 0 | 256 | 76800 | 2 | 16 | 16:3 4:1 |  | 64 |  |  |' ] || { echo "$output"; false; }
    run awk -v archs="90" -v sass= -f "$BATS_TEST_DIRNAME/../bench/gpu_code.awk" facts
    [ "${lines[2]}" = '| norm | `k<float, 8>` | 100 | 0 | 256 | 76800 | 2 | 16 |' ] || { echo "$output"; false; }
}
