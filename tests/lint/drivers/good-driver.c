
#include <stdint.h>

extern uint32_t au_known(void *device);
extern void *memcpy(void *to, const void *from, unsigned long length);

static uint32_t good_callback(void *device)
{
	return au_known(device);
}

/* Needs relocation, so it lies in .data.rel.ro. */
extern uint32_t (*const good_descriptor[2])(void *);
uint32_t (*const good_descriptor[2])(void *) = { good_callback, good_callback };

void good_copy(void *to, const void *from, unsigned long length);
void good_copy(void *to, const void *from, unsigned long length)
{
	memcpy(to, from, length);
}
