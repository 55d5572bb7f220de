/* Is there disk for what an edge will write? */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/mem.h"
#include "study/measure/keys.h"
#include "study/train/edge.h"

/* Without its last part; malloc'd. */
static char *parent_of(const char *path)
{
    char *folder = qk_strdup(path), *slash = strrchr(folder, '/');
    if (!slash) {
        free(folder);
        return qk_strdup(".");
    }
    slash[slash == folder] = '\0';
    return folder;
}

/* The first folder on the way up that is there. */
static char *existing_folder(const char *path)
{
    char *folder = qk_strdup(path);
    struct stat st;
    while (stat(folder, &st) != 0 && strcmp(folder, ".") != 0 && strcmp(folder, "/") != 0) {
        char *up = parent_of(folder);
        free(folder);
        folder = up;
    }
    return folder;
}

/* B and B.partial lie side by side for a moment, and so do B.partial and the next one while it is
 * written.  One that is there already takes no more. */
static double checkpoint_bytes(const struct qk_edge *e)
{
    struct qk_params p;
    qk_params_layout(&p, &e->config);
    const double whole = 4.0 * (double)(p.total + qk_optimizer_state_size(&p));
    const double out = e->o->bf16           ? 2.0 * (double)p.total
                       : e->o->weights_only ? 4.0 * (double)p.total
                                            : whole;
    qk_params_free(&p);
    if (e->last_step == e->step)
        return out;
    return e->resumed ? whole : 2 * whole;
}

static double keys_bytes(const struct qk_edge *e)
{
    const int64_t steps = e->last_step - e->step, each = qk_tokens_per_step(&e->config);
    const int64_t dumps = qk_points_count(&e->o->keys_at, e->tokens_seen, each, steps);
    return (double)dumps * (double)qk_keys_bytes(&e->config, e->o->keys_sites);
}

static int check_folder(const char *folder, const char *shown, double need, struct qk_err *err)
{
    struct statvfs disk;
    if (statvfs(folder, &disk) != 0 || access(folder, W_OK) != 0)
        return qk_fail_errno(err, "%s: cannot be written", shown);
    const double free_bytes = (double)disk.f_bavail * (double)disk.f_frsize;
    if (free_bytes >= need)
        return 0;
    return qk_fail(err, "%s: needs about %.1f MB of disk, but %.1f MB are free", shown, need / 1e6,
                   free_bytes / 1e6);
}

int qk_edge_check_space(const struct qk_edge *e, struct qk_err *err)
{
    const struct qk_train_options *o = e->o;
    struct stat a, b;
    double need = checkpoint_bytes(e);
    char *folder = parent_of(o->out);
    char *keys = o->keys_dir ? existing_folder(o->keys_dir) : NULL;
    int bad = 0;
    if (keys && stat(keys, &b) == 0 && stat(folder, &a) == 0 && a.st_dev == b.st_dev)
        need += keys_bytes(e);
    else if (keys)
        bad = check_folder(keys, o->keys_dir, keys_bytes(e), err);
    bad = bad ? bad : check_folder(folder, o->out, need, err);
    free(folder);
    free(keys);
    return bad;
}
