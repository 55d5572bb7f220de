/* qk-probe: singular spectra of keys and queries, from checkpoints or keys dumps. */
#include "common.h"

#include <string.h>

#include "base/json.h"
#include "base/outfile.h"
#include "compute/device.h"
#include "study/measure/probe.h"

struct settings {
    const char *site, *of, *centred, *batch, *keys;
    int64_t skip_first;
    bool spectra, full, tsv;
    struct qk_probe_ask ask;
    struct qk_keys_loader loader;
};

static void settle(struct qk_tool *tool, struct settings *s)
{
    struct qk_err err;
    bool site_given = qk_args_find(&tool->command, "site")->given;
    bool of_given = qk_args_find(&tool->command, "of")->given;
    const unsigned weight = 1u << QK_SITE_WEIGHT;
    const unsigned blocks = 1u << QK_MEASURE_WK | 1u << QK_MEASURE_WQ;
    if (qk_keys_sites(s->site, &s->ask.sites, &err) != 0)
        qk_tool_misuse(tool, "--site: %s", err.text);
    if (qk_probe_of(s->of, &s->ask.of, &err) != 0)
        qk_tool_misuse(tool, "--of: %s", err.text);
    if (!of_given && s->ask.sites == weight)
        s->ask.of = blocks;
    if (!site_given && !(s->ask.of & ~blocks))
        s->ask.sites = weight;
    if ((s->ask.of & blocks && !(s->ask.sites & weight)) ||
        (s->ask.of & ~blocks && !(s->ask.sites & ~weight)))
        qk_tool_misuse(tool,
                       "--of %s has nothing at --site %s: wk and wq are at weight, "
                       "k, q and qk at the others",
                       s->of, s->site);
    s->ask.plain = strcmp(s->centred, "yes") != 0;
    s->ask.centred = strcmp(s->centred, "no") != 0;
    if (s->ask.centred && !s->ask.plain && !(s->ask.of & ~blocks & ~(1u << QK_MEASURE_QK)))
        qk_tool_misuse(tool, "--centred yes: only k and q can be centred");
    s->ask.spectra = s->spectra;
    if (s->full && !s->keys)
        qk_tool_misuse(tool, "--full is about the dump: it needs --keys");
    if (s->keys && tool->command.operands.count > 1)
        qk_tool_misuse(tool, "--keys makes one dump, so it needs just one FILE");
    s->loader = (struct qk_keys_loader){.batch = s->batch,
                                        .sites = s->ask.sites,
                                        .skip_first = s->skip_first,
                                        .full = s->full,
                                        .device_name = tool->device,
                                        .progress = {.tool = "qk-probe", .quiet = tool->quiet}};
}

static int add_inputs(struct qk_tool *tool, const struct settings *s, struct qk_err *err)
{
    const struct qk_strings *files = &tool->command.operands;
    for (size_t i = 0; i < files->count; i++)
        if (qk_provenance_input(&tool->provenance, files->at[i], err) != 0)
            return -1;
    return s->batch ? qk_provenance_input(&tool->provenance, s->batch, err) : 0;
}

static int print(struct qk_tool *tool, const struct settings *s, const struct qk_keys *k,
                 size_t which, FILE *to, struct qk_err *err)
{
    const struct qk_strings *files = &tool->command.operands;
    const struct qk_keys_times *times = &s->loader.times;
    const double start = qk_now();
    cJSON *probe = qk_probe_json(k, &s->ask, files->at[which], err);
    if (!probe)
        return -1;
    qk_tool_detail(tool, "%s: read in %.3f s, ran in %.3f s, summed in %.3f s, measured in %.3f s",
                   files->at[which], times->read, times->run, times->sum, qk_now() - start);
    qk_provenance_to_json(&tool->provenance, probe);
    if (s->tsv)
        qk_probe_tsv(probe, which == 0, files->count > 1 ? files->at[which] : NULL, to);
    else
        qk_json_print_line(probe, to);
    cJSON_Delete(probe);
    return 0;
}

static int probe(struct qk_tool *tool, struct settings *s, size_t which, FILE *to,
                 struct qk_err *err)
{
    const char *path = tool->command.operands.at[which];
    struct qk_keys k;
    if (qk_keys_load(&k, path, &s->loader, err) != 0)
        return -1;
    if (s->loader.device)
        qk_provenance_device(&tool->provenance, s->loader.device->ops->name);
    const unsigned weight = 1u << QK_SITE_WEIGHT;
    int bad = 0;
    if (s->keys && k.dumped)
        bad = qk_fail(err, "%s: is a keys dump already, so --keys has nothing to make", path);
    else if (!k.dumped && s->ask.sites & ~weight && !(k.sites & ~weight))
        bad = qk_fail(err,
                      "%s: has no probe batch (/probe/tokens): give one with --batch, or measure "
                      "the weights alone with --of wk,wq",
                      path);
    if (!bad && s->keys) /* first: when it fails, nothing was printed */
        bad = qk_keys_write(&k, s->keys, &tool->provenance, err);
    if (!bad)
        bad = print(tool, s, &k, which, to, err);
    qk_keys_free(&k);
    return bad;
}

int main(int argc, char **argv)
{
    struct settings s = {.site = "all", .of = "k,q", .centred = "no"};
    struct qk_option options[] = {
        {"site", 0, QK_OPT_TEXT, &s.site, "S,...",
         "where: all, or of pre_norm,post_norm,post_rope,weight", .heading = "What to measure"},
        {"of", 0, QK_OPT_TEXT, &s.of, "X,...", "whose spectra: of k,q,qk,wk,wq"},
        {"centred", 0, QK_OPT_CHOICE, &s.centred, NULL, "k and q with their mean taken off",
         .choices = "no|yes|both"},
        {"skip-first", 0, QK_OPT_INT, &s.skip_first, "N",
         "leave out the first N positions of each sequence", .most = INT64_MAX},
        {"batch", 0, QK_OPT_TEXT, &s.batch, "TOKENS.h5",
         "use this pack's probe batch instead of the checkpoint's own"},
        {"spectra", 0, QK_OPT_FLAG, &s.spectra, NULL, "print the singular values too"},
        {"tsv", 0, QK_OPT_FLAG, &s.tsv, NULL, "print the measures as a table with a header line",
         .heading = "Output"},
        {"keys", 0, QK_OPT_TEXT, &s.keys, "OUT.h5", "also write a keys dump", .content_free = true},
        {"full", 0, QK_OPT_FLAG, &s.full, NULL, "with every row in the dump"},
        {0}};
    struct qk_tool tool = {
        .command = {.tool = "qk-probe",
                    .usage = "[options] FILE...",
                    .summary = "Measure the singular spectra of keys and queries in checkpoints "
                               "or keys dumps: one JSON object per FILE.",
                    .tables = {options}},
        .standard = QK_TOOL_OUT | QK_TOOL_DEVICE | QK_TOOL_THREADS,
        .least_operands = 1,
        .most_operands = -1};
    struct qk_err err;
    qk_tool_start(&tool, argc, argv);
    settle(&tool, &s);
    int bad = add_inputs(&tool, &s, &err) || qk_out_refuse_input(s.keys ? s.keys : "", &err);
    struct qk_out *out = bad ? NULL : qk_out_open(qk_tool_target(&tool), &err);
    bad = !out;
    for (size_t i = 0; !bad && i < tool.command.operands.count; i++)
        bad = probe(&tool, &s, i, qk_out_stream(out), &err) != 0;
    if (!bad)
        bad = qk_out_commit(out, &err) != 0;
    else
        qk_out_discard(out);
    if (s.loader.device)
        qk_device_close(s.loader.device);
    return qk_tool_end(&tool, bad, &err);
}
