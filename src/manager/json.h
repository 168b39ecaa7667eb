/* SPDX-License-Identifier: MIT */
/* Small helpers around jansson, for input that is hostile and output that must not fail. */
#ifndef AU_MANAGER_JSON_H
#define AU_MANAGER_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** mgr_json_string - a JSON string of any bytes: what is not UTF-8 becomes "?". */
json_t *mgr_json_string(const char *text);
/** mgr_json_text - member @key as text into @buf. Return: false when it is not there, not text, too
 * long or has control characters; @buf is then empty. */
bool mgr_json_text(const json_t *object, const char *key, char *buf, size_t size);
/** mgr_json_uint - member @key as a number from 0 to @max. */
bool mgr_json_uint(const json_t *object, const char *key, uint64_t max, uint64_t *value);
/**
 * mgr_report_ok - whether an object is a driver's report: at most 48 members, whose keys are of
 * a-z, 0-9 and _, at most 39 of them, and whose values are integers or printable texts of at most
 * 79 characters.
 */
bool mgr_report_ok(const json_t *object);
/** mgr_json_set_hex - member @key: @size bytes as hex digits. */
void mgr_json_set_hex(json_t *object, const char *key, const void *data, size_t size);
/** mgr_json_hex - member @key as exactly @size bytes. */
bool mgr_json_hex(const json_t *object, const char *key, void *data, size_t size);
/** mgr_json_read_file - load a JSON object of at most @max bytes; NULL when it is none. */
json_t *mgr_json_read_file(const char *path, size_t max);
/** mgr_json_write_file - replace a file at once (0600): a reader sees the old or the new. */
int mgr_json_write_file(const char *path, const json_t *object);

#endif
