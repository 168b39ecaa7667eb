/* SPDX-License-Identifier: MIT */
/* Addresses to names, outside the crashed process, by elfutils. */
#include "cli/symbol.h"

#include <elfutils/libdwfl.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void symbol_hex(const unsigned char *bytes, int n, char *hex, size_t size)
{
	hex[0] = '\0';
	for (int i = 0; i < n && (size_t)(2 * i + 2) < size; i++)
		snprintf(hex + 2 * i, 3, "%02x", bytes[i]);
}

static void symbol_describe(Dwfl_Module *mod, uint64_t address, char *buf, size_t size)
{
	GElf_Off off;
	GElf_Sym sym;
	const char *name = dwfl_module_addrinfo(mod, address, &off, &sym, NULL, NULL, NULL);
	Dwfl_Line *line = dwfl_module_getsrc(mod, address);
	const char *file = NULL;
	int lineno = 0, n;

	if (!name)
		return;
	n = snprintf(buf, size, "%s+0x%llx", name, (unsigned long long)off);
	if (line)
		file = dwfl_lineinfo(line, NULL, &lineno, NULL, NULL, NULL);
	if (file && n > 0 && (size_t)n < size) {
		const char *slash = strrchr(file, '/');

		snprintf(buf + n, size - (size_t)n, " (%s:%d)", slash ? slash + 1 : file, lineno);
	}
}

/*
 * The name of the file is the dead process's word: nothing but a plain file is opened, for to open
 * a device or a pipe can do something, or wait.
 */
static int symbol_open(const char *module)
{
	struct stat st;
	int fd;

	if (stat(module, &st) != 0 || !S_ISREG(st.st_mode))
		return -1;
	fd = open(module, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd >= 0 && (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))) {
		close(fd);
		fd = -1;
	}
	return fd;
}

const char *symbol_name(const char *module, const char *build_id, uint64_t address, char *buf,
			size_t size)
{
	static const Dwfl_Callbacks callbacks = {
		.find_elf = dwfl_build_id_find_elf,
		.find_debuginfo = dwfl_standard_find_debuginfo,
		.section_address = dwfl_offline_section_address,
	};
	Dwfl *dwfl = dwfl_begin(&callbacks);
	const unsigned char *bytes;
	Dwfl_Module *mod;
	GElf_Addr bias, low;
	char hex[64];
	int n, fd;

	snprintf(buf, size, "?");
	if (!dwfl)
		return buf;
	fd = symbol_open(module);
	mod = fd >= 0 ? dwfl_report_offline(dwfl, "", module, fd) : NULL;
	if (!mod && fd >= 0)
		close(fd);
	dwfl_report_end(dwfl, NULL, NULL);
	if (mod && dwfl_module_getelf(mod, &bias)) {
		n = dwfl_module_build_id(mod, &bytes, &low);
		symbol_hex(bytes, n, hex, sizeof(hex));
		if (n > 0 && build_id && strcmp(hex, build_id) == 0)
			symbol_describe(mod, bias + address, buf, size);
	}
	dwfl_end(dwfl);
	return buf;
}
