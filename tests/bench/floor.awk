# qk-train --profile with a column more: the seconds in which this machine could do it at best, its
# operations at the rate of large sgemm (GFLOPS) or its bytes at that of copying (GBS), whichever takes longer.
$1 == "class" { sum = 0; print $0 "    floor s"; next }
NF == 7 { floor = $4 / GFLOPS > $5 / GBS ? $4 / GFLOPS : $5 / GBS; sum += floor; printf "%s %10.3f\n", $0, floor; next }
$1 == "together" { printf "%s %61.3f\n", $0, sum; next }
{ print }
