/* SPDX-License-Identifier: MIT */
#include "bridge.h"
#include "dma.h"
#include "lab.h"
#include "qmp.h"
#include "rundir.h"
#include "vfu_server.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#define ICH9_SLOT	 0x1f
#define CLASS_BRIDGE_PCI 0x0604

struct bridge {
	struct lab lab;
	struct lab_source guardian, commands;
	struct lab_stat *stats;
	bool orphaned;
};

static void copy_name(char *dest, const char *src)
{
	snprintf(dest, LAB_ID_MAX, "%.*s", LAB_ID_MAX - 1, src);
}

/* The device model's name is the object's type. */
static void get_model(struct qmp *qmp, const char *id, char *model)
{
	char path[128];

	snprintf(path, sizeof(path), "/machine/peripheral/%s", id);
	json_t *type = qmp_call(qmp, "qom-get",
				json_pack("{s:s, s:s}", "path", path, "property", "type"), -1);
	copy_name(model, type ? json_string_value(type) : "unknown");
	json_decref(type);
}

static int add_func(struct bridge *b, const json_t *dev)
{
	const char *id = json_string_value(json_object_get(dev, "qdev_id"));
	int bus = 0, slot = 0, fn = 0, class_code = 0;
	struct lab_func *f = &b->lab.funcs[b->lab.num_funcs];

	if (json_unpack((json_t *)dev, "{s:i, s:i, s:i, s:{s:i}}", "bus", &bus, "slot", &slot,
			"function", &fn, "class_info", "class", &class_code))
		return lab_fail(-EPROTO, "QEMU's list of PCI devices cannot be understood");
	if (bus != 0 || slot == 0 || slot == ICH9_SLOT || class_code == CLASS_BRIDGE_PCI)
		return 0;
	if (b->lab.num_funcs == LAB_MAX_FUNCS)
		return lab_fail(-E2BIG, "more than %d PCI functions", LAB_MAX_FUNCS);
	*f = (struct lab_func){ .lab = &b->lab,
				.bus = (uint8_t)bus,
				.slot = (uint8_t)slot,
				.fn = (uint8_t)fn,
				.listen.fd = -1,
				.irq_fd = -1,
				.stat = &b->stats[b->lab.num_funcs] };
	if (id && lab_name_valid(id)) {
		copy_name(f->id, id);
		get_model(&b->lab.qmp, id, f->model);
	} else {
		snprintf(f->id, sizeof(f->id), "pci-%02x.%x", slot, fn);
		copy_name(f->model, "unknown");
	}
	b->lab.num_funcs++;
	return 0;
}

static int find_funcs(struct bridge *b)
{
	json_t *buses = qmp_call(&b->lab.qmp, "query-pci", NULL, -1), *bus, *dev;
	size_t i, k;
	int ret = buses ? 0 : -EPROTO;

	json_array_foreach(buses, i, bus)
		json_array_foreach(json_object_get(bus, "devices"), k, dev) if (ret == 0) ret =
			add_func(b, dev);
	json_decref(buses);
	if (ret == 0 && !b->lab.num_funcs)
		ret = lab_fail(-ENODEV, "there is no PCI function to serve: name one with "
					"--device, for example pci-serial");
	return ret;
}

static int listen_all(struct lab *lab)
{
	for (unsigned int i = 0; i < lab->num_funcs; i++) {
		struct lab_func *f = &lab->funcs[i];
		char file[LAB_ID_MAX + 8];

		snprintf(file, sizeof(file), "%s.sock", f->id);
		if (!rundir_path_fits(lab->dir, file))
			return -ENAMETOOLONG;
		if (asprintf(&f->path, "%s/%s", lab->dir, file) < 0)
			return -ENOMEM;
		int ret = vfu_listen(f);
		if (ret)
			return ret;
	}
	return 0;
}

static json_t *describe(const struct lab_func *f)
{
	char address[256], vendor[8], device[8], class_code[8], bdf[16];

	snprintf(address, sizeof(address), "vfio-user:%s", f->path);
	snprintf(vendor, sizeof(vendor), "%04x", f->vendor);
	snprintf(device, sizeof(device), "%04x", f->device);
	snprintf(class_code, sizeof(class_code), "%06x", f->class_code);
	snprintf(bdf, sizeof(bdf), "%02x:%02x.%x", f->bus, f->slot, f->fn);
	return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:b}", "id", f->id, "address",
			 address, "vendor", vendor, "device", device, "class", class_code, "model",
			 f->model, "bdf", bdf, "reset", f->has_flr);
}

static void report_ready(const struct lab *lab, int report)
{
	json_t *list = json_array();

	for (unsigned int i = 0; i < lab->num_funcs; i++)
		json_array_append_new(list, describe(&lab->funcs[i]));
	json_t *root = json_pack("{s:o}", "functions", list);
	json_dumpfd(root, report, JSON_COMPACT);
	json_decref(root);
	close(report);
}

static void qtest_ready(struct lab_source *src, uint32_t events)
{
	struct qtest *qt = lab_container_of(src, struct qtest, src);

	if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
		qtest_input(qt);
}

static void qtest_died(struct qtest *qt)
{
	struct lab *lab = lab_container_of(qt, struct lab, qt);

	lab_msg("QEMU is gone: its functions answer all-ones from now on");
	epoll_ctl(lab->epfd, EPOLL_CTL_DEL, qt->src.fd, NULL);
	for (unsigned int i = 0; i < lab->num_funcs; i++)
		alog_event(&lab->log, lab->funcs[i].id, "dead");
}

static void qmp_ready(struct lab_source *src, uint32_t events)
{
	struct lab *lab = lab_container_of(src, struct lab, qmp.src);

	if (!qmp_input(&lab->qmp))
		epoll_ctl(lab->epfd, EPOLL_CTL_DEL, src->fd, NULL);
}

static void command_ready(struct lab_source *src, uint32_t events)
{
	struct bridge *b = lab_container_of(src, struct bridge, commands);
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control;
	char line[128];
	struct iovec iov = { .iov_base = line, .iov_len = sizeof(line) - 1 };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = control.bytes,
			      .msg_controllen = sizeof(control.bytes) };
	ssize_t n = recvmsg(src->fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	struct cmsghdr *c = n > 0 ? CMSG_FIRSTHDR(&msg) : NULL;
	int fd;

	if (n == 0)
		b->orphaned = true;
	if (!c)
		return;
	memcpy(&fd, CMSG_DATA(c), sizeof(fd));
	line[n] = '\0';
	hotplug_command(&b->lab, line, fd);
}

static void guardian_ready(struct lab_source *src, uint32_t events)
{
	lab_container_of(src, struct bridge, guardian)->orphaned = true;
}

/* All that QEMU has to be asked before anybody is served; here the lab waits for it. */
static int setup_machine(struct bridge *b, const struct qemu *qemu)
{
	struct lab *lab = &b->lab;
	struct stat st;
	int ret;

	if (fstat(qemu->ram, &st))
		return lab_fail(-errno, "cannot tell the size of main memory: %s", strerror(errno));
	void *ram =
		mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, qemu->ram, 0);
	if (ram == MAP_FAILED)
		return lab_fail(-errno, "cannot map main memory: %s", strerror(errno));
	if ((ret = iommu_init(lab, ram, (size_t)st.st_size)) ||
	    (ret = qmp_open(&lab->qmp, qemu->qmp)) || (ret = find_funcs(b)) ||
	    (ret = qtest_command(&lab->qt, "irq_intercept_in ioapic")) || (ret = pci_setup(lab)))
		return ret;
	for (unsigned int i = 0; i < lab->num_funcs; i++)
		if ((ret = iommu_add_func(&lab->funcs[i])))
			return ret;
	ret = bell_setup(lab, &lab->qmp);
	return ret ? ret : iommu_setup(lab);
}

static int watch_all(struct bridge *b)
{
	struct lab *lab = &b->lab;
	int ret;

	lab->qt.irq = intx_level;
	lab->qt.died = qtest_died;
	lab->qt.src.ready = qtest_ready;
	lab->qmp.src.ready = qmp_ready;
	b->guardian.ready = guardian_ready;
	b->commands.ready = command_ready;
	if ((ret = lab_watch(lab->epfd, &lab->qt.src, EPOLLIN)) ||
	    (ret = lab_watch(lab->epfd, &lab->qmp.src, EPOLLIN)) ||
	    (ret = lab_watch(lab->epfd, &b->guardian, EPOLLIN)) ||
	    (ret = lab_watch(lab->epfd, &b->commands, EPOLLIN)))
		return ret;
	return 0;
}

static int setup(struct bridge *b, const struct lab_spec *spec, const struct qemu *qemu)
{
	struct lab *lab = &b->lab;
	int ret;

	lab->dir = spec->dir;
	lab->qemu = qemu->pid;
	lab->funcs = lab_xcalloc(LAB_MAX_FUNCS, sizeof(*lab->funcs));
	lab->epfd = epoll_create1(EPOLL_CLOEXEC);
	if (lab->epfd < 0)
		return lab_fail(-errno, "no epoll descriptor: %s", strerror(errno));
	qtest_init(&lab->qt, qemu->qtest);
	if ((ret = alog_open(&lab->log, spec->log)) || (ret = dma_init(lab)) ||
	    (ret = fault_init(lab)) || (ret = setup_machine(b, qemu)) || (ret = listen_all(lab)))
		return ret;
	return watch_all(b);
}

/* Send what is queued, and be told when the rest can be sent. */
static void flush_all(struct lab *lab)
{
	uint32_t want = EPOLLIN | (qtest_flush(&lab->qt) ? EPOLLOUT : 0u);

	if (!lab->qt.dead && want != lab->qt.src.events)
		lab_watch(lab->epfd, &lab->qt.src, want);
	want = EPOLLIN | (qmp_flush(&lab->qmp) ? EPOLLOUT : 0u);
	if (!lab->qmp.dead && want != lab->qmp.src.events)
		lab_watch(lab->epfd, &lab->qmp.src, want);
	if (lab->qt.dead || lab->qmp.dead) /* its death may have completed something */
		vfu_finish_turn(lab);
}

static void serve(struct bridge *b)
{
	struct lab *lab = &b->lab;

	while (!b->orphaned) {
		struct epoll_event ev[32];

		vfu_finish_turn(lab);
		flush_all(lab);
		int n = epoll_wait(lab->epfd, ev, 32, -1);
		for (int i = 0; i < n; i++) {
			struct lab_source *src = ev[i].data.ptr;

			src->ready(src, ev[i].events);
		}
	}
}

int bridge_run(const struct lab_spec *spec, const struct qemu *qemu, int guardian, int commands,
	       struct lab_stat *stats, int report)
{
	static struct bridge b;
	char why[512] = "";

	prctl(PR_SET_NAME, "lab-bridge");
	b.guardian.fd = guardian;
	b.commands.fd = commands;
	b.stats = stats;
	lab_msg_capture(why, sizeof(why));
	int ret = setup(&b, spec, qemu);
	lab_msg_capture(NULL, 0);
	if (ret) {
		json_t *err = json_pack("{s:s}", "error", why);

		json_dumpfd(err, report, JSON_COMPACT);
		json_decref(err);
		return 1;
	}
	report_ready(&b.lab, report);
	serve(&b);
	vfu_shutdown(&b.lab);
	rundir_remove(spec->dir, spec->dirfd);
	return 0;
}
