#include "study/judge/evidence.h"

int qk_evidence_read(struct qk_evidence_files *f, struct qk_err *err)
{
    if (f->combined_path != NULL) {
        if (qk_combined_read(&f->combined, f->combined_path, err) != 0)
            return -1;
        f->all.combined = &f->combined;
    }
    if (f->chosen_path != NULL) {
        f->chosen = qk_json_read(f->chosen_path, err);
        if (f->chosen == NULL)
            return -1;
        f->all.chosen = f->chosen;
    }
    if (f->surgery_path != NULL) {
        if (qk_surgery_read(&f->surgery, f->surgery_path, err) != 0)
            return -1;
        f->all.surgery = &f->surgery;
    }
    return 0;
}

void qk_evidence_free(struct qk_evidence_files *f)
{
    qk_combined_free(&f->combined);
    qk_surgery_free(&f->surgery);
    cJSON_Delete(f->chosen);
    f->all = (struct qk_evidence){.combined = NULL};
    f->chosen = NULL;
}
