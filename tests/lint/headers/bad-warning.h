
#ifndef BAD_WARNING_H
#define BAD_WARNING_H

static int bad_warning(unsigned a, int b)
{
	return a < b;
}

#endif
