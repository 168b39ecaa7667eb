

#include <stdlib.h>

int bad_leak(int a);
int bad_leak(int a)
{
	int *b = malloc(sizeof(*b));

	if (!b)
		return a;
	*b = a;
	return *b;
}
