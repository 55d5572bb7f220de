# Prose out of the sources of manuals: one paragraph a line, a blank line after each; documents of about
# 4000 characters, never across two files, end with two more blank lines.
#
#     awk -v form=pod|asciidoc|fortune|gloss -f prose.awk FILE...
#
# Dropped: code, tables, directives, paragraphs shorter than `least` characters or with too few letters,
# and every paragraph seen before.  Bytes in, bytes out: run under LC_ALL=C.

BEGIN { least = form == "fortune" || form == "gloss" ? 30 : 60; full = 4000 }

function out(text,    letters) {
    gsub(/[ \t\r]+/, " ", text)
    sub(/^ /, "", text); sub(/ $/, "", text)
    if (length(text) < least || (text in seen)) return
    letters = text
    gsub(/[^A-Za-z ]/, "", letters)
    if (length(letters) < 0.8 * length(text)) return
    seen[text] = 1
    print text "\n"
    written += length(text)
    if (written >= full) close_document()
}

function close_document() {
    if (written) print "\n"
    written = 0
}

function close_paragraph() {
    if (text != "") out(form == "pod" ? plain_pod(text) : form == "asciidoc" ? plain_asciidoc(text) : text)
    text = ""
}

# C<code>, L<text|target>, nested ones from the inside out; C<< code >> first.
function plain_pod(s,    inner, letter, head, tail) {
    gsub(/E<lt>/, "\001", s); gsub(/E<gt>/, "\002", s); gsub(/[XZ]<[^<>]*>/, "", s)
    while (match(s, /[BCFILSE]<<+ /)) {
        head = substr(s, 1, RSTART - 1); inner = substr(s, RSTART + RLENGTH)
        if (!match(inner, / >>+/)) { s = head inner; continue }
        tail = substr(inner, RSTART + RLENGTH); inner = substr(inner, 1, RSTART - 1)
        gsub(/</, "\001", inner); gsub(/>/, "\002", inner)
        s = head inner tail
    }
    while (match(s, /[BCFILSE]<[^<>]*>/)) {
        letter = substr(s, RSTART, 1)
        inner = substr(s, RSTART + 2, RLENGTH - 3)
        if (letter == "L") sub(/\|.*/, "", inner)
        s = substr(s, 1, RSTART - 1) inner substr(s, RSTART + RLENGTH)
    }
    gsub(/\001/, "<", s); gsub(/\002/, ">", s)
    return s
}

function plain_asciidoc(s) {
    gsub(/[`*_]|\+\+|''/, "", s)
    while (match(s, /(linkgit|link|xref|footnote):?[^ \[]*\[[^\]]*\]/)) {
        inner = substr(s, RSTART, RLENGTH)
        if (inner ~ /^linkgit:/) { sub(/^linkgit:/, "", inner); gsub(/[\[]/, "(", inner); gsub(/\]/, ")", inner) }
        else { sub(/^[^\[]*\[/, "", inner); sub(/\]$/, "", inner) }
        s = substr(s, 1, RSTART - 1) inner substr(s, RSTART + RLENGTH)
    }
    gsub(/<<[^>]*>>/, "", s)
    return s
}

FNR == 1 { close_paragraph(); close_document(); listing = ""; verbatim = skipping = 0 }

form == "gloss" { # "offset ... | the gloss; "an example""
    if (split($0, half, / \| /) < 2) next
    split(half[1], field, " ")
    word = field[5]; gsub(/_|\(.*/, " ", word)
    # A gloss in three is plenty.
    if (NR % 3 == 0) out(word ": " half[2])
    next
}
form == "fortune" && /^%/ { close_paragraph(); next }
form == "fortune" { text = text " " $0; next }

/^[ \t\r]*$/ { close_paragraph(); verbatim = 0; next }
form == "pod" && /^=/ { close_paragraph(); skipping = /^=(for|begin)/ ? 1 : /^=(end|cut|head|item|over|back)/ ? 0 : skipping; next }
form == "pod" && text == "" && /^[ \t]/ { verbatim = 1 }
form == "pod" { if (!verbatim && !skipping) text = text " " $0; next }
# A ruler as long as the line above it makes that line a title; else it opens or closes a listing.
form == "asciidoc" && /^(-+|=+|~+|\^+|\++)[ \t]*$/ && listing == "" && text != "" && (length($0) - length(text) + 1) ^ 2 <= 9 { text = ""; next }
form == "asciidoc" && /^(----+|\.\.\.\.+|\+\+\+\++|====+|\|===+)[ \t]*$/ { close_paragraph(); listing = listing == "" ? $1 : listing == $1 ? "" : listing; next }
form == "asciidoc" && listing != "" { next }
form == "asciidoc" && (/^[=~^+.*:\[\/-]/ || /::[ \t]*$/ || /^(ifdef|ifndef|endif|include|ifeval)/) { close_paragraph(); if ($0 ~ /^[*-] /) text = substr($0, 3); next }
form == "asciidoc" { text = text " " $0; next }

END { close_paragraph(); close_document() }
