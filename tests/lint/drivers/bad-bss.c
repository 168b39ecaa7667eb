
/* expect: writable global table, 64 bytes in \.bss */
extern char *bad_bss(void);

static char table[64];

char *bad_bss(void)
{
	return table;
}
