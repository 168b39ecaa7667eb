/* SPDX-License-Identifier: MIT */
/* Status page and flight recorder. */
#include "base/recorder.h"

#include "base/os.h"
#include "base/trace.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define RECORDER_PAGE	 4096u
#define RECORDER_VERSION 1u
#define RECORDER_RINGS	 (AU_RECORDER_LANES * AU_RECORDER_RECORDS * sizeof(struct au_record))
#define RECORDER_SEALS	 (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

_Static_assert(sizeof(struct au_status) <= RECORDER_PAGE, "one page");

size_t au_recorder_size(void)
{
	return RECORDER_PAGE + AU_RECORDER_CRASH + RECORDER_RINGS;
}

int au_memfd_sealed(const char *name, size_t size)
{
	int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING), err;

	if (fd < 0)
		return -errno;
	if (size <= INT64_MAX && ftruncate(fd, (off_t)size) == 0 &&
	    fcntl(fd, F_ADD_SEALS, RECORDER_SEALS) == 0)
		return fd;
	err = size <= INT64_MAX ? -errno : -EFBIG;
	close(fd);
	return err;
}

int au_memfd_check(int fd, size_t size)
{
	int seals = fcntl(fd, F_GET_SEALS);
	struct stat st;

	if (seals < 0 || (seals & RECORDER_SEALS) != RECORDER_SEALS)
		return -EPERM;
	if (fstat(fd, &st) != 0 || st.st_size < 0 || (uint64_t)st.st_size < size)
		return -EPERM;
	return 0;
}

/* Where each lane goes on: behind the newest record that an earlier writer left. */
static void recorder_resume(struct au_recorder *rec)
{
	for (unsigned int lane = 0; lane < AU_RECORDER_LANES; lane++) {
		const struct au_record *ring = &rec->records[lane * AU_RECORDER_RECORDS];

		for (unsigned int i = 0; i < AU_RECORDER_RECORDS; i++) {
			uint32_t seq = atomic_load_explicit(&ring[i].seq, memory_order_relaxed);

			if (seq > rec->next[lane])
				rec->next[lane] = seq;
		}
	}
}

int au_recorder_map(int fd, bool write, struct au_recorder *rec)
{
	size_t size = au_recorder_size();
	int err = au_memfd_check(fd, size);
	char *base;

	memset(rec, 0, sizeof(*rec));
	if (err)
		return err;
	base = mmap(NULL, size, write ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, fd, 0);
	if (base == MAP_FAILED)
		return -errno;
	rec->size = size;
	rec->status = (void *)base;
	rec->crash = (void *)(base + RECORDER_PAGE);
	rec->records = (void *)(base + RECORDER_PAGE + AU_RECORDER_CRASH);
	if (write && rec->status->magic == 0) {
		rec->status->version = RECORDER_VERSION;
		rec->status->lanes = AU_RECORDER_LANES;
		rec->status->magic = AU_RECORDER_MAGIC;
	}
	if (rec->status->magic != AU_RECORDER_MAGIC && (write || rec->status->magic != 0)) {
		au_recorder_unmap(rec);
		return -EINVAL;
	}
	if (write)
		recorder_resume(rec);
	return 0;
}

void au_recorder_unmap(struct au_recorder *rec)
{
	if (rec->status)
		munmap(rec->status, rec->size);
	memset(rec, 0, sizeof(*rec));
}

/* The next record of a lane, marked as being written; publish with recorder_publish(). */
static struct au_record *recorder_next(struct au_recorder *rec, unsigned int lane)
{
	struct au_record *r;

	r = &rec->records[lane * AU_RECORDER_RECORDS + rec->next[lane] % AU_RECORDER_RECORDS];
	atomic_store_explicit(&r->seq, 0, memory_order_relaxed);
	atomic_signal_fence(memory_order_seq_cst);
	r->time_ns = au_os_now_ns();
	return r;
}

static void recorder_publish(struct au_recorder *rec, unsigned int lane, struct au_record *r)
{
	if (++rec->next[lane] == 0)
		rec->next[lane] = 1;
	atomic_store_explicit(&r->seq, rec->next[lane], memory_order_release);
}

void au_recorder_note(struct au_recorder *rec, unsigned int lane, uint16_t point,
		      const uint64_t *args, unsigned int count)
{
	struct au_record *r;

	if (!rec || lane >= AU_RECORDER_LANES)
		return;
	r = recorder_next(rec, lane);
	r->point = point;
	r->length = 0;
	for (unsigned int i = 0; i < 6; i++)
		r->arg[i] = i < count ? args[i] : 0;
	recorder_publish(rec, lane, r);
}

void au_recorder_named(struct au_recorder *rec, unsigned int lane, uint16_t point, uint64_t arg,
		       const char *text)
{
	const size_t room = sizeof(((struct au_record *)0)->text) - sizeof(arg);
	struct au_record *r;

	if (!rec || lane >= AU_RECORDER_LANES)
		return;
	r = recorder_next(rec, lane);
	r->point = point;
	r->length = 0;
	r->arg[0] = arg;
	memset(r->text + sizeof(arg), 0, room);
	memcpy(r->text + sizeof(arg), text, strnlen(text, room));
	recorder_publish(rec, lane, r);
}

void au_recorder_text(struct au_recorder *rec, unsigned int lane, const char *text)
{
	size_t left = strlen(text);

	if (!rec || lane >= AU_RECORDER_LANES)
		return;
	/* The length of a record is that of the rest of the line, so a reader can join them. */
	for (; left; text += sizeof(((struct au_record *)0)->text)) {
		struct au_record *r = recorder_next(rec, lane);
		size_t part = left < sizeof(r->text) ? left : sizeof(r->text);

		r->point = AU_TRACE_log;
		r->length = (uint16_t)(left < UINT16_MAX ? left : UINT16_MAX);
		memset(r->text, 0, sizeof(r->text));
		memcpy(r->text, text, part);
		recorder_publish(rec, lane, r);
		left -= part;
	}
}
