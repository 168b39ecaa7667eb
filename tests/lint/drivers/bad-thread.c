
/* expect: thread-local storage, 4 bytes in \.tbss */
extern int bad_thread(void);

static _Thread_local int depth;

int bad_thread(void)
{
	return depth++;
}
