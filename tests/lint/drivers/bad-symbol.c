
/* expect: undefined symbol open is */
extern int open(const char *path, int flags, ...);
extern int bad_symbol(void);

int bad_symbol(void)
{
	return open("/etc/passwd", 0);
}
