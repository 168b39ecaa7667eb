

int good_format(int a)
{
	return a;
}
