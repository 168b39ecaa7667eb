
struct bad_twice {
	int size;
};
