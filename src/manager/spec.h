/* SPDX-License-Identifier: MIT */
/**
 * DOC: What is wanted of a device: read from a file or from a request, checked in one place
 */
#ifndef AU_MANAGER_SPEC_H
#define AU_MANAGER_SPEC_H

#include "base/note.h"
#include "base/paths.h"
#include "base/verify.h"
#include "manager/sign.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define MGR_NAME    28 /* of a device, with the zero: ".15" must fit behind it in 31 characters */
#define MGR_ADDRESS 128
#define MGR_NEEDS   8 /* devices that one device may need */

/** enum mgr_fate - what becomes of requests that were outstanding when a host died. */
enum mgr_fate { MGR_REISSUE, MGR_ABORT, MGR_FAIL };
#define MGR_FATES 3u

/** enum mgr_when - when a device gets a better driver that has come. */
enum mgr_when {
	MGR_UPGRADE_UNUSED, /* when nobody has it open, and at a restart */
	MGR_UPGRADE_LIVE,   /* at once */
	MGR_UPGRADE_NEVER,  /* on request only */
};
#define MGR_WHENS 3u

/**
 * struct mgr_policy - how a device is run.
 * @idle_ms: unload the driver so long after the last close; 0: never.
 * @power_idle_ms: D3 so long after the last request; 0: never.
 * @suspend_ms: what its host has to answer a suspend or resume of the system.
 * @request_timeout_ms: a request that a driver holds so long after it was cancelled is a hang.
 * @verify: the verifier's rules, and what is injected.
 * @hold: no verdicts: somebody debugs it.
 * @owner, @group, @mode: of the sockets; -1: the manager's own.
 * @without: layers of the sandbox to leave out, 1u << AU_LAYER_*; for tests.
 * @recovery: what becomes of requests that were outstanding when a host died.
 * @upgrade: when it gets a better driver.
 */
struct mgr_policy {
	uint32_t idle_ms;
	uint32_t power_idle_ms;
	uint32_t suspend_ms;
	uint32_t request_timeout_ms;
	struct au_verify verify;
	bool hold;
	uid_t owner;
	gid_t group;
	mode_t mode;
	uint32_t without;
	enum mgr_fate recovery;
	enum mgr_when upgrade;
};

/**
 * struct mgr_spec - a device as it is wanted.
 * @name: empty: class and number.
 * @driver: a name, or a path where that is allowed; empty: by matching.
 * @needs, @need_count: names of devices that are suspended after it and resumed before it.
 * @params: "key=value", @param_count of them, owned.
 * @source: where it comes from, for messages: a file, or empty.
 */
struct mgr_spec {
	char name[MGR_NAME];
	char driver[AU_PATH_MAX];
	char address[MGR_ADDRESS];
	char needs[MGR_NEEDS][MGR_NAME];
	unsigned int need_count;
	char *params[AU_NOTE_PARAMS + 1];
	unsigned int param_count;
	struct mgr_policy policy;
	char source[AU_PATH_MAX];
};

/** mgr_spec_init - empty, with the defaults. */
void mgr_spec_init(struct mgr_spec *spec, uint32_t idle_ms);
/** mgr_spec_clear - free what it owns. */
void mgr_spec_clear(struct mgr_spec *spec);
/**
 * mgr_spec_set - set one thing: section "device" (name, driver, address, placement, needs),
 * "params" (any key), "policy" (idle, power_idle, suspend_timeout, request_timeout, verify, hold,
 * recovery, upgrade, owner, group, mode) or "sandbox" (a layer's name, yes or no).
 * @error: one line that says what would be right.
 * Return: 0 or -EINVAL.
 */
int mgr_spec_set(struct mgr_spec *spec, const char *section, const char *key, const char *value,
		 char *error, size_t error_size);
/** mgr_fate_name - "reissue", ... */
const char *mgr_fate_name(enum mgr_fate recovery);
/** mgr_when_name - "unused", "live" or "never". */
const char *mgr_when_name(enum mgr_when upgrade);
/** mgr_spec_idle - seconds, which may have decimals, as milliseconds. Return: 0 or -EINVAL. */
int mgr_spec_idle(const char *value, uint32_t *idle_ms);
/** mgr_spec_power_idle - "off", or a time as in "2s", "500ms" or "1.5", as milliseconds, 0: never.
 * Return: 0 or -EINVAL. */
int mgr_spec_power_idle(const char *value, uint32_t *ms);
/** mgr_spec_needs - whether it needs the device of that name. */
bool mgr_spec_needs(const struct mgr_spec *spec, const char *name);
/** mgr_spec_check - whether it is complete: an address, or a driver. */
int mgr_spec_check(const struct mgr_spec *spec, char *error, size_t error_size);

/** mgr_spec_same - whether two want the same, wherever they come from; @hold does not count. */
bool mgr_spec_same(const struct mgr_spec *a, const struct mgr_spec *b);

/**
 * mgr_spec_parse_ini - read a device from INI text.
 * @text: ends with a zero.
 * @file: for messages, "FILE:LINE: ..."; its base name without .conf is the default name.
 * Return: 0 or -EINVAL with one line in @error.
 */
int mgr_spec_parse_ini(const char *text, const char *file, struct mgr_spec *spec, char *error,
		       size_t error_size);

/**
 * struct mgr_settings - the manager's own, DIR/aurigad.conf.
 * @store: where installed drivers are.
 * @signatures: what becomes of drivers without a good signature.
 */
struct mgr_settings {
	char store[AU_PATH_MAX];
	enum mgr_signatures signatures;
};
#define MGR_STORE_DEFAULT "/var/lib/auriga/drivers"

/** mgr_config_settings - read it; the defaults where it does not say or is not there.
 * Return: 0, or a negative errno with one line in @error. */
int mgr_config_settings(const char *dir, struct mgr_settings *settings, char *error,
			size_t error_size);

/**
 * mgr_config_each - read every DIR/devices.d/\*.conf, in order of name.
 * @fn: gets each good one (it may take over params by zeroing the spec); bad ones are logged in one
 *	line each and left out.
 * Return: the number of bad ones.
 */
int mgr_config_each(const char *dir, uint32_t idle_ms, void (*fn)(struct mgr_spec *spec, void *arg),
		    void *arg);

#endif
