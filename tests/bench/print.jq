# The rows of table.jq -> lines of cells separated by tabs, for people.

def digits: tostring | if length > 3 and test("^[0-9]+$") then (.[:-3] | digits) + "," + .[-3:] else . end;
def fixed($n): (. * pow(10; $n) | round) as $scaled | ($scaled | tostring) as $s
    | if $n == 0 then $s else (if ($s | length) <= $n then ("0" * ($n + 1 - ($s | length))) + $s else $s end) | .[:-$n] + "." + .[-$n:] end;
def figure: if . == null then "" elif . >= 1000 then round | digits elif . >= 100 then fixed(0) elif . >= 10 then fixed(1) else fixed(2) end;
def percent: if . == null then "" else (100 * . | round | tostring) + " %" end;
def bar: if . == null then "" elif .share then "≥ " + (.share | percent) elif .ratio then "≥ " + (.ratio | tostring) + " ×"
    elif .least then "≥ " + (.least | tostring) else "≤ " + (.most | tostring) end;
["what", "who", "figure", "unit", "ratio", "ceiling", "share", "bar", "met"],
(.[] | [if .who == "qk" then .title else "" end, .who + (if .variant == "jemalloc" then ", jemalloc" else "" end), (.value | figure), .unit,
    if .ratio then (.ratio | figure) + " ×" else "" end, (.ceiling | figure), (.share | percent), (.bar | bar),
    if .met == true then "yes" elif .met == false then "no" else "" end])
| join("\t")
