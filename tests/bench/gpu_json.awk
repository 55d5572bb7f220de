# The files of tests/bench/gpu.sh -> one JSON object: machine (NAME<TAB>VALUE), rows, classes, losses, left_out.
function text(s) {
    gsub(/\\/, "\\\\", s); gsub(/"/, "\\\"", s); gsub(/[[:cntrl:]]/, " ", s)
    return "\"" s "\""
}
# Not a number, infinite or empty: null.
function number(s) { return s ~ /^-?[0-9]+(\.[0-9]*)?([eE][-+]?[0-9]+)?$/ ? (s + 0 == 0 ? "0" : s) : "null" }
function open_list(name) { if (list == name) { printf ",\n    "; return }; close_list(); printf ",\n  %s: [\n    ", text(name); list = name }
function close_list() { if (list != "") printf "\n  ]"; list = "" }
BEGIN { FS = "\t"; printf "{\n  \"kind\": \"gpu-bench\"" }
{ file = FILENAME; sub(/.*\//, "", file) }
file == "machine" { close_list(); printf ",\n  %s: %s", text($1), $2 == "" ? "null" : $3 == "number" ? number($2) : text($2) }
file == "rows" {
    open_list("figures")
    printf "{\"part\": %s, \"what\": %s, \"who\": %s, \"value\": %s, \"unit\": %s, \"command\": %s}", text($1), text($2), text($3), number($4), text($5), text($6)
}
file == "classes" {
    open_list("profile")
    printf "{\"model\": %s, \"class\": %s, \"seconds\": %s, \"gflop\": %s, \"gb\": %s, \"floor_seconds\": %s}", text($1), text($2), number($3), number($4), number($5), number($6)
}
file == "losses" {
    open_list("losses")
    n = split($3, loss, " ")
    printf "{\"model\": %s, \"who\": %s, \"losses\": [", text($1), text($2)
    for (i = 1; i <= n; i++) printf "%s%s", (i > 1 ? ", " : ""), number(loss[i])
    printf "]}"
}
file == "left_out" { open_list("left_out"); printf "%s", text($0) }
END { close_list(); print "\n}" }
