/* JSON through cJSON, with the checks a reader wants.  Getters fail with a sentence that names
 * `where` (a file) and the key.  Writing never produces NaN or Infinity: null instead. */
#ifndef QK_BASE_JSON_H
#define QK_BASE_JSON_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "err.h"
#include "mem.h"

/* Parse a text: the whole of it must be one value.  `where` names it in errors. */
cJSON *qk_json_parse(const char *text, const char *where, struct qk_err *err);
/* The same of a whole file's bytes, which must not hold a zero byte. */
cJSON *qk_json_parse_bytes(const struct qk_buffer *text, const char *where, struct qk_err *err);
/* Read a file ("-" is stdin). */
cJSON *qk_json_read(const char *path, struct qk_err *err);
/* Read a file of JSON lines into an array; blank lines are skipped.  A text with a zero byte in it
 * ("\u0000") is refused. */
cJSON *qk_json_read_lines(const char *path, struct qk_err *err);
/* The same of what was read already. */
cJSON *qk_json_parse_lines(const struct qk_buffer *text, const char *path, struct qk_err *err);

/* Members that must be there and of that type. */
int qk_json_text(const cJSON *object, const char *key, const char **value, const char *where,
                 struct qk_err *err);
int qk_json_real(const cJSON *object, const char *key, double *value, const char *where,
                 struct qk_err *err);
int qk_json_int(const cJSON *object, const char *key, int64_t *value, const char *where,
                struct qk_err *err);
const cJSON *qk_json_array(const cJSON *object, const char *key, const char *where,
                           struct qk_err *err);

/* Members that may be missing (so may `object`): NaN or NULL where there is none of that type. */
const cJSON *qk_json_find(const cJSON *object, const char *key);
double qk_json_find_number(const cJSON *object, const char *key);
const char *qk_json_find_text(const cJSON *object, const char *key);
/* The same of an object whose keys are numbers, {"0": ..., "1": ...}; adding gives `value` away. */
const cJSON *qk_json_find_at(const cJSON *object, int index);
void qk_json_add_at(cJSON *object, int index, cJSON *value);
/* The finite number that a value is; NaN when it is none, or NULL. */
double qk_json_as_number(const cJSON *value);

/* A number, or null when it is not finite. */
cJSON *qk_json_number(double value);
cJSON *qk_json_numbers(const double *values, int64_t count);
void qk_json_add_number(cJSON *object, const char *key, double value);

/* One line, then a newline.  Numbers are the shortest text that reads back to the same double. */
void qk_json_print_line(const cJSON *value, FILE *to);
/* Indented, for files people open. */
void qk_json_print_pretty(const cJSON *value, FILE *to);

#endif
