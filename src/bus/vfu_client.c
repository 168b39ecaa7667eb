/* SPDX-License-Identifier: MIT */
/* vfio-user: opening a session, negotiating, quieting the function, and adopting a session. */
#include "bus/vfu.h"

#include <jansson.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define SAY(...) snprintf(error, error_size, __VA_ARGS__)

#define CLIENT_CAPS                              \
	"{\"capabilities\":{\"max_msg_fds\":%d," \
	"\"max_data_xfer_size\":%d,\"write_multiple\":true}}"
#define CLIENT_DATA_MIN	    8	      /* the widest access */
#define CLIENT_DATA_DEFAULT (1 << 20) /* what the specification says */
#define CLIENT_DATA_LIMIT   (1 << 30)

/* ------------------------------------------------------------------ connect */

static const char *connect_advice(int err)
{
	switch (err) {
	case ENOENT:
		return "no such socket: is its server running?";
	case ECONNREFUSED:
		return "nobody listens on it: its server has gone";
	case ENOTSOCK:
	case EPROTOTYPE:
		return "not a socket that takes connections";
	case EAGAIN:
		return "its server does not accept connections: it may be busy or hang";
	default:
		return strerror(err);
	}
}

int au_bus_connect(const char *path, int timeout_ms, char *error, size_t error_size)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	struct timeval limit = { .tv_sec = timeout_ms / 1000,
				 .tv_usec = (timeout_ms % 1000) * 1000 };
	size_t length = strlen(path);
	int fd, err;

	if (length == 0 || length >= sizeof(addr.sun_path)) {
		SAY("%.40s...: a socket's path has 1 to %zu bytes, this one has %zu", path,
		    sizeof(addr.sun_path) - 1, length);
		return -EINVAL;
	}
	memcpy(addr.sun_path, path, length + 1);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0) {
		err = errno;
		SAY("%s: no socket: %s", path, strerror(err));
		return -err;
	}
	/* This bounds connect(), too, which waits while the server's backlog is full. */
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0)
		return fd;
	err = errno;
	SAY("%s: %s", path, connect_advice(err));
	close(fd);
	return err == EAGAIN ? -ETIMEDOUT : -err;
}

/* ---------------------------------------------------------------- negotiate */

/* A number among the server's capabilities: 0 when it is fine or absent. */
static int caps_number(json_t *caps, const char *name, json_int_t min, json_int_t max,
		       uint32_t *value)
{
	json_t *number = json_object_get(caps, name);
	json_int_t n;

	if (!number)
		return 0;
	n = json_integer_value(number);
	if (!json_is_integer(number) || n < min)
		return -EPROTO;
	*value = (uint32_t)(n < max ? n : max);
	return 0;
}

static int caps_parse(const char *text, struct au_bus_session *session)
{
	json_t *root = json_loads(text, 0, NULL), *caps = json_object_get(root, "capabilities");
	json_t *multiple = json_object_get(caps, "write_multiple");
	int err = 0;

	if (!json_is_object(root) || (caps && !json_is_object(caps)) ||
	    (multiple && !json_is_boolean(multiple)))
		err = -EPROTO;
	if (!err)
		err = caps_number(caps, "max_data_xfer_size", CLIENT_DATA_MIN, CLIENT_DATA_LIMIT,
				  &session->max_data);
	if (!err)
		err = caps_number(caps, "max_msg_fds", 0, VFU_FDS_MAX, &session->max_fds);
	session->write_multiple = json_is_true(multiple);
	json_decref(root);
	return err;
}

static int client_negotiate(struct vfu *vfu, struct au_bus_session *session)
{
	struct vfu_version version = { .major = VFU_MAJOR, .minor = VFU_MINOR };
	const uint8_t *payload;
	uint32_t size;
	uint16_t id;
	char caps[128];
	uint8_t *at;
	int length = snprintf(caps, sizeof(caps), CLIENT_CAPS, VFU_FDS_MAX, VFU_DATA_MAX);
	int err;

	at = vfu_put(vfu, VFU_VERSION, 0, (uint32_t)(sizeof(version) + (size_t)length + 1), &id);
	if (!at)
		return -ENODEV;
	memcpy(at, &version, sizeof(version));
	memcpy(at + sizeof(version), caps, (size_t)length + 1);
	err = vfu_call(vfu, VFU_VERSION, id, -1, sizeof(version), &payload, &size);
	if (err && !vfu->bus.gone)
		return vfu_gone(vfu, err, "the vfio-user server refused the session: %s",
				strerror(-err));
	if (err)
		return err;
	memcpy(&version, payload, sizeof(version));
	if (version.major != VFU_MAJOR || version.minor > VFU_MINOR)
		return vfu_broken(vfu, "it speaks version %u.%u, we speak %u.%u", version.major,
				  version.minor, VFU_MAJOR, VFU_MINOR);
	session->max_data = CLIENT_DATA_DEFAULT;
	session->max_fds = 1;
	if (size > sizeof(version) &&
	    (payload[size - 1] != '\0' ||
	     caps_parse((const char *)payload + sizeof(version), session)))
		return vfu_broken(vfu, "its capabilities make no sense");
	return 0;
}

static int client_info(struct vfu *vfu, struct vfu_info *info)
{
	const uint8_t *payload;
	uint32_t size;
	uint16_t id;
	void *at = vfu_put(vfu, VFU_GET_INFO, 0, sizeof(*info), &id);
	int err;

	if (!at)
		return -ENODEV;
	*info = (struct vfu_info){ .argsz = sizeof(*info) };
	memcpy(at, info, sizeof(*info));
	err = vfu_call(vfu, VFU_GET_INFO, id, -1, sizeof(*info), &payload, &size);
	if (err && !vfu->bus.gone)
		return vfu_gone(vfu, err, "the vfio-user server does not tell about its device: %s",
				strerror(-err));
	if (err)
		return err;
	memcpy(info, payload, sizeof(*info));
	if (!(info->flags & VFIO_DEVICE_FLAGS_PCI) || info->num_regions <= AU_BUS_REGION_CONFIG)
		return vfu_gone(vfu, -ENOTSUP, "it is not a PCI function");
	vfu->flags = info->flags;
	return 0;
}

/* -------------------------------------------------------------------- quiet */

static int client_quiet(struct vfu *vfu, uint32_t num_irqs, struct au_bus_session *session)
{
	int err;

	vfu_region(vfu, AU_BUS_REGION_CONFIG, false);
	if (!vfu->bus.gone && vfu->bus.regions[AU_BUS_REGION_CONFIG].size < PCI_STD_HEADER_SIZEOF)
		return vfu_broken(vfu, "a configuration space of less than %u bytes",
				  PCI_STD_HEADER_SIZEOF);
	if (!vfu->bus.gone && au_pci_ids(&vfu->bus, &session->vendor_device, &session->class_code))
		return vfu_gone(vfu, -ENODEV,
				"the device does not answer: it is dead or unplugged");
	au_pci_quiet(&vfu->bus);
	/* A new session should have none connected; a server that thinks so may refuse. */
	for (uint32_t i = 0; i < num_irqs && i < VFIO_PCI_NUM_IRQS && !vfu->bus.gone; i++)
		if (vfu_irq_count(vfu, i))
			vfu_irq_disconnect(vfu, i);
	err = vfu_ops.reset(&vfu->bus);
	if (err && err != -ENOTSUP && !vfu->bus.gone)
		return vfu_gone(vfu, err, "the device refused the reset: %s", strerror(-err));
	au_pci_quiet(&vfu->bus);
	return vfu->bus.gone ? -ENODEV : 0;
}

int vfu_start(struct vfu *vfu, struct au_bus_session *session)
{
	struct vfu_info info;
	int err;

	*session =
		(struct au_bus_session){ .size = sizeof(*session), .transport = AU_BUS_VFIO_USER };
	err = client_negotiate(vfu, session);
	if (!err)
		err = client_info(vfu, &info);
	if (!err)
		err = client_quiet(vfu, info.num_irqs, session);
	if (!err && vfu->rx_head != vfu->rx_tail)
		err = vfu_broken(vfu, "half a message that nothing asked for");
	session->next_id = vfu->next_id;
	session->flags = vfu->flags;
	return err;
}

/* ------------------------------------------------------------------- public */

int au_vfu_open(const char *path, int timeout_ms, struct au_bus_session *session, char *error,
		size_t error_size)
{
	uint64_t deadline;
	struct vfu *vfu;
	int fd, err;

	if (timeout_ms < 1)
		timeout_ms = 1; /* to a socket, none is for ever */
	deadline = vfu_now_ms() + (uint64_t)timeout_ms;
	fd = au_bus_connect(path, timeout_ms, error, error_size);
	if (fd < 0)
		return fd;
	vfu = vfu_new(fd, (uint32_t)timeout_ms);
	if (!vfu) {
		SAY("%s: no memory", path);
		return -ENOMEM;
	}
	vfu->deadline_ms = deadline;
	err = vfu_start(vfu, session);
	if (err) {
		SAY("%s: %s", path, vfu->bus.why);
		err = vfu->cause;
		fd = -1;
	} else {
		vfu->fd = -1;
	}
	vfu_free(vfu);
	return err ? err : fd;
}

static bool session_sane(int fd, const struct au_bus_session *session)
{
	int domain = 0, type = 0;
	socklen_t size = sizeof(int);

	if (session->size < sizeof(*session) || session->transport != AU_BUS_VFIO_USER ||
	    session->max_data < CLIENT_DATA_MIN || session->timeout_ms > 3600000)
		return false;
	if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) ||
	    getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size))
		return false;
	return domain == AF_UNIX && type == SOCK_STREAM;
}

int au_vfu_adopt(int fd, const struct au_bus_session *session, const char *address,
		 struct au_bus **bus)
{
	uint32_t timeout = session->timeout_ms ? session->timeout_ms : AU_BUS_TIMEOUT_MS;
	struct vfu *vfu;
	int err;

	if (!session_sane(fd, session)) {
		if (fd >= 0)
			close(fd);
		return -EINVAL;
	}
	vfu = vfu_new(fd, timeout);
	if (!vfu)
		return -ENOMEM;
	vfu->next_id = (uint16_t)session->next_id;
	vfu->flags = session->flags;
	if (session->write_multiple)
		vfu->multi_max = session->max_data / (uint32_t)sizeof(struct vfu_write);
	if (vfu->multi_max > VFU_MULTI_MAX)
		vfu->multi_max = VFU_MULTI_MAX;
	snprintf(vfu->bus.address, sizeof(vfu->bus.address), "%s", address);
	for (uint32_t i = 0; i < AU_BUS_REGIONS && !vfu->bus.gone; i++)
		vfu_region(vfu, i, true);
	for (uint32_t i = 0; i < AU_BUS_IRQS && !vfu->bus.gone; i++)
		vfu->bus.irqs[i] = vfu_irq_count(vfu, i);
	au_pci_bars(&vfu->bus);
	if (vfu->bus.gone) {
		err = vfu->cause;
		vfu_free(vfu);
		return err;
	}
	*bus = &vfu->bus;
	return 0;
}
