#include "study/corpus/id_text.h"

#include <inttypes.h>
#include <string.h>

#include "base/num.h"
#include "base/textfile.h"

int qk_encode_corpus(const struct qk_tokenizer *t, struct qk_corpus *corpus, FILE *to,
                     struct qk_err *err)
{
    struct qk_encode_work work = {0};
    struct qk_ids ids = {0};
    struct qk_document d;
    int got, bad = 0;
    while (!bad && (got = qk_corpus_next(corpus, &d, err)) != 0) {
        ids.count = 0;
        bad = got < 0 || qk_encode(t, &work, d.text, d.size, &ids, err) != 0;
        for (size_t i = 0; !bad && i < ids.count; i++)
            fprintf(to, i ? " %" PRIu32 : "%" PRIu32, ids.at[i]);
        if (!bad)
            putc('\n', to);
    }
    qk_ids_free(&ids);
    qk_encode_work_free(&work);
    return bad ? -1 : 0;
}

static int decode_word(const struct qk_tokenizer *t, const char *word, struct qk_buffer *to,
                       struct qk_err *err)
{
    int64_t id;
    if (qk_parse_int(word, 0, UINT32_MAX, &id, err) != 0)
        return qk_fail(err, "'%.40s' is no token id", word);
    return qk_decode(t, &(uint32_t){(uint32_t)id}, 1, to, err);
}

int qk_decode_file(const struct qk_tokenizer *t, const char *path, FILE *to, struct qk_err *err)
{
    static const char blanks[] = " \t\r\n";
    struct qk_buffer text = {0}, bytes = {0};
    if (qk_text_slurp(path, &text, err) != 0)
        return -1;
    qk_buffer_add(&text, "", 1); /* there is text, and it ends */
    int bad = strlen(text.at) + 1 != text.size
                  ? qk_fail(err, "there is a zero byte among the token ids")
                  : 0;
    char *word = text.at + strspn(text.at, blanks);
    while (!bad && *word) {
        size_t n = strcspn(word, blanks), gap = strspn(word + n, blanks);
        if (gap)
            word[n] = '\0';
        bad = decode_word(t, word, &bytes, err);
        word += n + gap;
    }
    if (bad)
        qk_fail_in(err, "%s: ", strcmp(path, "-") == 0 ? "standard input" : path);
    else if (bytes.size)
        fwrite(bytes.at, 1, bytes.size, to);
    qk_buffer_free(&text);
    qk_buffer_free(&bytes);
    return bad;
}
