
/* expect: writable global counter, 4 bytes in \.data */
extern int bad_data(void);

static int counter = 3;

int bad_data(void)
{
	return counter++;
}
