# The data rules' scripts, on small inputs of each form, and what they say when something is missing.

setup() { cd "$BATS_TEST_DIRNAME/../.."; }

prose() { LC_ALL=C awk -v form="$1" -f data/prose.awk "$BATS_TEST_TMPDIR/in"; }
# A PATH with nothing but the named programs.
only() {
    rm -rf "$BATS_TEST_TMPDIR/path"
    mkdir "$BATS_TEST_TMPDIR/path"
    for program in "$@"; do ln -s "$(command -v "$program")" "$BATS_TEST_TMPDIR/path/$program"; done
}

@test "pod: markup goes, code, headings and repetitions are left out" {
    cat >"$BATS_TEST_TMPDIR/in" <<'EOF'
=head1 A heading that is long enough to be taken for a paragraph of prose

Run C<perldoc L<perlrun|the page>> to learn B<I<everything>> about how
the interpreter is started; X<index>compare E<lt>thisE<gt>.

    print "a verbatim paragraph is code and not prose, however long it is";

Too short.

Run C<perldoc L<perlrun|the page>> to learn B<I<everything>> about how
the interpreter is started; X<index>compare E<lt>thisE<gt>.

=begin html

What is meant for another formatter only is not prose that anybody would read here.

=end html

The C<< $a <=> $b >> operator compares two numbers and says which of them comes first.
EOF
    run prose pod
    [ "$status" -eq 0 ]
    [ "${lines[0]}" = "Run perldoc perlrun to learn everything about how the interpreter is started; compare <this>." ]
    [ "${lines[1]}" = "The \$a <=> \$b operator compares two numbers and says which of them comes first." ]
    [ "${#lines[@]}" -eq 2 ]
}

@test "asciidoc: titles, listings and attributes go, links keep their words" {
    cat >"$BATS_TEST_TMPDIR/in" <<'EOF'
git-thing(1)
============

NAME
----
git-thing - a thing that does something which nobody else does in quite this way

A paragraph about linkgit:git-log[1] that explains `some` of what it does
and goes on in a second line.

------------
$ a listing is not prose, however long a line of it may be, and so it is dropped
------------

:attribute: is not prose either, and it is long enough to be taken for a paragraph

After the listing there is prose again, which has to be found by the reader too.
EOF
    run prose asciidoc
    [ "$status" -eq 0 ]
    [[ $output == *"A paragraph about git-log(1) that explains some of what it does and goes on in a second line."* ]]
    [[ $output == *"After the listing there is prose again"* ]]
    [[ $output != *listing\ is\ not* ]]
    [[ $output != *attribute* ]]
    [[ $output != *NAME* ]]
}

@test "fortunes are paragraphs; documents end with two more blank lines" {
    for i in $(seq 1 200); do printf 'Saying number %s is long enough to be kept\nand has a second line.\n%%\n' "$(tr 0-9 a-j <<<"$i")"; done >"$BATS_TEST_TMPDIR/in"
    prose fortune >"$BATS_TEST_TMPDIR/out"
    [ "$(grep -c '^Saying number' "$BATS_TEST_TMPDIR/out")" -eq 200 ]
    # 200 paragraphs of some 65 characters in documents of 4000
    documents=$(awk '/^$/ { blank++; next } { if (blank > 2) n++; blank = 0 } END { print n + 1 }' "$BATS_TEST_TMPDIR/out")
    [ "$documents" -ge 3 ]
    [ "$documents" -le 5 ]
}

@test "a gloss is its word and what stands behind the bar" {
    printf '%s\n' '  1 licence text' '  2 licence text' '00001740 03 n 01 living_thing 0 003 ~ 1 n 0 | a thing that lives; "it moves"' >"$BATS_TEST_TMPDIR/in"
    run prose gloss
    [ "${lines[0]}" = 'living thing: a thing that lives; "it moves"' ]
}

@test "parquet without a reader: what to install" {
    only bash numfmt
    echo x >"$BATS_TEST_TMPDIR/in"
    PATH=$BATS_TEST_TMPDIR/path run bash data/parquet "$BATS_TEST_TMPDIR/in" 5K
    [ "$status" -eq 1 ]
    [[ $output == *"duckdb"*"pyarrow"*"DATA=FILE"* ]]
}

@test "a download without curl or wget: what to install" {
    only bash mkdir dirname
    PATH=$BATS_TEST_TMPDIR/path run bash data/fetch http://localhost/nothing "$BATS_TEST_TMPDIR/got"
    [ "$status" -eq 1 ]
    [[ $output == *"neither curl nor wget"* ]]
    [ ! -e "$BATS_TEST_TMPDIR/got" ]
}

@test "Debian text without apt-get: DATA=FILE is offered" {
    only bash
    PATH=$BATS_TEST_TMPDIR/path run bash data/unpack fortunes "$BATS_TEST_TMPDIR/got"
    [ "$status" -eq 1 ]
    [[ $output == *"no apt-get"*"DATA=FILE"* ]]
}
