
/* expect: undefined symbol au_internal is */
extern int au_internal(void);
extern int bad_internal(void);

int bad_internal(void)
{
	return au_internal();
}
