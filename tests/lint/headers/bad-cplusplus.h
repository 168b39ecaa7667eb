
#ifndef BAD_CPLUSPLUS_H
#define BAD_CPLUSPLUS_H

int bad_cplusplus(int class);

#endif
