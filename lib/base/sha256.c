#include "base/sha256.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"

static void to_hex(const unsigned char *digest, char hex[QK_SHA256_HEX])
{
    static const char digits[] = "0123456789abcdef";
    for (int i = 0; i < 32; i++) {
        hex[2 * i] = digits[digest[i] >> 4];
        hex[2 * i + 1] = digits[digest[i] & 15];
    }
    hex[64] = '\0';
}

void qk_sha256_bytes(const void *bytes, size_t n, char hex[QK_SHA256_HEX])
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    EVP_Digest(bytes, n, digest, NULL, EVP_sha256(), NULL);
    to_hex(digest, hex);
}

struct qk_sha256 *qk_sha256_begin(void)
{
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    EVP_DigestInit_ex(context, EVP_sha256(), NULL);
    return (struct qk_sha256 *)context;
}

void qk_sha256_add(struct qk_sha256 *s, const void *bytes, size_t n)
{
    EVP_DigestUpdate((EVP_MD_CTX *)s, bytes, n);
}

void qk_sha256_end(struct qk_sha256 *s, char hex[QK_SHA256_HEX])
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    EVP_DigestFinal_ex((EVP_MD_CTX *)s, digest, NULL);
    EVP_MD_CTX_free((EVP_MD_CTX *)s);
    if (hex)
        to_hex(digest, hex);
}

int qk_sha256_file(const char *path, char hex[QK_SHA256_HEX], struct qk_err *err)
{
    enum { BLOCK = 1 << 20 };
    FILE *file = fopen(path, "rb");
    if (!file)
        return qk_fail_errno(err, "%s: cannot be opened", path);
    unsigned char *block = qk_alloc(BLOCK, 1);
    struct qk_sha256 *s = qk_sha256_begin();
    size_t n;
    while ((n = fread(block, 1, BLOCK, file)) > 0)
        qk_sha256_add(s, block, n);
    int bad = ferror(file) ? qk_fail_errno(err, "%s: cannot be read", path) : 0;
    qk_sha256_end(s, hex);
    fclose(file);
    free(block);
    return bad;
}
