/* SPDX-License-Identifier: MIT */

int bad_null(const int *a);
int bad_null(const int *a)
{
	if (!a)
		return *a;
	return 0;
}
