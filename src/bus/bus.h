/* SPDX-License-Identifier: MIT */
/**
 * DOC: The bus interface: how the framework reaches one PCI function
 *
 * A transport (vfio-user, the kernel's VFIO) fills in &struct au_bus_ops. A bus object belongs
 * to one thread at a time: the lane, or, after au_bus_share(), the lanes. An access blocks until
 * the device has answered, at most for the session's time-out. Every access can fail only one way
 * that lasts: the function is gone. Reads then give all-ones, writes vanish, @gone is set for good
 * and @why says why, once: whoever runs the device logs it.
 *
 * Errors of an access: -ENODEV: gone; -EINVAL: not inside the region; -EIO: the device refused it.
 * The values read are all-ones in each case, as they are on hardware.
 *
 * Posted writes are gathered: they leave, in order, with the next read, write or write_rep8(), or
 * with flush(). The lane calls au_bus_flush() at the end of each turn, so that none lingers.
 */
#ifndef AU_BUS_BUS_H
#define AU_BUS_BUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct au_bus;

/** enum au_bus_kind - how a device is reached. */
enum au_bus_kind {
	AU_BUS_VIRTUAL = 0, /* it is not: there is no hardware below */
	AU_BUS_VFIO_USER = 1,
	AU_BUS_VFIO = 2,
	AU_BUS_VHOST_USER = 3,
};

#define AU_BUS_BARS	     6
#define AU_BUS_REGION_CONFIG 7 /* VFIO's index of the configuration space */
#define AU_BUS_REGIONS	     9 /* BARs, expansion ROM, configuration space, VGA */

#define AU_BUS_AREAS	     4 /* mapped parts of one region */
#define AU_BUS_IRQS	     3 /* kinds of interrupts: see below */
#define AU_BUS_RANGES	     8 /* of addresses that a device may use */
#define AU_BUS_FDS	     3 /* descriptors of a session */

/* VFIO's indexes of the kinds of interrupts. */
enum au_bus_irq { AU_BUS_INTX = 0, AU_BUS_MSI = 1, AU_BUS_MSIX = 2 };

/** struct au_bus_area - a part of a region that is mapped in this process. */
struct au_bus_area {
	uint64_t offset;
	uint64_t size;
	volatile void *base;
};

/**
 * struct au_bus_region - one region of the function.
 * @size: bytes; 0: not there.
 * @io: an I/O-port BAR.
 * @areas: how many parts of it are mapped; accesses to the rest are messages.
 */
struct au_bus_region {
	uint64_t size;
	bool io;
	unsigned int areas;
	struct au_bus_area area[AU_BUS_AREAS];
};

/** au_bus_mapped - where @size bytes at @offset are mapped, or NULL: not, or not in one piece. */
static inline volatile void *au_bus_mapped(const struct au_bus_region *region, uint64_t offset,
					   uint64_t size)
{
	for (unsigned int i = 0; i < region->areas; i++) {
		const struct au_bus_area *a = &region->area[i];

		if (offset >= a->offset && offset - a->offset <= a->size &&
		    size <= a->size - (offset - a->offset))
			return (volatile char *)a->base + (offset - a->offset);
	}
	return NULL;
}

/**
 * struct au_bus_ops - a transport.
 * @read: read @width (1, 2, 4, 8) bytes at @offset of @region, little endian.
 * @write: write; @posted: it may reach the device later, but before the next read or write.
 * @read_rep8: read one 8-bit register @count times (at most 256), in one round trip.
 * @write_rep8: write @count bytes to one 8-bit register; posted, but sent before it returns.
 * @flush: send the posted writes that wait; see au_bus_flush().
 * @irq_set: connect the first @count vectors of interrupt @index (enum au_bus_irq) to eventfds, -1
 *	for one that nobody wants; 0: disconnect all.
 * @irq_unmask: unmask an INTx that masked itself when it fired.
 * @dma_map: let the device reach @size bytes of the memfd @fd, from @offset on, which are at @cpu
 *	in this process, at the address @iova; all of them whole pages. It lasts until dma_unmap()
 *	or the end of the session. NULL: no DMA.
 * @dma_unmap: what dma_map() did is over when this returns.
 * @reset: reset the function; -ENOTSUP when it has no reset.
 * @low_power: the function may be put to rest as deeply as the system can; false: it is needed
 *	again. Nothing is accessed between. NULL, -ENOTSUP: there is no such thing.
 * @wait_fd: a descriptor that becomes readable (or hangs up) when attend() should be called, or -1.
 * @attend: look at what arrived unasked: sets @gone when the server has gone. Does not block.
 * @close: let go of everything and free @bus.
 */
struct au_bus_ops {
	int (*read)(struct au_bus *bus, unsigned int region, uint64_t offset, uint32_t width,
		    uint64_t *value);
	int (*write)(struct au_bus *bus, unsigned int region, uint64_t offset, uint32_t width,
		     uint64_t value, bool posted);
	int (*read_rep8)(struct au_bus *bus, unsigned int region, uint64_t offset, uint8_t *buf,
			 uint32_t count);
	int (*write_rep8)(struct au_bus *bus, unsigned int region, uint64_t offset,
			  const uint8_t *buf, uint32_t count);
	int (*flush)(struct au_bus *bus);
	int (*irq_set)(struct au_bus *bus, unsigned int index, const int *fds, unsigned int count);
	int (*irq_unmask)(struct au_bus *bus, unsigned int index);
	int (*dma_map)(struct au_bus *bus, uint64_t iova, uint64_t size, void *cpu, int fd,
		       uint64_t offset);
	int (*dma_unmap)(struct au_bus *bus, uint64_t iova, uint64_t size);
	int (*reset)(struct au_bus *bus);
	int (*low_power)(struct au_bus *bus, bool on);
	int (*wait_fd)(struct au_bus *bus);
	void (*attend)(struct au_bus *bus);
	void (*close)(struct au_bus *bus);
};

/** enum au_bus_loss - how a function went. */
enum au_bus_loss {
	AU_BUS_LOST,   /* without a word */
	AU_BUS_WANTED, /* the system wants it back */
	AU_BUS_FAILED, /* it reported an error that cannot be mended */
};

/** struct au_bus_range - addresses, both ends included. */
struct au_bus_range {
	uint64_t first, last;
};

/**
 * struct au_bus - a function in reach. A transport embeds it.
 * @ops: the transport.
 * @regions: by VFIO region index.
 * @irqs: how many vectors of each kind there are.
 * @ranges, @range_count: the addresses that dma_map() takes; none: all of them.
 * @gone: it does not answer any more; @why and @loss are filled in before. Any thread of the
 * device.
 * @pending: posted writes wait for a flush.
 * @why: one line about why it is gone; empty before.
 * @loss: what the transport was told about that.
 * @address: as people write it, "vfio-user:/run/x.sock".
 * @before: of whoever has put itself before the transport, to find itself again.
 * @below: the transport, when au_bus_share() has put itself before it.
 */
struct au_bus {
	const struct au_bus_ops *ops;
	struct au_bus_region regions[AU_BUS_REGIONS];
	uint32_t irqs[AU_BUS_IRQS];
	struct au_bus_range ranges[AU_BUS_RANGES];
	unsigned int range_count;
	_Atomic bool gone;
	bool pending;
	char why[160];
	enum au_bus_loss loss;
	char address[128];
	void *before;
	struct au_bus_shared *below;
};

/** au_bus_flush - send posted writes that wait. Costs one load when there are none. */
static inline void au_bus_flush(struct au_bus *bus)
{
	if (bus->pending)
		bus->ops->flush(bus);
}

/**
 * struct au_bus_session - an open session, in a form that can be sent to another process: the
 * manager opens and resets, the host adopts. The descriptors travel beside it.
 */
struct au_bus_session {
	uint32_t size;
	uint32_t transport; /* enum au_bus_kind */
	uint32_t max_data;  /* bytes of one access message */
	uint32_t max_fds;
	uint32_t write_multiple; /* 1: REGION_WRITE_MULTI was negotiated */
	uint32_t next_id;	 /* first free message id */
	uint32_t flags;		 /* VFIO_DEVICE_FLAGS_* */
	uint32_t timeout_ms;	/* without an answer for so long it is gone; 0: AU_BUS_TIMEOUT_MS */
	uint32_t vendor_device; /* as au_pci_ids() gives them, read while opening: what the */
	uint32_t class_code;	/* manager matches drivers by */
};

#define AU_BUS_TIMEOUT_MS 5000

/**
 * au_bus_open - open a session by address; see au_vfu_open() and au_vfio_open().
 * @fds: its descriptors, the caller's; -1 where there is none, all of them on failure. A socket;
 *	for VFIO the device, its group, its container.
 * @error: one line on failure, @error_size bytes.
 * Return: 0 or a negative errno; -EBUSY, -EAGAIN: somebody else still has it.
 */
int au_bus_open(const char *address, int timeout_ms, struct au_bus_session *session,
		int fds[AU_BUS_FDS], char *error, size_t error_size);

/** au_bus_adopt - make a bus of an open session; takes @fds, also on failure. The session may come
 * from another process: it is checked. */
int au_bus_adopt(int fds[AU_BUS_FDS], const struct au_bus_session *session, const char *address,
		 struct au_bus **bus);

/**
 * au_bus_share - from now on several threads may use the bus, one after the other; posted writes do
 * not wait for a flush any more. Regions that are mapped are used as ever. Before the second one
 * comes. Return: 0 or -ENOMEM.
 */
int au_bus_share(struct au_bus *bus);

/** au_bus_fds_close - close what is not -1, and make it so. */
void au_bus_fds_close(int fds[AU_BUS_FDS]);

/**
 * au_vfu_open - connect to a vfio-user server, negotiate, and quiet the function: bus mastering
 * off, INTx disabled, interrupts disconnected, reset by the gentlest means there is (none, when it
 * has no reset). The manager calls this; it never blocks longer than @timeout_ms in all.
 * @error: one line on failure, @error_size bytes.
 * Return: the connected descriptor with @session filled in, or a negative errno.
 */
int au_vfu_open(const char *path, int timeout_ms, struct au_bus_session *session, char *error,
		size_t error_size);

/** au_vfu_adopt - what au_bus_adopt() does for vfio-user. */
int au_vfu_adopt(int fd, const struct au_bus_session *session, const char *address,
		 struct au_bus **bus);

/**
 * au_bus_connect - connect to the socket @path, for at most @timeout_ms.
 * @error: one line on failure. Return: the descriptor or a negative errno.
 */
int au_bus_connect(const char *path, int timeout_ms, char *error, size_t error_size);

/**
 * au_vhost_open - connect to a vhost-user back-end and find out what it is. Return: as
 * au_vfu_open().
 */
int au_vhost_open(const char *path, int timeout_ms, struct au_bus_session *session, char *error,
		  size_t error_size);

/** au_vhost_adopt - what au_bus_adopt() does for vhost-user: the back-end as a PCI function. */
int au_vhost_adopt(int fd, const struct au_bus_session *session, const char *address,
		   struct au_bus **bus);

/**
 * au_vfio_open - open a function that is bound to vfio-pci. The kernel resets it on the way, if it
 * has a reset; bus mastering and INTx are off then.
 * @address: DDDD:BB:DD.F.
 */
int au_vfio_open(const char *address, struct au_bus_session *session, int fds[AU_BUS_FDS],
		 char *error, size_t error_size);

/** au_vfio_adopt - what au_bus_adopt() does for VFIO. */
int au_vfio_adopt(int fds[AU_BUS_FDS], const struct au_bus_session *session, const char *address,
		  struct au_bus **bus);

/* PCI core, on any transport. */

/**
 * au_pci_enable - switch memory and I/O decoding, bus mastering and INTx on or off; the other bits
 * of the command register stay. All off is how a function is left alone.
 */
int au_pci_enable(struct au_bus *bus, bool decode, bool master, bool intx);
/** au_pci_quiet - bus mastering off, INTx disabled; decoding stays as it is. */
int au_pci_quiet(struct au_bus *bus);
/** au_pci_bars - find out which BARs are I/O ports, for regions whose size is known. */
void au_pci_bars(struct au_bus *bus);
/** au_pci_ids - vendor << 16 | device, and the 24-bit class code; -ENODEV when nobody answers.
 */
int au_pci_ids(struct au_bus *bus, uint32_t *vendor_device, uint32_t *class_code);
/** au_pci_capability - offset of the first capability @id, or 0; a bounded walk. */
uint32_t au_pci_capability(struct au_bus *bus, uint8_t id);

#define AU_PCI_HEADER 16u /* words of it */

/**
 * struct au_pci_saved - what a function may forget in D3.
 * @pm: where its power management capability is; 0: it has none.
 * @forgets: it comes back as after a reset.
 * @deep: the system was told that it may rest.
 */
struct au_pci_saved {
	uint32_t pm;
	bool forgets;
	bool deep;
	uint32_t header[AU_PCI_HEADER];
};

/** au_pci_sleep - D3hot, if it has that, and deeper, if the system can. Bus mastering is off then.
 * Return: 0; -ENOTSUP: it can do neither, and is only quiet; -ENODEV. */
int au_pci_sleep(struct au_bus *bus, struct au_pci_saved *saved);
/** au_pci_wake - to D0, from whatever state; @saved: of au_pci_sleep(), or zero. @wait_ms: gets how
 * long it must not be touched from now on; then comes au_pci_restore(). */
int au_pci_wake(struct au_bus *bus, struct au_pci_saved *saved, uint32_t *wait_ms);
/** au_pci_restore - what it has forgotten. */
void au_pci_restore(struct au_bus *bus, const struct au_pci_saved *saved);

#endif
