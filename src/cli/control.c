/* SPDX-License-Identifier: MIT */
/* The manager's control protocol: JSON over HTTP on RUNTIME_DIR/control.sock. */
#include "cli/cli.h"
#include "base/paths.h"

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ANSWER_MAX (4u << 20)

struct answer {
	char *text;
	size_t length;
};

static size_t control_take(char *data, size_t size, size_t count, void *context)
{
	struct answer *a = context;
	size_t n = size * count;
	char *text;

	if (n > ANSWER_MAX - a->length)
		return 0;
	text = realloc(a->text, a->length + n + 1);
	if (!text)
		return 0;
	memcpy(text + a->length, data, n);
	a->text = text;
	a->length += n;
	text[a->length] = '\0';
	return n;
}

char *control_path(const char *prefix, const char *name, const char *suffix)
{
	CURL *curl = curl_easy_init();
	char *escaped = curl ? curl_easy_escape(curl, name, 0) : NULL;
	char *path = NULL;

	if (escaped && asprintf(&path, "%s%s%s", prefix, escaped, suffix ? suffix : "") < 0)
		path = NULL;
	curl_free(escaped);
	curl_easy_cleanup(curl);
	return path;
}

#define SAY(...) snprintf(why, why_size, __VA_ARGS__)

static json_t *control_perform(CURL *curl, const char *socket, struct answer *a, char *why,
			       size_t why_size)
{
	json_error_t error;
	json_t *json;
	long status = 0;
	CURLcode rc = curl_easy_perform(curl);

	if (rc != CURLE_OK) {
		SAY(rc == CURLE_COULDNT_CONNECT
			    ? "no manager answers at %s: start aurigad, or say --runtime-dir"
			    : "the manager at %s broke off: %s",
		    socket, curl_easy_strerror(rc));
		return NULL;
	}
	curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
	json = a->text ? json_loadb(a->text, a->length, 0, &error) : json_object();
	if (!json) {
		SAY("the manager's answer is no JSON: %s", error.text);
		return NULL;
	}
	if (status >= 300) {
		const char *text = json_string_value(json_object_get(json, "error"));

		SAY("%s", text ? text : "the manager refused without a reason");
		json_decref(json);
		return NULL;
	}
	return json;
}

json_t *control_ask(const char *method, const char *path, json_t *body, char *why, size_t why_size)
{
	struct curl_slist *headers = NULL;
	struct answer a = { 0 };
	char dir[AU_PATH_MAX], socket[AU_PATH_MAX], error[AU_PATH_MAX + 256], *url = NULL,
									      *text = NULL;
	json_t *json = NULL;
	CURL *curl;

	if (au_runtime_dir(cli_runtime_dir, false, dir, error, sizeof(error)) != 0 ||
	    au_runtime_path(dir, "control.sock", socket, error, sizeof(error)) != 0) {
		SAY("%s", error);
		json_decref(body);
		return NULL;
	}
	curl = curl_easy_init();
	if (body)
		text = json_dumps(body, JSON_COMPACT);
	if (curl && asprintf(&url, "http://auriga%s", path) >= 0 && (text || !body)) {
		curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, socket);
		curl_easy_setopt(curl, CURLOPT_URL, url);
		curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method);
		curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, control_take);
		curl_easy_setopt(curl, CURLOPT_WRITEDATA, &a);
		curl_easy_setopt(curl, CURLOPT_TIMEOUT, 60L);
		if (text) {
			headers = curl_slist_append(NULL, "Content-Type: application/json");
			curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
			curl_easy_setopt(curl, CURLOPT_POSTFIELDS, text);
		}
		json = control_perform(curl, socket, &a, why, why_size);
	} else {
		SAY("out of memory");
	}
	curl_slist_free_all(headers);
	curl_easy_cleanup(curl);
	free(url);
	free(text);
	free(a.text);
	json_decref(body);
	return json;
}

json_t *control_call(const char *method, const char *path, json_t *body)
{
	char why[CONTROL_WHY];
	json_t *json = control_ask(method, path, body, why, sizeof(why));

	if (!json)
		cli_say("%s", why);
	return json;
}
