#define _GNU_SOURCE
/* HDF5 files: round trips, conversions, exact bytes, damage and absence. */
#include "check.h"

#include <sys/resource.h>
#include <signal.h>
#include <stdbool.h>
#include <unistd.h>

#include "base/fletcher.h"
#include "base/h5.h"
#include "base/threads.h"

static const char path[] = "test_h5.out.h5";

static void write_sample(void)
{
    struct qk_err err;
    struct qk_h5 *f = qk_h5_create(path, &err);
    assert_non_null(f);
    float x[6] = {0, 1, -2.5f, 3.14159274f, 1e-20f, 65504};
    uint16_t t[3] = {1, 2, 65535};
    double g[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    assert_works(
        qk_h5_write(f, "/weights/layers/0/wq", QK_F32, 2, (int64_t[]){2, 3}, QK_F32, x, 0, &err));
    assert_works(qk_h5_write(f, "/half", QK_BF16, 1, (int64_t[]){6}, QK_F32, x, 1, &err));
    assert_works(qk_h5_write(f, "/gram", QK_F64, 3, (int64_t[]){2, 2, 2}, QK_F64, g, 3, &err));
    assert_works(qk_h5_write(f, "/none", QK_F32, 1, (int64_t[]){0}, QK_F32, x, 0, &err));
    assert_works(qk_h5_create_growing(f, "/train/tokens", QK_U16, 1, &err));
    assert_works(qk_h5_append(f, "/train/tokens", QK_U16, 3, t, &err));
    assert_works(qk_h5_append(f, "/train/tokens", QK_U16, 2, t, &err));
    assert_works(qk_h5_put_text(f, "/", "kind", "sample", &err));
    assert_works(qk_h5_put_int(f, "/", "version", 1, &err));
    assert_works(qk_h5_put_int(f, "/gram", "rows", -7, &err));
    assert_works(qk_h5_commit(f, &err));
}

static void round_trip(void **state)
{
    (void)state;
    struct qk_err err;
    write_sample();
    struct qk_h5 *f = qk_h5_open(path, &err);
    assert_non_null(f);
    assert_works(qk_h5_expect(f, "sample", 1, &err));
    float x[6], half[6];
    assert_works(
        qk_h5_read_shaped(f, "/weights/layers/0/wq", QK_F32, 2, (int64_t[]){2, 3}, x, &err));
    assert_true(x[3] == 3.14159274f && x[4] == 1e-20f);
    assert_works(qk_h5_read(f, "/half", QK_F32, 6, half, &err));
    assert_true(half[2] == -2.5f && half[3] == 3.140625f && half[5] == 65536.0f);
    float g[4];
    double wide[6];
    bool finite = false;
    assert_works(qk_h5_read_floats(f, "/gram", 3, (int64_t[]){2, 2, 2}, 1, 1, g, &finite, &err));
    assert_true(g[0] == 5 && g[3] == 8 && finite);
    assert_works(qk_h5_read(f, "/half", QK_F64, 6, wide, &err));
    assert_true(wide[3] == 3.140625);
    int32_t t[5];
    assert_works(qk_h5_read(f, "/train/tokens", QK_I32, 5, t, &err));
    assert_int_equal(t[2], 65535);
    assert_int_equal(t[4], 2);
    struct qk_array_info info;
    assert_works(qk_h5_info(f, "/half", &info, &err));
    assert_true(info.is_float && info.type == QK_BF16 && info.count == 6);
    int64_t rows;
    assert_works(qk_h5_attr_int(f, "/gram", "rows", &rows, &err));
    assert_true(rows == -7);
    struct qk_strings names = {0};
    assert_works(qk_h5_members(f, "/weights/layers", &names, &err));
    assert_int_equal(names.count, 1);
    assert_string_equal(names.at[0], "0");
    qk_strings_free(&names);
    qk_h5_close(f);
    unlink(path);
}

/* Rows that begin and end anywhere in chunks: the same as out of the whole array.  One number is
 * not finite. */
enum { STRANGE = 500001 };

static void rows_of(struct qk_h5 *f, const char *object, const int64_t *dims, int rank)
{
    struct qk_err err;
    int64_t each = 1, rows = dims[0];
    bool finite;
    for (int i = 1; i < rank; i++)
        each *= dims[i];
    float *whole = qk_alloc((size_t)(rows * each), sizeof *whole);
    float *some = qk_alloc((size_t)(rows * each), sizeof *some);
    assert_works(qk_h5_read_shaped(f, object, QK_F32, rank, dims, whole, &err));
    const int64_t firsts[] = {0, 1, rows / 3, rows / 2, rows - 1};
    for (size_t i = 0; i < sizeof firsts / sizeof *firsts; i++)
        for (int64_t count = rows - firsts[i]; count > 0; count = count * 2 / 5) {
            const int64_t last = (firsts[i] + count) * each - 1;
            memset(some, 1, (size_t)(rows * each) * sizeof *some);
            assert_works(
                qk_h5_read_floats(f, object, rank, dims, firsts[i], count, some, &finite, &err));
            assert_memory_equal(some, whole + firsts[i] * each,
                                (size_t)(count * each) * sizeof *some);
            assert_int_equal(finite, firsts[i] * each > STRANGE || last < STRANGE);
        }
    assert_works(qk_h5_read_floats(f, object, rank, dims, rows, 0, some, &finite, &err));
    assert_int_equal(qk_h5_read_floats(f, object, rank, dims, rows - 1, 2, some, &finite, &err),
                     -1);
    assert_non_null(strstr(err.text, "has no rows"));
    free(whole);
    free(some);
}

static void rows_of_many_chunks(void **state)
{
    (void)state;
    struct qk_err err;
    static const int64_t flat[] = {700001}, wide[] = {1100, 601}, deep[] = {3, 500, 901};
    const int64_t most = deep[0] * deep[1] * deep[2];
    float *x = qk_alloc((size_t)most, sizeof *x);
    double *g = qk_alloc((size_t)most, sizeof *g);
    for (int64_t i = 0; i < most; i++)
        x[i] = (float)(i * 7919 % 100003) - 5000;
    x[STRANGE] = -INFINITY;
    for (int64_t i = 0; i < most; i++)
        g[i] = (double)x[i];
    struct qk_h5 *f = qk_h5_create(path, &err);
    assert_non_null(f);
    for (int zstd = 0; zstd < 2; zstd++) {
        char name[4][16];
        for (int i = 0; i < 4; i++)
            snprintf(name[i], sizeof name[i], "/%d%c", zstd, "fwdg"[i]);
        assert_works(qk_h5_write(f, name[0], QK_F32, 1, flat, QK_F32, x, zstd, &err));
        assert_works(qk_h5_write(f, name[1], QK_BF16, 2, wide, QK_F32, x, zstd, &err));
        assert_works(qk_h5_write(f, name[2], QK_F32, 3, deep, QK_F32, x, zstd, &err));
        assert_works(qk_h5_write(f, name[3], QK_F64, 3, deep, QK_F64, g, zstd, &err));
    }
    assert_works(qk_h5_commit(f, &err));
    free(x);
    free(g);
    assert_non_null(f = qk_h5_open(path, &err));
    for (int zstd = 0; zstd < 2; zstd++) {
        rows_of(f, zstd ? "/1f" : "/0f", flat, 1);
        rows_of(f, zstd ? "/1w" : "/0w", wide, 2);
        rows_of(f, zstd ? "/1d" : "/0d", deep, 3);
        rows_of(f, zstd ? "/1g" : "/0g", deep, 3); /* converted: not by the fast path */
    }
    qk_h5_close(f);
    unlink(path);
}

static void refusals(void **state)
{
    (void)state;
    struct qk_err err;
    write_sample();
    struct qk_h5 *f = qk_h5_open(path, &err);
    float x[6];
    int32_t t[6];
    assert_int_equal(qk_h5_read(f, "/gone", QK_F32, 6, x, &err), -1);
    assert_string_equal(err.text, "test_h5.out.h5: has no /gone");
    assert_int_equal(qk_h5_read(f, "/half", QK_F32, 5, x, &err), -1);
    assert_string_equal(err.text, "test_h5.out.h5: /half has 6 elements, expected 5");
    assert_int_equal(qk_h5_read(f, "/half", QK_I32, 6, t, &err), -1);
    assert_string_equal(err.text, "test_h5.out.h5: /half holds bfloat16, expected integers");
    assert_int_equal(qk_h5_read_shaped(f, "/half", QK_F32, 2, (int64_t[]){2, 3}, x, &err), -1);
    assert_string_equal(err.text, "test_h5.out.h5: /half has shape 6, expected 2x3");
    assert_int_equal(qk_h5_expect(f, "tokens", 1, &err), -1);
    assert_string_equal(err.text, "test_h5.out.h5: is a sample file, expected tokens");
    assert_int_equal(qk_h5_expect(f, "sample", 2, &err), -1);
    assert_false(qk_h5_has(f, "/weights/none/at/all"));
    qk_h5_close(f);
    assert_null(qk_h5_open("no/such.h5", &err));
    assert_string_equal(err.text, "no/such.h5: cannot be opened: No such file or directory");
    unlink(path);
}

/* Every truncation and a flipped bit in the data are noticed. */
static void damage(void **state)
{
    (void)state;
    struct qk_err err;
    write_sample();
    FILE *file = fopen(path, "rb");
    static char bytes[1 << 21];
    size_t n = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    for (int part = 0; part < 8; part++) {
        file = fopen(path, "wb");
        fwrite(bytes, 1, n * (size_t)part / 8, file);
        fclose(file);
        assert_null(qk_h5_open(path, &err));
        assert_non_null(strstr(err.text, path));
    }
    const float pattern[2] = {-2.5f, 3.14159274f};
    for (size_t i = 0; i + sizeof pattern < n; i++)
        if (memcmp(bytes + i, pattern, sizeof pattern) == 0)
            bytes[i] ^= 1;
    file = fopen(path, "wb");
    fwrite(bytes, 1, n, file);
    fclose(file);
    struct qk_h5 *f = qk_h5_open(path, &err);
    float x[6];
    assert_int_equal(qk_h5_read(f, "/weights/layers/0/wq", QK_F32, 6, x, &err), -1);
    assert_non_null(strstr(err.text, "/weights/layers/0/wq cannot be read"));
    qk_h5_close(f);
    unlink(path);
}

static void same_bytes(void **state)
{
    (void)state;
    static char one[1 << 21], two[1 << 21];
    size_t n[2];
    for (int i = 0; i < 2; i++) {
        write_sample();
        FILE *file = fopen(path, "rb");
        n[i] = fread(i ? two : one, 1, sizeof one, file);
        fclose(file);
    }
    assert_int_equal(n[0], n[1]);
    assert_memory_equal(one, two, n[0]);
    unlink(path);
}

/* Arrays of several chunks, cut along any dimension: the parallel path against HDF5's own. */
static void chunked(void **state)
{
    (void)state;
    struct qk_err err;
    static const int64_t shapes[][3] = {{3, 5000, 128}, {700000, 1, 1}, {1, 1, 300001}, {2, 3, 5}};
    for (int s = 0; s < 4; s++) {
        int64_t n = shapes[s][0] * shapes[s][1] * shapes[s][2];
        float *x = qk_alloc((size_t)n, sizeof *x), *y = qk_alloc((size_t)n, sizeof *y);
        double *wide = qk_alloc((size_t)n, sizeof *wide);
        for (int64_t i = 0; i < n; i++)
            x[i] = (float)(i % 251) - 125;
        struct qk_h5 *f = qk_h5_create(path, &err);
        assert_works(qk_h5_write(f, "/plain", QK_F32, 3, shapes[s], QK_F32, x, 0, &err));
        assert_works(qk_h5_write(f, "/packed", QK_F32, 3, shapes[s], QK_F32, x, 1, &err));
        assert_works(qk_h5_write(f, "/half", QK_BF16, 3, shapes[s], QK_F32, x, 1, &err));
        assert_works(qk_h5_commit(f, &err));
        f = qk_h5_open(path, &err);
        static const char *const names[] = {"/plain", "/packed", "/half"};
        for (int k = 0; k < 3; k++) {
            memset(y, 0, (size_t)n * sizeof *y);
            assert_works(qk_h5_read(f, names[k], QK_F32, n, y, &err));
            assert_memory_equal(x, y, (size_t)n * sizeof *y);
            assert_works(qk_h5_read(f, names[k], QK_F64, n, wide, &err)); /* HDF5's pipeline */
            for (int64_t i = 0; i < n; i++)
                assert_true(wide[i] == x[i]);
        }
        qk_h5_close(f);
        free(x);
        free(y);
        free(wide);
    }
    unlink(path);
}

/* The checksum word by word, as HDF5 describes it. */
static uint32_t plain_fletcher(const unsigned char *p, size_t n)
{
    uint64_t a = 0, b = 0;
    bool any = false;
    for (size_t i = 0; i < n; i += 2) {
        uint64_t word = (uint64_t)p[i] << 8 | (i + 1 < n ? p[i + 1] : 0);
        any = any || word;
        a = (a + word) % 65535;
        b = (b + a) % 65535;
        a = any && a == 0 ? 65535 : a;
        b = any && b == 0 ? 65535 : b;
    }
    return (uint32_t)(b << 16 | a);
}

/* Any length, whole or in pieces, zeros, ones and noise. */
static void checksums(void **state)
{
    (void)state;
    enum { MOST = 40007 };
    static unsigned char bytes[MOST];
    static const size_t sizes[] = {0, 1, 2, 3, 31, 32, 33, 62, 511, 514, 8192, 8193, 8226, MOST};
    for (int fill = 0; fill < 4; fill++)
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            for (size_t k = 0; k < MOST; k++)
                bytes[k] = fill == 0   ? 0
                           : fill == 1 ? 255
                           : fill == 2 ? (unsigned char)(k * k % 251)
                                       : k == 40;
            struct qk_fletcher whole = {0, 0}, pieces = {0, 0};
            const size_t n = sizes[i], cut = n / 3 & ~(size_t)1;
            qk_fletcher_add(&whole, bytes, n);
            qk_fletcher_add(&pieces, bytes, cut);
            qk_fletcher_add(&pieces, bytes + cut, n - cut);
            assert_int_equal(qk_fletcher_sum(&whole), plain_fletcher(bytes, n));
            assert_int_equal(qk_fletcher_sum(&pieces), plain_fletcher(bytes, n));
        }
}

/* Bytes whose last chunk is odd, on one and three threads; then damage in a chunk's first piece,
 * its last one, and the padding of the last chunk is noticed. */
static void many_chunks(void **state)
{
    (void)state;
    struct qk_err err;
    enum { N = 2500001 };
    unsigned char *x = qk_alloc(N, 1), *y = qk_alloc(N, 1);
    for (size_t i = 0; i < N; i++)
        x[i] = (unsigned char)(i % 253 + i / 70000);
    for (int threads = 1; threads <= 3; threads += 2) {
        qk_threads_set(threads);
        struct qk_h5 *f = qk_h5_create(path, &err);
        assert_works(qk_h5_write(f, "/x", QK_U8, 1, (int64_t[]){N}, QK_U8, x, 0, &err));
        assert_works(qk_h5_commit(f, &err));
        static const size_t places[] = {1, 200001, (1 << 20) - 1, 2 << 20, N - 1};
        for (int i = -1; i < 5; i++) {
            FILE *file = fopen(path, "r+b");
            static unsigned char all[4 << 20];
            size_t n = fread(all, 1, sizeof all, file);
            const unsigned char *start = memmem(all, n, x, 1 << 20);
            assert_non_null(start);
            size_t chunk = 1 << 20, at = i < 0 ? 0 : places[i];
            const unsigned char *hit =
                memmem(all, n, x + at / chunk * chunk,
                       N - at / chunk * chunk < chunk ? N - at / chunk * chunk : chunk);
            assert_non_null(hit);
            hit += at % chunk + (at == N - 1); /* the last one: behind the data */
            fseek(file, hit - all, SEEK_SET);
            fputc(*hit ^ (i >= 0), file);
            fclose(file);
            f = qk_h5_open(path, &err);
            memset(y, 0, N);
            int bad = qk_h5_read(f, "/x", QK_U8, N, y, &err);
            assert_int_equal(bad, i < 0 ? 0 : -1);
            if (i < 0)
                assert_memory_equal(x, y, N);
            else
                assert_non_null(strstr(err.text, "Fletcher32"));
            qk_h5_close(f);
            file = fopen(path, "r+b");
            fseek(file, hit - all, SEEK_SET);
            fputc(*hit, file);
            fclose(file);
        }
    }
    qk_threads_set(0);
    free(x);
    free(y);
    unlink(path);
}

static void disk_full(void **state)
{
    (void)state;
    struct qk_err err;
    write_sample();
    struct rlimit old, small;
    getrlimit(RLIMIT_FSIZE, &old);
    signal(SIGXFSZ, SIG_IGN);
    small = old;
    small.rlim_cur = 100000;
    setrlimit(RLIMIT_FSIZE, &small);
    struct qk_h5 *f = qk_h5_create(path, &err);
    float *big = qk_zalloc(1 << 20, sizeof *big);
    int bad = qk_h5_write(f, "/big", QK_F32, 1, (int64_t[]){1 << 20}, QK_F32, big, 0, &err);
    if (bad)
        qk_h5_discard(f);
    else
        bad = qk_h5_commit(f, &err);
    setrlimit(RLIMIT_FSIZE, &old);
    free(big);
    assert_int_equal(bad, -1);
    assert_int_equal(access("test_h5.out.h5.tmp", F_OK), -1);
    f = qk_h5_open(path, &err); /* the old file is still whole */
    assert_non_null(f);
    qk_h5_close(f);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trip),  cmocka_unit_test(rows_of_many_chunks),
        cmocka_unit_test(refusals),    cmocka_unit_test(damage),
        cmocka_unit_test(same_bytes),  cmocka_unit_test(chunked),
        cmocka_unit_test(disk_full),   cmocka_unit_test(checksums),
        cmocka_unit_test(many_chunks),
    };
    return cmocka_run_group_tests_name("h5", tests, NULL, NULL);
}
