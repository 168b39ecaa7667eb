
#ifndef BAD_ALONE_H
#define BAD_ALONE_H

struct bad_alone {
	uint32_t size;
};

#endif
