

int bad_index(void);
int bad_index(void)
{
	int a[4] = { 0 };

	return a[4];
}
