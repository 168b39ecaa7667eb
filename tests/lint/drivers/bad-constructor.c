
/* expect: constructors or destructors in \.init_array */
extern int au_known(void *device);

__attribute__((constructor)) static void bad_constructor(void)
{
	au_known(0);
}
