/* SPDX-License-Identifier: MIT */
/* HTTP on RUNDIR/control.sock: libmicrohttpd, run by our loop, one thread. */
#include "manager/control.h"
#include "manager/json.h"

#include <errno.h>
#include <grp.h>
#include <microhttpd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define HTTP_BODY_MAX	 (64 * 1024)
#define HTTP_CONNECTIONS 64
#define HTTP_IDLE_S	 10 /* for half a request; one that waits for a device has all its time */

struct mgr_http {
	struct MHD_Daemon *daemon;
	struct au_watch watch;
	struct au_loop_timer timer;
	struct mgr *mgr;
	struct au_list calls;
	struct au_list peers;
	char path[AU_PATH_MAX];
	bool running;
};

/** struct http_peer - who is at the other end of a connection. */
struct http_peer {
	struct au_list node;
	uid_t uid;
};

static void http_run(struct mgr_http *http)
{
	MHD_UNSIGNED_LONG_LONG ms;

	MHD_run(http->daemon);
	if (MHD_get_timeout(http->daemon, &ms) == MHD_YES)
		au_loop_timer_set(http->mgr->loop, &http->timer, ms > 60000 ? 60000 : ms);
	else
		au_loop_timer_cancel(&http->timer);
}

static void http_ready(struct au_watch *watch, uint32_t events)
{
	http_run(watch->context);
}

static void http_timer(struct au_loop_timer *timer)
{
	http_run(timer->context);
}

/* --------------------------------------------------------------- one request */

static unsigned int call_status(int error)
{
	switch (error) {
	case -EINVAL:
	case -EPROTO:
	case -ERANGE:
	case -ENOTSUP:
	case -ENAMETOOLONG:
	case -ENOEXEC:
		return MHD_HTTP_BAD_REQUEST;
	case -EPERM:
	case -EACCES:
		return MHD_HTTP_FORBIDDEN;
	case -ENOENT:
	case -ENODEV:
	case -ENXIO:
		return MHD_HTTP_NOT_FOUND;
	case -EBUSY:
	case -EEXIST:
		return MHD_HTTP_CONFLICT;
	case -ETIMEDOUT:
		return MHD_HTTP_GATEWAY_TIMEOUT;
	default:
		return MHD_HTTP_BAD_GATEWAY;
	}
}

static void call_done(struct mgr_call *call)
{
	call->done = true;
	call->wait = MGR_WAIT_NOTHING;
	call->dev = NULL;
	au_list_remove(&call->node);
	au_loop_timer_cancel(&call->timeout);
	mgr_open_cancel(call->job);
	call->job = NULL;
	mgr_close(&call->claim_fd);
	if (call->suspended) {
		call->suspended = false;
		MHD_resume_connection(call->connection);
		/* It goes on in the next run, which may not be from within this one. */
		au_loop_timer_set(call->mgr->loop, &call->mgr->http->timer, 0);
	}
}

void mgr_call_answer(struct mgr_call *call, unsigned int status, json_t *answer)
{
	json_decref(call->answer);
	call->answer = answer;
	call->status = status;
	call_done(call);
}

void mgr_call_error(struct mgr_call *call, int error, const char *fmt, ...)
{
	char text[AU_PATH_MAX + MGR_TEXT];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	mgr_call_answer(call, call_status(error),
			json_pack("{s:o s:i}", "error", mgr_json_string(text), "code", -error));
}

static void call_timeout(struct au_loop_timer *timer)
{
	mgr_api_timeout(timer->context);
}

void mgr_call_wait(struct mgr_call *call, struct mgr_device *dev, enum mgr_wait wait,
		   uint32_t timeout_ms)
{
	call->wait = wait;
	call->dev = dev;
	if (dev)
		au_list_add_tail(&dev->calls, &call->node);
	call->timeout.expired = call_timeout;
	call->timeout.context = call;
	au_loop_timer_set(call->mgr->loop, &call->timeout, timeout_ms);
}

const char *mgr_call_argument(struct mgr_call *call, const char *key)
{
	return MHD_lookup_connection_value(call->connection, MHD_GET_ARGUMENT_KIND, key);
}

static int http_fd(struct MHD_Connection *connection)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);

	return info ? info->connect_fd : -1;
}

static enum MHD_Result call_respond(struct mgr_call *call)
{
	struct MHD_Response *response;
	enum MHD_Result result;
	char *text = call->plain;

	call->plain = NULL;
	if (!text)
		text = json_dumps(call->answer ? call->answer : json_null(),
				  JSON_COMPACT | JSON_ENCODE_ANY);
	if (!text)
		return MHD_NO;
	response = MHD_create_response_from_buffer(strlen(text), text, MHD_RESPMEM_MUST_FREE);
	if (!response) {
		free(text);
		return MHD_NO;
	}
	MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE,
				call->answer ? "application/json" : "text/plain; version=0.0.4");
	result = MHD_queue_response(call->connection, call->status, response);
	MHD_destroy_response(response);
	return result;
}

static void call_body(struct mgr_call *call, const char *data, size_t size)
{
	char *body;

	if (call->too_long || size > HTTP_BODY_MAX - call->body_length) {
		call->too_long = true;
		return;
	}
	body = realloc(call->body, call->body_length + size + 1);
	if (!body) {
		call->too_long = true;
		return;
	}
	memcpy(body + call->body_length, data, size);
	call->body = body;
	call->body_length += size;
	call->body[call->body_length] = 0;
}

static enum MHD_Result http_request(void *context, struct MHD_Connection *connection,
				    const char *url, const char *method, const char *version,
				    const char *data, size_t *size, void **state)
{
	struct mgr_http *http = context;
	struct mgr_call *call = *state;

	if (!call) {
		call = calloc(1, sizeof(*call));
		if (!call)
			return MHD_NO;
		au_list_init(&call->node);
		au_list_add_tail(&http->calls, &call->all);
		call->mgr = http->mgr;
		call->connection = connection;
		call->claim_fd = -1;
		call->peer_uid = mgr_peer(http_fd(connection));
		*state = call;
		return MHD_YES;
	}
	if (*size) {
		call_body(call, data, *size);
		*size = 0;
		return MHD_YES;
	}
	if (!call->begun) {
		call->begun = true;
		if (call->too_long)
			mgr_call_answer(call, MHD_HTTP_CONTENT_TOO_LARGE,
					json_pack("{s:s}", "error",
						  "the request is too long: at most 64 KiB"));
		else if (!http->running)
			mgr_call_error(call, -ESHUTDOWN, "the manager is going down");
		else
			mgr_api(call, method, url);
	}
	if (call->done)
		return call_respond(call);
	if (!call->suspended) {
		call->suspended = true;
		MHD_suspend_connection(connection);
	}
	return MHD_YES;
}

static void http_completed(void *context, struct MHD_Connection *connection, void **state,
			   enum MHD_RequestTerminationCode code)
{
	struct mgr_call *call = *state;

	if (!call)
		return;
	*state = NULL;
	call->suspended = false;
	if (!call->done)
		call_done(call);
	au_list_remove(&call->all);
	json_decref(call->answer);
	free(call->plain);
	free(call->body);
	free(call);
}

/* ---------------------------------------------------------------- connections */

static void http_refuse(int fd)
{
	static const char text[] =
		"{\"error\": \"this user has as many requests under way as one may\"}";
	char answer[256];
	int n = snprintf(answer, sizeof(answer),
			 "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\n"
			 "Connection: close\r\nContent-Length: %zu\r\n\r\n%s",
			 sizeof(text) - 1, text);

	if (send(fd, answer, (size_t)n, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		au_logf(AU_LOG_DEBUG, "a control connection was refused, and does not read why");
	shutdown(fd, SHUT_RDWR);
}

/* Nobody may keep everybody else from asking. libmicrohttpd ends what is shut down here. */
static void http_connection(void *context, struct MHD_Connection *connection, void **socket,
			    enum MHD_ConnectionNotificationCode what)
{
	struct mgr_http *http = context;
	struct http_peer *peer = *socket;
	size_t has = 0, count = 0;

	if (what == MHD_CONNECTION_NOTIFY_CLOSED) {
		if (peer)
			au_list_remove(&peer->node);
		free(peer);
		return;
	}
	peer = calloc(1, sizeof(*peer));
	if (!peer)
		return;
	*socket = peer;
	peer->uid = mgr_peer(http_fd(connection));
	au_list_add_tail(&http->peers, &peer->node);
	au_list_for_each (node, &http->peers) {
		count++;
		has += AU_CONTAINER(node, struct http_peer, node)->uid == peer->uid;
	}
	if (!mgr_share(peer->uid, has, count < HTTP_CONNECTIONS ? HTTP_CONNECTIONS - count : 0))
		http_refuse(http_fd(connection));
}

/* -------------------------------------------------------------- the socket */

static int http_listen(struct mgr_http *http, char *error, size_t error_size)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	const struct group *group = http->mgr->as_root ? getgrnam("auriga") : NULL;
	int fd, err = au_socket_path_check(http->path, error, error_size);
	mode_t before;

	if (err)
		return err;
	memcpy(addr.sun_path, http->path, strlen(http->path) + 1);
	unlink(http->path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	before = umask(0177);
	if (fd < 0 || bind(fd, (const struct sockaddr *)&addr, sizeof(addr)))
		err = -errno;
	umask(before);
	if (!err && group &&
	    (chown(http->path, (uid_t)-1, group->gr_gid) || chmod(http->path, 0660)))
		err = -errno;
	if (!err && listen(fd, HTTP_CONNECTIONS))
		err = -errno;
	if (!err)
		return fd;
	snprintf(error, error_size, "%s: %s", http->path, strerror(-err));
	mgr_close(&fd);
	return err;
}

int mgr_http_start(struct mgr *mgr, char *error, size_t error_size)
{
	struct mgr_http *http = calloc(1, sizeof(*http));
	const union MHD_DaemonInfo *info;
	int fd, err;

	if (!http)
		return -ENOMEM;
	http->mgr = mgr;
	au_list_init(&http->calls);
	au_list_init(&http->peers);
	err = au_runtime_path(mgr->dir, "control.sock", http->path, error, error_size);
	fd = err ? err : http_listen(http, error, error_size);
	if (fd < 0) {
		free(http);
		return fd;
	}
	http->daemon = MHD_start_daemon(
		MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL, http_request, http,
		MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT,
		(unsigned int)HTTP_CONNECTIONS, MHD_OPTION_CONNECTION_TIMEOUT,
		(unsigned int)HTTP_IDLE_S, MHD_OPTION_NOTIFY_COMPLETED, http_completed, NULL,
		MHD_OPTION_NOTIFY_CONNECTION, http_connection, http, MHD_OPTION_END);
	info = http->daemon ? MHD_get_daemon_info(http->daemon, MHD_DAEMON_INFO_EPOLL_FD) : NULL;
	http->watch.ready = http_ready;
	http->watch.context = http;
	http->timer.expired = http_timer;
	http->timer.context = http;
	err = info ? au_watch_add(mgr->loop, &http->watch, info->epoll_fd, EPOLLIN) : -EIO;
	if (err) {
		snprintf(error, error_size, "%s: the control socket cannot be served", http->path);
		if (http->daemon)
			MHD_stop_daemon(http->daemon);
		free(http);
		return err;
	}
	http->running = true;
	mgr->http = http;
	return 0;
}

void mgr_http_stop(struct mgr *mgr)
{
	struct mgr_http *http = mgr->http;

	if (!http)
		return;
	http->running = false;
	/* libmicrohttpd may not be stopped while somebody waits for an answer. */
	au_list_for_each (node, &http->calls) {
		struct mgr_call *call = AU_CONTAINER(node, struct mgr_call, all);

		if (call->suspended)
			mgr_call_error(call, -ESHUTDOWN, "the manager is going down");
	}
	/* Answers that were given in this turn still go out. */
	MHD_run(http->daemon);
	au_watch_remove(&http->watch);
	au_loop_timer_cancel(&http->timer);
	unlink(http->path);
	MHD_stop_daemon(http->daemon);
	mgr->http = NULL;
	free(http);
}
