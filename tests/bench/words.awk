# Made-up English: 20,000 words with Zipf's frequencies, in paragraphs, `bytes` of them.  The same on
# every machine and in every awk: the generator is Park and Miller's, exact in doubles.
function random() { state = state * 16807 % 2147483647; return state / 2147483647 }
BEGIN {
    state = 42
    for (i = 0; i < 20000; i++) {
        n = 2 + int(random() * 8)
        for (k = 0; k < n; k++) word[i] = word[i] substr("etaoinshrdlucmfwypvbgkjqxz", 1 + int(26 * random() * random()), 1)
    }
    while (made < bytes) {
        line = ""
        for (s = 0; s < 40; s++) line = line (s ? " " : "") word[int(exp(log(20000) * random())) - 1]
        made += length(line) + 4
        print line ".\n\n"
    }
}
