/* SPDX-License-Identifier: MIT */
/* Parameters: checked once, before any instruction of the driver runs. */
#include "framework/internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

int auf_params_set(struct au_device *dev, const char *const *params, char *error, size_t error_size)
{
	const struct au_note *note = &dev->note;

	dev->params = au_os_alloc((note->param_count + 1) * sizeof(*dev->params));
	if (!dev->params) {
		snprintf(error, error_size, "%s: out of memory", dev->name);
		return -ENOMEM;
	}
	for (unsigned int i = 0; i < note->param_count; i++) {
		dev->params[i].value = note->param[i].def;
		snprintf(dev->params[i].text, sizeof(dev->params[i].text), "%s",
			 note->param[i].def_text);
	}
	for (; params && *params; params++) {
		const struct au_note_param *param;
		const char *text;
		uint64_t value;

		param = au_note_param_check(note, *params, &value, &text, error, error_size);
		if (!param)
			return -EINVAL;
		dev->params[param - note->param].value = value;
		snprintf(dev->params[param - note->param].text, sizeof(dev->params[0].text), "%s",
			 text);
	}
	return 0;
}

static const struct auf_param *param_find(struct au_device *dev, const char *name, bool string)
{
	const struct au_note_param *param = au_note_param(&dev->note, name);

	if (param && (param->type == AU_PARAM_TYPE_STRING) == string)
		return &dev->params[param - dev->note.param];
	au_log(dev, AU_LOG_ERROR,
	       "the driver asks for the parameter '%s', which its note does not %s", name,
	       param ? "declare so" : "declare");
	return NULL;
}

uint64_t au_param_uint(struct au_device *dev, const char *name)
{
	const struct auf_param *param = param_find(dev, name, false);

	return param ? param->value : 0;
}

const char *au_param_string(struct au_device *dev, const char *name)
{
	const struct auf_param *param = param_find(dev, name, true);

	return param ? param->text : "";
}
