# libcublasLt.so.13 is loaded when a card is opened, and is not ours to pack.  find_cublaslt puts its folder into
# LD_LIBRARY_PATH where the loader would not find it by itself: CUDA's own folders, and those that Python
# packages (PyTorch's, for one) bring along.
find_cublaslt() {
    local name=libcublasLt.so.13 folder
    while IFS= read -r -d : folder; do
        [ ! -e "$folder/$name" ] || return 0
    done <<<"${LD_LIBRARY_PATH-}:"
    ! { /sbin/ldconfig -p 2>/dev/null || ldconfig -p 2>/dev/null; } | grep -q "$name" || return 0
    for folder in /usr/local/cuda*/lib64 /usr/local/cuda*/targets/x86_64-linux/lib /opt/cuda*/lib64 \
        ${VIRTUAL_ENV:+"$VIRTUAL_ENV"/lib/python3*/site-packages/nvidia/{cu13,cublas}/lib} \
        ${CONDA_PREFIX:+"$CONDA_PREFIX"/lib "$CONDA_PREFIX"/lib/python3*/site-packages/nvidia/{cu13,cublas}/lib} \
        $(packages_of_python) {/usr,/usr/local,"$HOME"/.local}/lib/python3*/{site,dist}-packages/nvidia/{cu13,cublas}/lib \
        /opt/*/lib/python3*/site-packages/nvidia/{cu13,cublas}/lib; do
        if [ -e "$folder/$name" ]; then
            export LD_LIBRARY_PATH=$folder${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
            return 0
        fi
    done
    return 1
}

packages_of_python() {
    command -v python3 >/dev/null || return 0
    python3 -c 'import sysconfig
for part in ("cu13", "cublas"): print(sysconfig.get_paths()["purelib"] + "/nvidia/" + part + "/lib")' 2>/dev/null
}
