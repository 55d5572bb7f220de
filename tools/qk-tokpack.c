/* qk-tokpack: text in, tokens.h5 out; and a byte-level tokenizer by itself. */
#include "common.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/num.h"
#include "base/outfile.h"
#include "study/corpus/complexity.h"
#include "study/corpus/id_text.h"
#include "study/corpus/pack_write.h"

enum { MOST_SPLITS = 64, MOST_BPE = 1 << 22 };

struct settings {
    const char *tokenizer, *export, *probe, *probe_from, *format, *field, *separator, *eot, *filter,
        *rule;
    struct qk_strings splits;
    int64_t vocabulary, memory;
    bool no_eot, encode, decode;
    /* made of them */
    struct qk_split_wish wishes[MOST_SPLITS + 1];
    int wish_count, probe_wish;
    int64_t probe_sequences, probe_length;
    struct qk_buffer separator_bytes;
};

/* ---- options that need reading ---- */

static bool good_name(const char *s)
{
    static const char *const taken[] = {"train", "probe", "tokenizer"};
    for (int i = 0; i < 3; i++)
        if (strcmp(s, taken[i]) == 0)
            return false;
    size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-");
    return n > 0 && s[n] == '\0' && n < 64;
}

/* "val=5M,test=1M" */
static void add_splits(const struct qk_tool *tool, struct settings *s, const char *text)
{
    struct qk_strings parts = {0};
    struct qk_err err;
    qk_strings_split(&parts, text, ',');
    for (size_t i = 0; i < parts.count; i++) {
        char *name = parts.at[i], *equals = strchr(name, '=');
        if (!equals) {
            qk_tool_misuse(tool, "--split: '%s' is not NAME=TOKENS", name);
            return; /* for cppcheck, which cannot see that misuse ends here */
        }
        *equals = '\0';
        if (!good_name(name))
            qk_tool_misuse(tool, "--split: '%s' cannot be the name of a split", name);
        for (int k = 0; k < s->wish_count; k++)
            if (strcmp(s->wishes[k].name, name) == 0)
                qk_tool_misuse(tool, "--split: '%s' is there twice", name);
        if (s->wish_count == MOST_SPLITS)
            qk_tool_misuse(tool, "--split: more than %d splits", MOST_SPLITS);
        struct qk_split_wish *w = &s->wishes[s->wish_count++];
        if (qk_parse_count(equals + 1, &w->tokens, &err) != 0 || w->tokens < 1)
            qk_tool_misuse(tool, "--split: '%s' is no number of tokens for %s", equals + 1, name);
        memcpy(w->name, name, strlen(name) + 1);
    }
    qk_strings_free(&parts);
}

/* "8x2048" */
static void add_probe(const struct qk_tool *tool, struct settings *s, const char *text)
{
    struct qk_strings parts = {0};
    struct qk_err err;
    int64_t tokens;
    if (s->probe_wish >= 0)
        qk_tool_misuse(tool, "--probe is there twice");
    qk_strings_split(&parts, text, 'x');
    if (parts.count != 2 || qk_parse_int(parts.at[0], 1, 1 << 20, &s->probe_sequences, &err) != 0 ||
        qk_parse_int(parts.at[1], 1, 1 << 24, &s->probe_length, &err) != 0)
        qk_tool_misuse(tool, "--probe: '%s' is not SEQUENCESxLENGTH, such as 8x2048", text);
    if (__builtin_mul_overflow(s->probe_sequences, s->probe_length, &tokens) || tokens > 1 << 28)
        qk_tool_misuse(tool, "--probe: %s are too many tokens", text);
    s->probe_wish = s->wish_count++;
    s->wishes[s->probe_wish] = (struct qk_split_wish){.name = "probe", .tokens = tokens};
    qk_strings_free(&parts);
}

/* Splits and probe in the order in which they were given. */
static void read_wishes(const struct qk_tool *tool, struct settings *s)
{
    const struct qk_strings *given = &tool->command.canonical;
    s->probe_wish = -1;
    for (size_t i = 0; i + 1 < given->count; i++) {
        if (strcmp(given->at[i], "--split") == 0)
            add_splits(tool, s, given->at[++i]);
        else if (strcmp(given->at[i], "--probe") == 0)
            add_probe(tool, s, given->at[++i]);
    }
}

/* --doc-sep with \n, \t, \r, \\ undone. */
static void read_separator(const struct qk_tool *tool, struct settings *s)
{
    for (const char *p = s->separator; p && *p; p++) {
        char c = *p;
        if (c == '\\') {
            switch (*++p) {
            case '\0':
                qk_tool_misuse(tool, "--doc-sep: ends in the middle of an escape");
            case 'n':
                c = '\n';
                break;
            case 't':
                c = '\t';
                break;
            case 'r':
                c = '\r';
                break;
            case '\\':
                break;
            default:
                qk_tool_misuse(tool, "--doc-sep: \\%c is none of \\n \\t \\r \\\\", *p);
            }
        }
        qk_buffer_add(&s->separator_bytes, &c, 1);
    }
}

static void check_settings(const struct qk_tool *tool, struct settings *s)
{
    bool words = s->encode || s->decode;
    if (s->encode && s->decode)
        qk_tool_misuse(tool, "--encode and --decode exclude each other");
    if (s->tokenizer && s->vocabulary)
        qk_tool_misuse(tool, "--tokenizer and --train-bpe exclude each other");
    if (!s->tokenizer && !s->vocabulary)
        qk_tool_misuse(tool, "a tokenizer is needed: --tokenizer or --train-bpe");
    if (words && !s->tokenizer)
        qk_tool_misuse(tool, "--%s needs --tokenizer", s->encode ? "encode" : "decode");
    if (words && s->filter)
        qk_tool_misuse(tool, "--filter is for packs, not for --%s",
                       s->encode ? "encode" : "decode");
    if (!s->filter && strcmp(s->rule, "original") == 0)
        qk_tool_misuse(tool, "--filter-rule needs --filter");
    if (words && (s->wish_count || s->probe_from))
        qk_tool_misuse(tool, "--%s makes no splits and no probe batch",
                       s->encode ? "encode" : "decode");
    const struct qk_strings *given = &tool->command.operands;
    bool from_stdin = given->count == 0;
    for (size_t i = 0; i < given->count; i++)
        from_stdin |= strcmp(given->at[i], "-") == 0;
    if (s->tokenizer && strcmp(s->tokenizer, "-") == 0 && from_stdin)
        qk_tool_misuse(tool, "standard input cannot be both the tokenizer and the text");
    if (s->probe && s->probe_from)
        qk_tool_misuse(tool, "--probe and --probe-from exclude each other");
    if (!words && !tool->out && !s->export)
        qk_tool_misuse(tool, "no output given: -o FILE");
    if (tool->out && s->probe_from && strcmp(tool->out, s->probe_from) == 0)
        qk_tool_misuse(tool, "-o and --probe-from are the same file");
    if (tool->out && s->export && strcmp(tool->out, s->export) == 0)
        qk_tool_misuse(tool, "-o and --export-tokenizer are the same file");
    if (s->no_eot && s->eot)
        qk_tool_misuse(tool, "--eot and --no-eot exclude each other");
    if (tool->command.operands.count == 0 && isatty(STDIN_FILENO))
        qk_tool_misuse(tool, "no input given");
}

/* ---- inputs and the tokenizer ---- */

static int open_corpus(const struct qk_tool *tool, const struct settings *s, struct qk_corpus *c,
                       struct qk_err *err)
{
    enum qk_text_format format = strcmp(s->format, "jsonl") == 0  ? QK_FORMAT_JSONL
                                 : strcmp(s->format, "text") == 0 ? QK_FORMAT_TEXT
                                                                  : QK_FORMAT_AUTO;
    struct qk_corpus_options options = {.format = format,
                                        .separator = s->separator_bytes.at,
                                        .separator_size = s->separator_bytes.size,
                                        .field = s->field,
                                        .whole = s->encode,
                                        .repair = s->encode,
                                        .once = s->tokenizer && !s->filter && !s->wish_count,
                                        .most_bytes = (size_t)(s->memory / 8)};
    struct qk_strings standard_input = {0};
    qk_strings_add(&standard_input, "-");
    const struct qk_strings *given = &tool->command.operands;
    int bad = qk_corpus_open(c, &options, given->count ? given : &standard_input, err);
    qk_strings_free(&standard_input);
    return bad;
}

/* The files that a --tokenizer argument stands for. */
static int note_tokenizer(struct qk_provenance *p, const char *path, struct qk_err *err)
{
    static const char *const names[] = {"tokenizer.json", "encoder.json", "vocab.bpe"};
    struct stat st;
    if (stat(path, &st) != 0 || !S_ISDIR(st.st_mode))
        return qk_provenance_input(p, path, err);
    for (int i = 0; i < 3; i++) {
        char *file = qk_format("%s/%s", path, names[i]);
        bool there = access(file, F_OK) == 0;
        int bad = there ? qk_provenance_input(p, file, err) : 0;
        free(file);
        if (bad || (there && i == 0))
            return bad;
    }
    return 0;
}

/* Before any work: no output may be an input. */
static int protect_inputs(const struct qk_tool *tool, const struct settings *s, struct qk_err *err)
{
    const struct qk_strings *given = &tool->command.operands;
    for (size_t i = 0; i < given->count; i++)
        qk_out_protect(given->at[i]);
    if (s->tokenizer)
        qk_out_protect(s->tokenizer);
    if (s->probe_from)
        qk_out_protect(s->probe_from);
    if (tool->out && qk_out_refuse_input(tool->out, err) != 0)
        return -1;
    return s->export ? qk_out_refuse_input(s->export, err) : 0;
}

static void show_training(void *context, int64_t entries)
{
    qk_progress_show(context, entries, "training the tokenizer");
}

static int train_tokenizer(const struct qk_tool *tool, const struct settings *s,
                           struct qk_corpus *corpus, struct qk_tokenizer *t, struct qk_err *err)
{
    struct qk_word_counts counts = {0};
    struct qk_progress progress;
    int64_t documents;
    bool all;
    if (qk_pack_count_words(corpus, &counts, s->memory / 16, (uint64_t)tool->seed, &documents, &all,
                            err) != 0) {
        qk_word_counts_free(&counts);
        return -1;
    }
    if (!all)
        qk_tool_say(tool,
                    "the tokenizer is trained on the first %" PRId64
                    " documents, all that --memory allows",
                    documents);
    qk_progress_begin(&progress, "qk-tokpack", "entries", 0, s->vocabulary, tool->quiet);
    qk_bpe_train(t, &counts, s->vocabulary, show_training, &progress);
    qk_progress_end(&progress);
    qk_word_counts_free(&counts);
    if (t->vocab_size < s->vocabulary)
        qk_tool_say(tool, "the text gives a vocabulary of %" PRId64 " only, not %" PRId64,
                    t->vocab_size, s->vocabulary);
    return 0;
}

static int export_tokenizer(const struct qk_tokenizer *t, const char *path, struct qk_err *err)
{
    struct qk_out *out = qk_out_open(path, err);
    if (!out)
        return -1;
    fwrite(t->json.at, 1, t->json.size, qk_out_stream(out));
    return qk_out_commit(out, err);
}

/* ---- what is asked for ---- */

/* Ids of the corpus, or text of the ids in the inputs, to -o or standard output. */
static int convert(const struct qk_tool *tool, const struct qk_tokenizer *t,
                   struct qk_corpus *corpus, bool to_text, struct qk_err *err)
{
    const struct qk_strings *given = &tool->command.operands;
    struct qk_out *out = qk_out_open(qk_tool_target(tool), err);
    if (!out)
        return -1;
    FILE *to = qk_out_stream(out);
    int bad = to_text ? 0 : qk_encode_corpus(t, corpus, to, err);
    if (to_text && given->count == 0)
        bad = qk_decode_file(t, "-", to, err);
    for (size_t i = 0; to_text && !bad && i < given->count; i++)
        bad = qk_decode_file(t, given->at[i], to, err);
    if (!bad)
        return qk_out_commit(out, err);
    qk_out_discard(out);
    return -1;
}

/* What --filter found, and where it cut. */
static void print_filter(const struct qk_complexity *c)
{
    printf("filter\t%s\t%" PRId64 " of %" PRId64 " documents, score %s %.4f\n",
           c->keep_low ? "simple" : "complex", c->kept, c->documents,
           c->keep_low ? "<=" : ">=", c->keep_low ? c->low : c->high);
    printf("score_deciles");
    for (int k = 0; k <= 10; k++)
        printf("\t%.4f", c->quantiles[k]);
    static const char *const names[] = {"log_words_per_sentence", "letters_per_word",
                                        "rare_word_share"};
    for (int k = 0; k < (c->original ? 0 : QK_MEASURES); k++)
        printf("\n%s\tmean %.4f\tsd %.4f", names[k], c->mean[k], c->sd[k]);
    putchar('\n');
}

static int start_filter(const struct qk_tool *tool, const struct settings *s,
                        struct qk_corpus *corpus, struct qk_complexity *c, struct qk_err *err)
{
    bool simple = strcmp(s->filter, "simple") == 0;
    const uint64_t seed = (uint64_t)tool->seed;
    if (strcmp(s->rule, "original") == 0
            ? qk_complexity_learn_original(c, corpus, simple, seed, err)
            : qk_complexity_learn(c, corpus, simple, s->memory / 8, seed, err))
        return -1;
    if (c->kept == 0)
        return qk_fail(err,
                       "--filter %s would keep none of %" PRId64 " documents: scores are %g to %g",
                       s->filter, c->documents, c->quantiles[0], c->quantiles[10]);
    corpus->keeps = qk_complexity_keeps;
    corpus->keeps_context = c;
    if (!tool->quiet)
        print_filter(c);
    return 0;
}

static void print_summary(const struct qk_tool *tool, const struct qk_packing *p)
{
    if (tool->quiet)
        return;
    printf("documents\t%" PRId64 "\nduplicates\t%" PRId64 "\ntokens\t%" PRId64 "\nbytes\t%" PRId64
           "\nbytes_per_token\t%.3f\nvocabulary\t%" PRId64 "\n",
           p->documents, p->duplicates, p->tokens, p->bytes,
           p->tokens ? (double)p->bytes / (double)p->tokens : 0.0, p->tokenizer->vocab_size);
    if (p->in_probe_from)
        printf("left_out_as_in_probe\t%" PRId64 "\n", p->in_probe_from);
    for (int i = 0; i < p->wish_count; i++)
        printf("%s\t%" PRId64 "\t%zu documents\n", p->wishes[i].name,
               i == p->probe ? p->wishes[i].tokens : p->wishes[i].held, p->wishes[i].documents);
    if (p->train_documents)
        printf("train\t%" PRId64 "\t%" PRId64 " documents\n", p->train_tokens, p->train_documents);
}

static int pack(struct qk_tool *tool, struct settings *s, const struct qk_tokenizer *t,
                struct qk_corpus *corpus, struct qk_err *err)
{
    struct qk_progress progress;
    struct qk_packing p = {.corpus = corpus,
                           .tokenizer = t,
                           .eot = qk_tokenizer_eot(t, s->eot),
                           .end_documents = !s->no_eot,
                           .wishes = s->wishes,
                           .wish_count = s->wish_count,
                           .probe = s->probe_wish,
                           .probe_sequences = s->probe_sequences,
                           .probe_length = s->probe_length,
                           .probe_from = s->probe_from,
                           .seed = (uint64_t)tool->seed,
                           .memory = s->memory,
                           .progress = &progress};
    const struct qk_strings *given = &tool->command.operands;
    if (p.eot < 0 && s->eot)
        return qk_fail(err, "%s: has no token \"%s\"", s->tokenizer ? s->tokenizer : "tokenizer",
                       s->eot);
    if (p.eot < 0 && !s->no_eot)
        return qk_fail(err, "%s: has no end-of-text token: name it with --eot, or use --no-eot",
                       s->tokenizer);
    for (size_t i = 0; i < given->count; i++)
        qk_provenance_expect(&tool->provenance, given->at[i]);
    if ((s->tokenizer && note_tokenizer(&tool->provenance, s->tokenizer, err) != 0) ||
        (s->probe_from && qk_provenance_input(&tool->provenance, s->probe_from, err) != 0))
        return -1;
    qk_progress_begin(&progress, "qk-tokpack", "documents", 0, 0, tool->quiet);
    int bad = qk_pack_write(&p, tool->out, &tool->provenance, err);
    qk_progress_end(&progress);
    if (bad)
        return bad;
    const double seconds = qk_now() - progress.started, bytes = (double)p.bytes;
    qk_tool_detail(tool, "%.1f MB of text in %.2f s: %.1f MB/s and %.2f million tokens/s",
                   1e-6 * bytes, seconds, 1e-6 * bytes / seconds,
                   1e-6 * (double)p.tokens / seconds);
    print_summary(tool, &p);
    return 0;
}

static int work(struct qk_tool *tool, struct settings *s, struct qk_err *err)
{
    struct qk_tokenizer tokenizer;
    struct qk_corpus corpus = {0};
    struct qk_complexity complexity = {0};
    qk_tokenizer_init(&tokenizer);
    int bad = protect_inputs(tool, s, err);
    if (!bad && !s->decode)
        bad = open_corpus(tool, s, &corpus, err);
    if (!bad && s->filter)
        bad = start_filter(tool, s, &corpus, &complexity, err);
    if (!bad && s->tokenizer)
        bad = qk_tokenizer_read(&tokenizer, s->tokenizer, err);
    else if (!bad)
        bad = train_tokenizer(tool, s, &corpus, &tokenizer, err);
    if (!bad && s->export)
        bad = export_tokenizer(&tokenizer, s->export, err);
    if (!bad && (s->encode || s->decode))
        bad = convert(tool, &tokenizer, &corpus, s->decode, err);
    else if (!bad && tool->out)
        bad = pack(tool, s, &tokenizer, &corpus, err);
    qk_tokenizer_free(&tokenizer);
    qk_corpus_close(&corpus);
    qk_complexity_free(&complexity);
    return bad;
}

int main(int argc, char **argv)
{
    struct settings s = {.format = "auto", .field = "text", .memory = 1000000000, .rule = "thirds"};
    struct qk_option options[] = {
        {"tokenizer", 0, QK_OPT_TEXT, &s.tokenizer, "FILE|DIR",
         "a tokenizer.json, or a folder with one or with encoder.json and vocab.bpe",
         .heading = "Tokenizer"},
        {"train-bpe", 0, QK_OPT_COUNT, &s.vocabulary, "V",
         "train a byte-level BPE of V entries on the inputs", .fallback = "", .least = QK_LEAST_BPE,
         .most = MOST_BPE},
        {"export-tokenizer", 0, QK_OPT_TEXT, &s.export, "FILE",
         "write the tokenizer as a tokenizer.json", .content_free = true},
        {"encode", 0, QK_OPT_FLAG, &s.encode, NULL,
         "print ids, a line per document; plain text is one document, to the last byte"},
        {"decode", 0, QK_OPT_FLAG, &s.decode, NULL, "print the text of ids"},
        {"format", 0, QK_OPT_CHOICE, &s.format, NULL, "of the inputs", "auto|text|jsonl",
         .heading = "Inputs"},
        {"text-field", 0, QK_OPT_TEXT, &s.field, "KEY", "the key of the text in JSON lines"},
        {"doc-sep", 0, QK_OPT_TEXT, &s.separator, "TEXT",
         "what separates documents of plain text (\\n \\t \\r \\\\; else two blank lines)"},
        {"filter", 0, QK_OPT_CHOICE, &s.filter, NULL,
         "keep a third of the documents, by sentences, words and rare words", "simple|complex"},
        {"filter-rule", 0, QK_OPT_CHOICE, &s.rule, NULL,
         "the outer thirds, or the original study's fixed bounds", "thirds|original"},
        {"split", 0, QK_OPT_LIST, &s.splits, "NAME=TOKENS,...",
         "splits besides train, such as val=5M,test=1M", .heading = "Pack"},
        {"probe", 0, QK_OPT_TEXT, &s.probe, "NxT", "the probe batch: N sequences of T tokens"},
        {"probe-from", 0, QK_OPT_TEXT, &s.probe_from, "FILE",
         "take the probe batch of another pack, and leave its documents out"},
        {"eot", 0, QK_OPT_TEXT, &s.eot, "TOKEN",
         "the token that ends a document (else <|endoftext|> or its like)"},
        {"no-eot", 0, QK_OPT_FLAG, &s.no_eot, NULL, "put no end-of-text token behind documents"},
        {"memory", 0, QK_OPT_COUNT, &s.memory, "BYTES", "memory to use, besides the hashes",
         .least = 1000000},
        {0}};
    struct qk_tool tool = {
        .command = {.tool = "qk-tokpack",
                    .usage = "[options] [INPUT...] -o tokens.h5",
                    .summary = "Turn text into a pack of tokens with splits and a probe batch.\n"
                               "Inputs are plain text or JSON lines, also .gz, .zst or .xz; - or "
                               "none is standard input.",
                    .tables = {options}},
        .standard = QK_TOOL_OUT | QK_TOOL_THREADS | QK_TOOL_SEED,
        .most_operands = -1,
        .no_blas = true};
    struct qk_err err;
    qk_tool_start(&tool, argc, argv);
    read_wishes(&tool, &s);
    read_separator(&tool, &s);
    check_settings(&tool, &s);
    int bad = work(&tool, &s, &err);
    qk_strings_free(&s.splits);
    qk_buffer_free(&s.separator_bytes);
    return qk_tool_end(&tool, bad, &err);
}
