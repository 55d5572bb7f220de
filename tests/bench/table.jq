# The runs (an array of what tests/bench/run recorded) against figures.json ($figures[0]) -> an array of rows,
# a row for ours and one for each peer, with the bar each has to meet.  $threads: of the machine.

def median: sort | if length == 0 then null elif length % 2 == 1 then .[length / 2 | floor]
    else (.[length / 2 - 1] + .[length / 2]) / 2 end;
# The better of the ways a peer was run in (allocators).
def best($better):
    group_by(.variant) | map({who: .[0].who, variant: .[0].variant, values: map(.value), value: (map(.value) | median)})
    | if $better == "more" then max_by(.value) else min_by(.value) end;
def over($better; $ours; $theirs): if $better == "more" then $ours / $theirs else $theirs / $ours end;
def bar_for($who): . as $bars | [keys[] | select(. as $key | $who | startswith($key))] | max_by(length) | if . then $bars[.] else null end;
# Two threads have to be 1.85 times as fast as one; no bar is set for more.
def least: .least // (if .least_scaling and $threads == 2 then 1.85 else null end);

def our_row($f; $runs):
    ($runs | map(select(.who == "qk"))) as $ours | ($runs | map(select(.who == "ceiling").value) | median) as $ceiling
    | ($ours | map(.value)) as $values | ($values | median) as $value
    | (if $ceiling then over($f.better; $value; $ceiling) else null end) as $share
    | {figure: $f.id, title: $f.title, unit: $f.unit, who: "qk", value: $value, least: ($values | min), most: ($values | max), ceiling: $ceiling, share: $share}
    + if $f.share and $share then {bar: {share: $f.share}, met: ($share >= $f.share)}
      elif ($f | least) then {bar: {least: ($f | least)}, met: ($value >= ($f | least))}
      elif $f.most then {bar: {most: $f.most}, met: ($value <= $f.most)}
      else {} end;
def peer_row($f; $ours; $peer):
    over($f.better; $ours.value; $peer.value) as $ratio | (($f.ratio // {}) | bar_for($peer.who)) as $bar
    | {figure: $f.id, title: $f.title, unit: $f.unit, who: $peer.who, variant: $peer.variant, value: $peer.value,
       least: ($peer.values | min), most: ($peer.values | max), ratio: $ratio}
    + if $bar then {bar: {ratio: $bar}, met: ($ratio >= $bar)} else {} end;

. as $all | [$figures[0][] as $f | ($all | map(select(.figure == $f.id))) as $runs
    | select($runs | any(.who == "qk")) | our_row($f; $runs) as $ours
    | $ours, ($runs | map(select(.who != "qk" and .who != "ceiling")) | group_by(.who)[] | best($f.better) as $peer | peer_row($f; $ours; $peer))]
