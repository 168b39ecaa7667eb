

int good_index(void);
int good_index(void)
{
	int a[4] = { 0 };

	return a[3];
}
