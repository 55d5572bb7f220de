# Finding the peers that are installed, and running them.  A peer that is not there, or that fails, is
# named in $work/missing and is never an error.

missing() { echo "$*" >>"$work/missing"; say "$*"; }

# What a Python can do, as JSON: versions by module.
look_at_python() { # PYTHON
    "$1" - 2>/dev/null <<'PY'
import importlib, json, subprocess
found = {}
for name in ("torch", "numpy", "h5py", "tiktoken", "tokenizers"):
    try:
        module = importlib.import_module(name)
        found[name] = str(module.__version__)
        if module.__file__.startswith("/usr/lib/python3/dist-packages/"):  # Debian's torch does not know its own
            ask = ["dpkg-query", "-W", "-f", "${Version}", "python3-" + name]
            found[name] = subprocess.run(ask, capture_output=True, text=True, check=True).stdout
    except Exception:
        pass
print(json.dumps({name: version.split("+")[0].split("-")[0].split(":")[-1] for name, version in found.items()}))
PY
}

# Fills `found` with "MODULE|VERSION|PYTHON", every version once, and trainers with "WHO|VARIANT|PYTHON|FLAGS".
# The kernels are forced as the tools choose them, for a BLAS that does not know the processor.
find_peers() {
    found=() trainers=()
    local python versions module version folder core
    tuned=(OMP_PROC_BIND=true OMP_PLACES=cores TORCHINDUCTOR_CACHE_DIR="$work/inductor" TOKENIZERS_PARALLELISM=false)
    core=$("$bin/qk-train" --version | sed -n 's/^BLAS: .*, \(.*\) kernels$/\1/p')
    [ -z "$core" ] || tuned+=(OPENBLAS_CORETYPE="$core")
    for folder in /usr/lib/*/openblas-openmp; do [ ! -d "$folder" ] || tuned+=(LD_LIBRARY_PATH="$folder"); done
    jemalloc=$(find /usr/lib -maxdepth 3 -name 'libjemalloc.so.*' 2>/dev/null | head -n 1)
    for python in ${PEER_PYTHON:-/usr/bin/python3 python3}; do
        python=$(command -v "$python") && versions=$(look_at_python "$python") || continue
        for module in torch numpy h5py tiktoken tokenizers; do
            version=$(jq -r ".$module // empty" <<<"$versions")
            [ -n "$version" ] && [[ " ${found[*]} " != *" $module|$version|"* ]] || continue
            found+=("$module|$version|$python")
            [ $module != torch ] || add_trainers "$version" "$python"
        done
    done
    local absent=
    for module in torch numpy h5py tiktoken tokenizers; do
        [[ " ${found[*]} " == *" $module|"* ]] || absent+=" $module"
    done
    [ -z "$absent" ] || missing "not installed:$absent (pip install$absent; PEER_PYTHON names the Pythons to try)"
    [ ${#trainers[@]} = 0 ] || [ -n "$jemalloc" ] || missing "no jemalloc: PyTorch runs on the C library's malloc; package libjemalloc2"
}

# Old versions gain from jemalloc; newer ones are tried with and without, and the better is taken.
add_trainers() { # VERSION PYTHON
    local variants=(default) variant
    [ -z "$jemalloc" ] || { [[ $1 == 1.* ]] && variants=(jemalloc) || variants=(jemalloc default); }
    [ "${QUICK:-0}" = 0 ] || variants=("${variants[0]}")
    for variant in "${variants[@]}"; do
        trainers+=("torch $1|$variant|$2|")
        [[ $1 == 1.* ]] || ! command -v "${CXX:-g++}" >/dev/null || trainers+=("torch $1 compiled|$variant|$2|--compile")
    done
    [[ $1 == 1.* ]] || command -v "${CXX:-g++}" >/dev/null || missing "no C++ compiler: torch.compile needs one; package g++"
}

peer() { # VARIANT COMMAND...: run tuned; $work/out holds its JSON.  Nonzero when it failed.
    local environment=("${tuned[@]}" OMP_NUM_THREADS="$processors")
    [ "$1" != jemalloc ] || environment+=(LD_PRELOAD="$jemalloc" MALLOC_CONF=dirty_decay_ms:-1,muzzy_decay_ms:-1)
    shift
    measured env "${environment[@]}" timeout --foreground "${PEER_TIMEOUT:-600}" "$@" && jq -e . "$work/out" >/dev/null 2>&1
}

# One round of every PyTorch on a model.  After a first round, and on a large model, only with the allocator
# that was better so far.
train_peers() { # MODEL ROUND STEPS WARMUP
    local entry who variant python flags rate
    for entry in "${trainers[@]}"; do
        IFS='|' read -r who variant python flags <<<"$entry"
        [ "$2" = 1 ] && [ "$1" != 88m ] || better_variant "$1" "$who" "$variant" || continue
        # shellcheck disable=SC2086 # flags may be none
        if ! peer "$variant" "$python" tests/bench/peers/train_torch.py "$work/$1.json" --steps "$3" --warmup "$4" \
            --threads "$processors" $flags; then
            missing "$who failed on $1: $(tail -n 1 "$work/err" | cut -c 1-200)"
            continue
        fi
        rate=$(jq "$MEDIAN .tokens_per_step / (.step_s | median)" "$work/out")
        record "$1.tokens" "$who" "$rate" "$variant"
        record "$1.rss" "$who" "$(took '.max_rss_bytes / 1e6')" "$variant"
    done
}

better_variant() { # MODEL WHO VARIANT: whether it is the best on the model, or else on small, or nothing is known
    jq -es --arg model "$1" --arg who "$2" --arg variant "$3" "$MEDIAN"'
        map(select(.who == $who)) | (map(select(.figure == $model + ".tokens")) | select(length > 0)) // map(select(.figure == "small.tokens"))
        | group_by(.variant) | map({variant: .[0].variant, rate: (map(.value) | median)})
        | length == 0 or max_by(.rate).variant == $variant' "$work/runs" >/dev/null
}

# What one of the small scripts prints as {"value": ...}, of every version found: FIGURE MODULE SCRIPT ARGUMENT...
script_peer() {
    local entry module version python
    for entry in "${found[@]}"; do
        IFS='|' read -r module version python <<<"$entry"
        [ "$module" = "$2" ] || continue
        if peer default "$python" "tests/bench/peers/$3" "${@:4}"; then
            record "$1" "$module $version" "$(jq .value "$work/out")"
        else
            missing "$module $version failed ($3): $(tail -n 1 "$work/err" | cut -c 1-200)"
        fi
    done
}
