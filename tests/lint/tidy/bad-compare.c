

#include <string.h>

int bad_compare(const char *a);
int bad_compare(const char *a)
{
	return strcmp(a, "b") == 3;
}
