/* SPDX-License-Identifier: MIT */
/* auriga-host: what the manager and the lane say, and what is done about it. */
#include "host/host.h"

#include "base/log.h"
#include "base/os.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The leak checker would trace the process from outside, which the sandbox ends. */
const char *__asan_default_options(void);
__attribute__((visibility("default"))) const char *__asan_default_options(void)
{
	return "detect_leaks=0";
}

/* Options of the environment do not get here. A report nobody would see has to end the process. */
const char *__tsan_default_options(void);
__attribute__((visibility("default"))) const char *__tsan_default_options(void)
{
	return "halt_on_error=1";
}

static uint64_t host_now_ms(void)
{
	return au_os_now_ns() / 1000000;
}

static void host_log(void *context, enum au_log_level level, const char *line)
{
	struct host *host = context;

	(void)level;
	host_link_text(&host->link, AU_HM_LOG, line);
}

/* ------------------------------------------------------------- what the lane says */

static void host_serving(struct host *host)
{
	struct au_msg_head msg = { .type = AU_HM_SERVING };
	bool tell;

	pthread_mutex_lock(&host->lock);
	tell = host->ready && !host->serving;
	host->serving = true;
	pthread_mutex_unlock(&host->lock);
	if (tell)
		host_link_send(&host->link, &msg, sizeof(msg));
}

void host_open_gate(struct host *host)
{
	if (!host->gate.closed)
		return;
	au_chan_gate_open(&host->gate);
	auf_device_open_gate(host->device);
	/* They may sleep on what they did not look at. */
	for (unsigned int i = 1; i < host->lane_count; i++)
		auf_lane_wake(host->lanes[i]);
	host_serving(host);
}

static void host_open_gate_job(struct host *host, struct host_job *job)
{
	free(job);
	host_open_gate(host);
}

void host_replayed(void *context)
{
	struct host *host = context;
	struct host_job *job;

	if (auf_lane_current(host->lane)) {
		host_open_gate(host);
		return;
	}
	job = calloc(1, sizeof(*job));
	if (!job)
		abort();
	job->fn = host_open_gate_job;
	host_mailbox_post(&host->box, job);
}

static void host_tell_gone(struct host *host)
{
	struct au_hm_gone msg = { .head.type = AU_HM_GONE, .reason = host->gone_reason };

	snprintf(msg.why, sizeof(msg.why), "%s", host->gone_why);
	host_link_send(&host->link, &msg, sizeof(msg));
}

/* What happens before AU_HM_READY is told by it, or right after it. */
void host_notice(void *context, struct au_device *dev, enum auf_notice what, void *object)
{
	struct host *host = context;
	char *text;

	(void)dev;
	switch (what) {
	case AUF_UNIT_ADDED:
	case AUF_UNIT_REMOVED:
		host_units_refresh(host, what == AUF_UNIT_REMOVED ? object : NULL);
		if (!host->ready)
			return;
		text = host_report_units(host);
		host_link_text(&host->link, AU_HM_UNITS, text);
		free(text);
		return;
	case AUF_DEVICE_GONE:
		pthread_mutex_lock(&host->lock);
		host->gone_reason = ((const struct auf_gone *)object)->reason;
		snprintf(host->gone_why, sizeof(host->gone_why), "%s",
			 ((const struct auf_gone *)object)->why);
		host->gone = true;
		pthread_mutex_unlock(&host->lock);
		if (host->ready)
			host_tell_gone(host);
		return;
	case AUF_DEVICE_FAILED:
		/* The next host finds the function reset; what is outstanding is replayed to it. */
		if (host->ready)
			_exit(HOST_EXIT_FAILED);
		return;
	case AUF_POWER_D0:
	case AUF_POWER_D3:
		host_power_show(host);
		return;
	case AUF_GATE_OPEN:
		return;
	}
}

static void host_ready(struct host *host)
{
	bool open = host->start.replays == 0;
	bool gone;
	char *text;

	pthread_mutex_lock(&host->lock);
	text = host_report_ready(host);
	host_link_text(&host->link, AU_HM_READY, text);
	host->ready = true;
	gone = host->gone;
	pthread_mutex_unlock(&host->lock);
	free(text);
	if (gone)
		host_tell_gone(host);
	if (open)
		host_serving(host);
	else
		host->gate_due_ms = host_now_ms() + HOST_GATE_MS;
}

/* ---------------------------------------------------------------------- the loop */

static void host_answer(struct host *host, json_t *driver)
{
	int posted = HOST_QUERY_POSTED;
	char *text;

	if (!atomic_compare_exchange_strong(&host->query, &posted, HOST_QUERY_TAKEN)) {
		json_decref(driver);
		return;
	}
	auf_device_hold(host->device);
	text = host_report_answer(host, true, driver);
	auf_device_let_go(host->device);
	host_link_text(&host->link, AU_HM_ANSWER, text);
	free(text);
	atomic_store(&host->query, HOST_QUERY_NONE);
}

static void host_reported(void *context, const struct auf_report_entry *entries, unsigned int count,
			  const char *why)
{
	host_answer(context, host_report_driver(entries, count, why));
}

static void host_answer_job(struct host *host, struct host_job *job)
{
	int err;

	free(job);
	if (atomic_load(&host->query) != HOST_QUERY_POSTED)
		return;
	err = auf_device_report(host->device, host_reported, host);
	/* Who asks while the driver is being asked gets the answer, too. */
	if (err && err != -EBUSY)
		host_answer(host, NULL);
}

static void host_query(struct host *host)
{
	struct host_job *job;
	int none = HOST_QUERY_NONE;

	/* One under way answers for both. */
	if (!atomic_compare_exchange_strong(&host->query, &none, HOST_QUERY_POSTED))
		return;
	job = calloc(1, sizeof(*job));
	if (!job)
		abort();
	job->fn = host_answer_job;
	host->query_due_ms = host_now_ms() + HOST_QUERY_MS;
	host_mailbox_post(&host->box, job);
}

static void host_adopt(struct host *host)
{
	int fds[AU_MSG_FDS];
	unsigned int count;
	char *text = host_report_adopted(host, fds, &count);

	/* A manager that asks and does not read can ask again. */
	host_link_text_fds(&host->link, AU_HM_ADOPTED, text, fds, count);
	free(text);
}

static void host_finished(void *context)
{
	struct host *host = context;
	struct au_msg_head msg = { .type = AU_HM_FINISHED };

	host_link_send(&host->link, &msg, sizeof(msg));
}

static void host_finish_job(struct host *host, struct host_job *job)
{
	free(job);
	auf_device_finish(host->device, host_finished, host);
}

static void host_finish(struct host *host)
{
	struct host_job *job = calloc(1, sizeof(*job));

	if (!job)
		abort();
	job->fn = host_finish_job;
	host_mailbox_post(&host->box, job);
}

/* Lane, or the main thread: whichever comes first. */
static void host_drained(void *context)
{
	struct host *host = context;

	atomic_store(&host->drained, true);
	au_os_wake(host->link.wake);
}

static void host_drain_job(struct host *host, struct host_job *job)
{
	free(job);
	auf_device_drain(host->device, host_drained, host);
}

/* Return: whether there is something to wait for. */
static bool host_drain(struct host *host, const struct au_hm_stop *stop)
{
	struct host_job *job = NULL;

	if (!host->drain_due_ms && stop->drain_ms)
		job = calloc(1, sizeof(*job));
	if (!job)
		return false;
	host->drain_due_ms =
		host_now_ms() + (stop->drain_ms < HOST_DRAIN_MS ? stop->drain_ms : HOST_DRAIN_MS);
	job->fn = host_drain_job;
	host_mailbox_post(&host->box, job);
	return true;
}

/* Timers of the main thread. Return: milliseconds until the next, -1: none. */
static int host_timers(struct host *host)
{
	uint64_t now = host_now_ms();
	uint64_t next = UINT64_MAX;

	if (host->gate_due_ms && now >= host->gate_due_ms) {
		struct host_job *job = calloc(1, sizeof(*job));

		host->gate_due_ms = 0;
		if (job) {
			job->fn = host_open_gate_job;
			host_mailbox_post(&host->box, job);
		}
	}
	if (host->query_due_ms && now >= host->query_due_ms) {
		int posted = HOST_QUERY_POSTED;

		host->query_due_ms = 0;
		if (atomic_compare_exchange_strong(&host->query, &posted, HOST_QUERY_NONE)) {
			bool reports = auf_device_reports(host->device);
			char *text = host_report_answer(
				host, false,
				reports ? json_string("its driver's thread does not answer")
					: NULL);

			host_link_text(&host->link, AU_HM_ANSWER, text);
			free(text);
		}
	}
	if (host->describe_due_ms && now >= host->describe_due_ms)
		host_describe_due(host);
	if (host->drain_due_ms && now >= host->drain_due_ms) {
		host->drain_due_ms = 0;
		host_drained(host);
	}
	if (host->gate_due_ms)
		next = host->gate_due_ms;
	if (host->describe_due_ms && host->describe_due_ms < next)
		next = host->describe_due_ms;
	if (host->query_due_ms && host->query_due_ms < next)
		next = host->query_due_ms;
	if (host->drain_due_ms && host->drain_due_ms < next)
		next = host->drain_due_ms;
	return next == UINT64_MAX ? -1 : (int)(next - now);
}

/* Return: false when it is to go down. */
static bool host_message(struct host *host, const void *msg, size_t length, int fds[AU_MSG_FDS])
{
	const struct au_msg_head *head = msg;

	switch (head->type) {
	case AU_HM_OPEN:
		if (length != sizeof(struct au_hm_open))
			break;
		host_channel_open(host, msg, fds);
		return true;
	case AU_HM_CLOSE:
		if (length != sizeof(struct au_hm_channel))
			break;
		host_channel_close(host, ((const struct au_hm_channel *)msg)->channel);
		return true;
	case AU_HM_BEAT:
		if (length != sizeof(struct au_hm_beat))
			break;
		for (unsigned int i = 0; i < host->lane_count; i++)
			auf_lane_beat(host->lanes[i], ((const struct au_hm_beat *)msg)->seq);
		return true;
	case AU_HM_QUERY:
		host_query(host);
		return true;
	case AU_HM_DESCRIBE:
		host_describe(host);
		return true;
	case AU_HM_ADOPT:
		host_adopt(host);
		return true;
	case AU_HM_POWER:
		if (length != sizeof(struct au_hm_power))
			break;
		host_power(host, msg);
		return true;
	case AU_HM_FINISH:
		host_finish(host);
		return true;
	case AU_HM_STOP:
		return length == sizeof(struct au_hm_stop) && host_drain(host, msg);
	default:
		break;
	}
	au_logf(AU_LOG_WARN, "%s: message %u of %zu bytes is none that a host knows",
		host->start.name, head->type, length);
	return true;
}

/* Everything that has come. Return: false when it is to go down. */
static bool host_receive(struct host *host)
{
	static _Alignas(8) char msg[AU_MSG_MAX + 1];
	int fds[AU_MSG_FDS];
	bool on = true;
	int n;

	while (on && host->link.fd >= 0) {
		n = au_msg_recv(host->link.fd, msg, sizeof(msg), fds);
		if (n == -EAGAIN)
			return true;
		if (n == -EPROTO) {
			au_logf(AU_LOG_WARN, "%s: not a message", host->start.name);
			continue;
		}
		if (n <= 0) {
			/* Go on without a manager, unless nobody could ever find this host. */
			host_link_drop(&host->link);
			return host->start.fds[HOST_FD_LISTEN] >= 0;
		}
		on = host_message(host, msg, (size_t)n, fds);
		au_msg_close(fds);
	}
	return on;
}

/* Whoever shuts the machine down does not ask the manager. */
static volatile sig_atomic_t host_told_to_end;
static int host_wake = -1;

static void host_terminate(int sig)
{
	const uint64_t one = 1;
	ssize_t n;

	(void)sig;
	host_told_to_end = 1;
	n = write(host_wake, &one, sizeof(one));
	(void)n;
}

static void host_loop(struct host *host)
{
	while (!host_told_to_end) {
		/* Who drains wakes this: looked at behind the flush, which takes the wake-up. */
		bool left = host_link_flush(&host->link);
		struct pollfd p[3] = {
			{ .fd = host->link.fd, .events = POLLIN },
			{ .fd = host->link.wake, .events = POLLIN },
			{ .fd = host->start.fds[HOST_FD_LISTEN], .events = POLLIN },
		};

		if (atomic_load(&host->drained))
			return;
		if (left)
			p[0].events |= POLLOUT;
		if (poll(p, 3, host_timers(host)) < 0 && errno != EINTR)
			return;
		if (p[0].revents && !host_receive(host))
			return;
		if (p[2].revents)
			host_link_accept(&host->link, p[2].fd);
	}
}

/* -------------------------------------------------------------------------- main */

static void host_refuse(struct host *host, const struct host_failure *why)
{
	struct au_hm_failed msg = { .head.type = AU_HM_FAILED, .error = why->error };

	snprintf(msg.stage, sizeof(msg.stage), "%s", why->stage);
	snprintf(msg.text, sizeof(msg.text), "%s", why->text);
	host_link_send(&host->link, &msg, sizeof(msg));
}

/* The first message; there is nothing else to do meanwhile. */
static int host_await_start(struct host *host, struct host_failure *why)
{
	static _Alignas(8) char msg[AU_MSG_MAX + 1];
	struct pollfd p = { .fd = host->link.fd, .events = POLLIN };
	int fds[AU_MSG_FDS];
	int n;

	do {
		while (poll(&p, 1, -1) < 0 && errno == EINTR)
			;
		n = au_msg_recv(host->link.fd, msg, sizeof(msg), fds);
	} while (n == -EAGAIN);
	if (n <= 0)
		return n ? n : -ECONNRESET;
	host->times.begin_ns = au_os_now_ns(); /* it may have stood by for hours */
	if (((struct au_msg_head *)msg)->type != AU_HM_START) {
		au_msg_close(fds);
		return host_fail(why, "start", -EPROTO, "the first message is no start");
	}
	n = host_start_parse(msg + sizeof(struct au_msg_head), fds, &host->start, why->text,
			     sizeof(why->text));
	return n ? host_fail(why, "start", n, NULL) : 0;
}

static int host_usage(void)
{
	fprintf(stderr, "auriga-host is started by aurigad(8), see auriga-host(8)\n");
	return 2;
}

static int host_help(void)
{
	puts("auriga-host runs one device's driver, in a sandbox. It is started by aurigad(8), and "
	     "is "
	     "not for the command line; see auriga-host(8).");
	return 0;
}

int main(int argc, char **argv)
{
	static struct host host;
	struct host_failure why = { 0 };
	const char *pid_ns = "not started by aurigad";
	int err;

	host.times.begin_ns = au_os_now_ns();
	for (int i = 1; i < argc; i++) {
		if (!strncmp(argv[i], "--pid-ns=", 9))
			pid_ns = argv[i] + 9;
		else if (!strcmp(argv[i], "--help"))
			return host_help();
		else if (argv[i][0] == '-')
			return host_usage();
	}
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
	pthread_mutex_init(&host.lock, NULL);
	if (host_link_init(&host.link, HOST_CONTROL))
		return host_usage();
	au_log_set_sink(host_log, &host);
	err = host_await_start(&host, &why);
	if (!err)
		err = host_up(&host, pid_ns, &why);
	if (err) {
		if (why.stage[0])
			host_refuse(&host, &why);
		_exit(1);
	}
	host_wake = host.link.wake;
	signal(SIGTERM, host_terminate);
	host_ready(&host);
	host_loop(&host);
	host_down(&host);
	return 0;
}
