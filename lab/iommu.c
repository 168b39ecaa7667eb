/* SPDX-License-Identifier: MIT */
/*
 * iommu.c: root, context and second-level tables (Intel VT-d, rev. 3.3, 9.1, 9.3 and 9.8), and the
 * registers that turn them on (11.4). Only the legacy mode, 48 bits, four levels.
 */
#include "iommu.h"
#include "lab.h"

#include <errno.h>
#include <string.h>

#define VTD	     0xfed90000u
#define REG_CAP	     0x08
#define REG_ECAP     0x10
#define REG_GCMD     0x18
#define REG_GSTS     0x1c
#define REG_ROOT     0x20
#define REG_CCMD     0x28

#define GCMD_TE	     (UINT32_C(1) << 31)
#define GCMD_SRTP    (UINT32_C(1) << 30)
#define CCMD_GLOBAL  (UINT64_C(1) << 63 | UINT64_C(1) << 61)
#define IOTLB_GLOBAL (UINT64_C(1) << 63 | UINT64_C(1) << 60)
#define IOTLB_DOMAIN (UINT64_C(1) << 63 | UINT64_C(2) << 60)

#define PRESENT	     UINT64_C(1)
#define TABLE	     UINT64_C(3) /* readable and writable, as far as the entries below say so */
#define LARGE	     (UINT64_C(1) << 7)
#define ADDRESS	     UINT64_C(0xfffffffff000)
#define WIDTH_48     UINT64_C(2)
#define LEVELS	     4
#define LARGE_SIZE   (UINT64_C(2) << 20)

#define FIRST_PAGE   256u /* 1 MiB: below is what PCs keep for firmware */
#define ENTRIES	     512u

static uint64_t *table_at(const struct iommu *m, uint64_t addr)
{
	return (uint64_t *)(void *)(m->ram + addr);
}

/* QEMU looks at the tables at any time. */
static void set_entry(uint64_t *entry, uint64_t value)
{
	__atomic_store_n(entry, value, __ATOMIC_RELEASE);
}

/* Return: the address of a new empty table, 0 when there is no more room. */
static uint64_t new_table(struct iommu *m)
{
	if (!m->num_free)
		return 0;

	uint64_t addr = (uint64_t)m->free[--m->num_free] * LAB_PAGE;
	memset(m->ram + addr, 0, LAB_PAGE);
	return addr;
}

int iommu_init(struct lab *lab, void *ram, size_t size)
{
	struct iommu *m = &lab->iommu;
	unsigned int pages = (unsigned int)(size / LAB_PAGE);

	m->ram = ram;
	m->free = lab_xcalloc(pages, sizeof(*m->free));
	m->limbo = lab_xcalloc(pages, sizeof(*m->limbo));
	for (unsigned int i = pages; i-- > FIRST_PAGE;)
		m->free[m->num_free++] = i;
	m->root = new_table(m);
	m->context = new_table(m);
	if (!m->root || !m->context)
		return lab_fail(-ENOSPC, "no room for the IOMMU's tables");
	table_at(m, m->root)[0] = m->context | PRESENT; /* bus 0; a root entry is 16 bytes */
	return 0;
}

static int reg_write(struct lab *lab, unsigned int reg, unsigned int width, uint64_t value)
{
	return qtest_call(&lab->qt, QTEST_WRITE, width, VTD + reg, value, NULL);
}

int iommu_setup(struct lab *lab)
{
	struct iommu *m = &lab->iommu;
	uint64_t cap, ecap, status;
	int ret;

	if ((ret = qtest_call(&lab->qt, QTEST_READ, 8, VTD + REG_CAP, 0, &cap)) ||
	    (ret = qtest_call(&lab->qt, QTEST_READ, 8, VTD + REG_ECAP, 0, &ecap)))
		return ret;
	m->fault_reg = VTD + 16 * (unsigned int)(cap >> 24 & 0x3ff);
	m->invalidate_reg = VTD + 16 * (unsigned int)(ecap >> 8 & 0x3ff) + 8;
	if ((ret = reg_write(lab, REG_ROOT, 8, m->root)) ||
	    (ret = reg_write(lab, REG_GCMD, 4, GCMD_SRTP)) ||
	    (ret = reg_write(lab, REG_CCMD, 8, CCMD_GLOBAL)) ||
	    (ret = reg_write(lab, m->invalidate_reg - VTD, 8, IOTLB_GLOBAL)) ||
	    (ret = reg_write(lab, REG_GCMD, 4, GCMD_TE)) ||
	    (ret = qtest_call(&lab->qt, QTEST_READ, 4, VTD + REG_GSTS, 0, &status)))
		return ret;
	if (!(status & GCMD_TE))
		return lab_fail(-EIO, "QEMU's IOMMU cannot be turned on");
	return 0;
}

static unsigned int devfn(const struct lab_func *f)
{
	return (unsigned int)f->slot << 3 | f->fn;
}

/* Domains tell QEMU's remembered translations apart; 0 is not for use. */
static unsigned int domain(const struct lab_func *f)
{
	return devfn(f) + 1;
}

int iommu_add_func(struct lab_func *f)
{
	struct iommu *m = &f->lab->iommu;
	uint64_t *context = table_at(m, m->context) + 2 * devfn(f);

	f->iova_table = new_table(m);
	if (!f->iova_table)
		return lab_fail(-ENOSPC, "no room for the IOMMU's tables");
	set_entry(&context[1], WIDTH_48 | (uint64_t)domain(f) << 8);
	set_entry(&context[0], f->iova_table | PRESENT);
	return 0;
}

static unsigned int index_at(uint64_t iova, unsigned int level)
{
	return (unsigned int)(iova >> (12 + 9 * (level - 1))) & (ENTRIES - 1);
}

/* The entry of @iova in its table of @level, made when there is none; NULL: no room. */
static uint64_t *find_entry(struct iommu *m, uint64_t table, uint64_t iova, unsigned int level)
{
	for (unsigned int l = LEVELS; l > level; l--) {
		uint64_t *entry = &table_at(m, table)[index_at(iova, l)];

		if (!*entry) {
			uint64_t next = new_table(m);

			if (!next)
				return NULL;
			set_entry(entry, next | TABLE);
		}
		table = *entry & ADDRESS;
	}
	return &table_at(m, table)[index_at(iova, level)];
}

int iommu_map(struct lab_func *f, uint64_t iova, uint64_t gpa, uint64_t size, unsigned int prot)
{
	struct iommu *m = &f->lab->iommu;
	uint64_t done = 0;

	while (done < size) {
		bool large = ((iova + done) | (gpa + done)) % LARGE_SIZE == 0 &&
			     size - done >= LARGE_SIZE;
		uint64_t *entry = find_entry(m, f->iova_table, iova + done, large ? 2 : 1);

		/* A large page whose range still has an empty table: that one is filled instead. */
		if (entry && large && *entry) {
			large = false;
			entry = find_entry(m, f->iova_table, iova + done, 1);
		}
		if (!entry) {
			iommu_unmap(f, iova, done + LAB_PAGE);
			return -ENOSPC;
		}
		set_entry(entry, (gpa + done) | prot | (large ? LARGE : 0));
		done += large ? LARGE_SIZE : LAB_PAGE;
	}
	return 0;
}

static bool is_empty(const uint64_t *table)
{
	for (unsigned int i = 0; i < ENTRIES; i++)
		if (table[i])
			return false;
	return true;
}

/* Clear [iova, end) below a table of @level, and give back the tables that have become empty. */
static void clear(struct iommu *m, uint64_t table, unsigned int level, uint64_t iova, uint64_t end)
{
	uint64_t span = UINT64_C(1) << (12 + 9 * (level - 1));

	while (iova < end) {
		uint64_t *entry = &table_at(m, table)[index_at(iova, level)];
		uint64_t next = (iova & ~(span - 1)) + span, value = *entry;

		if (value && level > 1 && !(level == 2 && value & LARGE)) {
			uint64_t below = value & ADDRESS;

			clear(m, below, level - 1, iova, next < end ? next : end);
			if (is_empty(table_at(m, below))) {
				set_entry(entry, 0);
				m->limbo[m->num_limbo++] = (uint32_t)(below / LAB_PAGE);
			}
		} else {
			set_entry(entry, 0);
		}
		iova = next;
	}
}

void iommu_unmap(struct lab_func *f, uint64_t iova, uint64_t size)
{
	clear(&f->lab->iommu, f->iova_table, LEVELS, iova, iova + size);
}

struct invalidation {
	struct lab *lab;
	unsigned int num; /* of the tables in limbo, those that were there when it began */
	void (*done)(const struct qtest_op *op, uint64_t value);
	void *owner;
};

static void invalidated(const struct qtest_op *op, uint64_t value)
{
	struct invalidation *inv = op->owner;
	struct iommu *m = &inv->lab->iommu;
	struct qtest_op mine = *op;

	for (unsigned int i = 0; i < inv->num; i++)
		m->free[m->num_free++] = m->limbo[i];
	m->num_limbo -= inv->num;
	memmove(m->limbo, m->limbo + inv->num, m->num_limbo * sizeof(*m->limbo));
	mine.owner = inv->owner;
	void (*done)(const struct qtest_op *, uint64_t) = inv->done;
	free(inv);
	done(&mine, value);
}

void iommu_invalidate(struct lab_func *f, void (*done)(const struct qtest_op *op, uint64_t value),
		      void *owner)
{
	struct invalidation *inv = lab_xcalloc(1, sizeof(*inv));
	struct iommu *m = &f->lab->iommu;

	/* One job at a time changes tables (dma.c), so that no two invalidations overlap. */
	*inv = (struct invalidation){ f->lab, m->num_limbo, done, owner };
	qtest_submit(&f->lab->qt,
		     &(struct qtest_op){ .cmd = QTEST_WRITE,
					 .width = 8,
					 .addr = m->invalidate_reg,
					 .value = IOTLB_DOMAIN | (uint64_t)domain(f) << 32,
					 .done = invalidated,
					 .owner = inv });
}
