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
