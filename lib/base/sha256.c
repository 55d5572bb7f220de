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

int qk_sha256_file(const char *path, char hex[QK_SHA256_HEX], struct qk_err *err)
{
    enum { BLOCK = 1 << 20 };
    FILE *file = fopen(path, "rb");
    if (!file)
        return qk_fail_errno(err, "%s: cannot be opened", path);
    unsigned char *block = qk_alloc(BLOCK, 1), digest[EVP_MAX_MD_SIZE];
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    EVP_DigestInit_ex(context, EVP_sha256(), NULL);
    size_t n;
    while ((n = fread(block, 1, BLOCK, file)) > 0)
        EVP_DigestUpdate(context, block, n);
    int bad = ferror(file) ? qk_fail_errno(err, "%s: cannot be read", path) : 0;
    EVP_DigestFinal_ex(context, digest, NULL);
    to_hex(digest, hex);
    EVP_MD_CTX_free(context);
    fclose(file);
    free(block);
    return bad;
}
