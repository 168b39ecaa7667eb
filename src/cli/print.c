/* SPDX-License-Identifier: MIT */
/* JSON for people. */
#include "cli/cli.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PRINT_INDENT_MAX 32 /* what is nested deeper than anything of ours stays JSON */

/*
 * It may be of a device's, a driver's or a host's making: nothing that moves a terminal, neither
 * control characters nor those of C1, which are two bytes in UTF-8.
 */
static void print_clean(char *text)
{
	for (unsigned char *c = (unsigned char *)text; *c; c++)
		if (*c < ' ' || *c == 0x7f || (*c == 0xc2 && c[1] >= 0x80 && c[1] <= 0x9f))
			*c = '?';
}

/* A scalar as text, in @buf; nested values as JSON. */
static const char *print_scalar(const json_t *value, char *buf, size_t size)
{
	if (!value || json_is_null(value))
		return "-";
	if (json_is_string(value))
		snprintf(buf, size, "%s", json_string_value(value));
	else if (json_is_integer(value))
		snprintf(buf, size, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
	else if (json_is_real(value))
		snprintf(buf, size, "%.3f", json_real_value(value));
	else if (json_is_boolean(value))
		return json_is_true(value) ? "yes" : "no";
	else {
		/* It writes no zero at the end. */
		memset(buf, 0, size);
		json_dumpb(value, buf, size - 1, 0);
	}
	print_clean(buf);
	return *buf ? buf : "-";
}

static const char *print_key(const char *key, char *buf, size_t size)
{
	snprintf(buf, size, "%s", key);
	print_clean(buf);
	return buf;
}

void cli_table(const json_t *rows, const struct cli_column *columns, unsigned int count)
{
	size_t width[16], i;
	char buf[512];
	json_t *row;

	for (unsigned int c = 0; c < count; c++) {
		width[c] = strlen(columns[c].title);
		json_array_foreach(rows, i, row)
		{
			size_t n = strlen(print_scalar(json_object_get(row, columns[c].key), buf,
						       sizeof(buf)));

			if (n > width[c])
				width[c] = n;
		}
	}
	for (unsigned int c = 0; c < count; c++)
		printf("%-*s%s", c + 1 < count ? (int)width[c] : 0, columns[c].title,
		       c + 1 < count ? "  " : "\n");
	json_array_foreach(rows, i, row)
	{
		for (unsigned int c = 0; c < count; c++)
			printf("%-*s%s", c + 1 < count ? (int)width[c] : 0,
			       print_scalar(json_object_get(row, columns[c].key), buf, sizeof(buf)),
			       c + 1 < count ? "  " : "\n");
	}
}

void cli_print(const json_t *value, int indent)
{
	char buf[4096], name[256];
	const char *key;
	json_t *item, *field;
	size_t i;

	if (json_is_object(value)) {
		json_object_foreach((json_t *)(uintptr_t)value, key, item)
		{
			bool nested = indent < PRINT_INDENT_MAX &&
				      ((json_is_object(item) && json_object_size(item)) ||
				       (json_is_array(item) && json_array_size(item)));

			printf("%*s%s:", indent, "", print_key(key, name, sizeof(name)));
			if (nested) {
				printf("\n");
				cli_print(item, indent + 2);
			} else if (indent < PRINT_INDENT_MAX &&
				   (json_is_array(item) || json_is_object(item))) {
				printf(" none\n");
			} else {
				printf(" %s\n", print_scalar(item, buf, sizeof(buf)));
			}
		}
	} else if (json_is_array(value)) {
		json_array_foreach(value, i, item)
		{
			if (json_is_object(item)) {
				const char *sep = "";

				/* a row of scalars on one line */
				printf("%*s", indent, "");
				json_object_foreach(item, key, field)
				{
					printf("%s%s %s", sep, print_key(key, name, sizeof(name)),
					       print_scalar(field, buf, sizeof(buf)));
					sep = ", ";
				}
				printf("\n");
			} else {
				printf("%*s%s\n", indent, "", print_scalar(item, buf, sizeof(buf)));
			}
		}
	} else {
		printf("%*s%s\n", indent, "", print_scalar(value, buf, sizeof(buf)));
	}
}

void cli_json(const json_t *value)
{
	json_dumpf(value, stdout, JSON_INDENT(2));
	printf("\n");
}
