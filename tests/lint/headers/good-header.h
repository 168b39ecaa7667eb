
#ifndef GOOD_HEADER_H
#define GOOD_HEADER_H
#include <stdint.h>

struct good {
	uint32_t size;
};

#endif
