/* SPDX-License-Identifier: MIT */
/* Requests on the control socket: HTTP in control.c, what they mean in api.c. */
#ifndef AU_MANAGER_CONTROL_H
#define AU_MANAGER_CONTROL_H

#include "manager/manager.h"

#include <sys/types.h>

struct MHD_Connection;

/** enum mgr_wait - what a request waits for. */
enum mgr_wait {
	MGR_WAIT_NOTHING,
	MGR_WAIT_UP,	   /* the device runs, in generation @generation or later; or it does not */
	MGR_WAIT_UPGRADE,  /* its driver has been replaced, or not */
	MGR_WAIT_DOWN,	   /* the device is forgotten */
	MGR_WAIT_QUERY,	   /* its host has answered, or does not */
	MGR_WAIT_OPEN,	   /* a session for why */
	MGR_WAIT_POWER,	   /* its host has answered message @query, or is dead */
	MGR_WAIT_DESCRIBE, /* its host has said what it is doing, or does not */
	MGR_WAIT_SYSTEM,   /* all devices have followed a suspend or resume */
};

/**
 * struct mgr_call - one request.
 * @peer_uid: of whoever asks; (uid_t)-1: not known.
 * @status, @answer: once @done.
 * @cycle: once down, up again. @suspend: it is this that it waits for, or else resume.
 * @plain: the answer is text, not JSON.
 * @claim_fd: of a device that is looked at; -1: none.
 */
struct mgr_call {
	struct au_list node; /* of the device that it waits for */
	struct au_list all;  /* of the requests that there are */
	struct mgr *mgr;
	struct MHD_Connection *connection;
	struct mgr_device *dev;
	struct mgr_open_job *job;
	enum mgr_wait wait;
	uint32_t generation;
	uint32_t query;
	struct au_loop_timer timeout;
	uid_t peer_uid;
	int claim_fd;
	char address[MGR_ADDRESS];
	char *body;
	size_t body_length;
	bool too_long, begun, suspended, done;
	bool cycle, suspend;
	unsigned int status;
	json_t *answer;
	char *plain;
};

/** mgr_call_answer - with JSON, which is taken over. */
void mgr_call_answer(struct mgr_call *call, unsigned int status, json_t *answer);
/** mgr_call_error - with one line. @error: negative errno, which decides the HTTP status. */
void mgr_call_error(struct mgr_call *call, int error, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/** mgr_call_wait - answer later: when @dev has changed, or with an error after @timeout_ms. */
void mgr_call_wait(struct mgr_call *call, struct mgr_device *dev, enum mgr_wait wait,
		   uint32_t timeout_ms);
/** mgr_call_argument - a query argument, or NULL. */
const char *mgr_call_argument(struct mgr_call *call, const char *key);
/** mgr_api - a request is complete: answer it, or wait. */
void mgr_api(struct mgr_call *call, const char *method, const char *path);
/** mgr_api_drivers - the part of it about drivers. @rest: behind "/v1/drivers". */
void mgr_api_drivers(struct mgr_call *call, const char *method, const char *rest);
/** mgr_api_body - the request's JSON object, empty without one; NULL: it is none, and was answered.
 */
json_t *mgr_api_body(struct mgr_call *call);
/** mgr_api_timeout - the time is up. */
void mgr_api_timeout(struct mgr_call *call);

/** mgr_api_trace - GET trace?cursor=...: a page of the flight recorder. */
void mgr_api_trace(struct mgr_call *call, struct mgr_device *dev);
/** mgr_api_body - the JSON object that came with it; NULL: there is none, and that is the answer.
 */
json_t *mgr_api_body(struct mgr_call *call);
/** mgr_api_power - POST power of a device. */
void mgr_api_power(struct mgr_call *call, struct mgr_device *dev);
/** mgr_api_power_system - GET or POST power of the system. */
void mgr_api_power_system(struct mgr_call *call, bool get);
/** mgr_api_power_host - move what a host says about power into @info, as far as it is right. */
void mgr_api_power_host(json_t *info, json_t *host);

/** mgr_api_stuck - GET why-stuck. */
void mgr_api_stuck(struct mgr_call *call, struct mgr_device *dev);
/** mgr_stuck_answer - with what its host says; NULL: it says nothing. */
void mgr_stuck_answer(struct mgr_call *call, struct mgr_device *dev, const json_t *host);

/** mgr_device_rows - a device as ls shows it: one row per unit, added to @list. */
void mgr_device_rows(const struct mgr_device *dev, json_t *list);
/** mgr_device_info - everything that the manager knows of it. */
json_t *mgr_device_info(struct mgr_device *dev);

#endif
