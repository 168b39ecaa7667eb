/* SPDX-License-Identifier: MIT */
/* `auriga pci ls`, `auriga bind`, `auriga unbind`: the machine's PCI functions. No manager. */
#include "cli/cli.h"
#include "cli/pci.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What stands before /sys, /proc and /dev: for tests. */
static const char *pci_root(void)
{
	const char *root = getenv("AURIGA_PCI_ROOT");

	return root ? root : "";
}

static json_t *pci_json(const struct au_pci_sysfs *pci)
{
	char ids[16], cls[8], why[PCI_WHY];
	bool bound = !strcmp(pci->driver, "vfio-pci");
	bool may = bound || pci_may_bind(pci_root(), pci, why, sizeof(why));
	json_t *o;

	if (bound)
		snprintf(why, sizeof(why), "vfio:%s", pci->address);
	snprintf(ids, sizeof(ids), "%04x:%04x", pci->vendor, pci->device);
	snprintf(cls, sizeof(cls), "%06x", pci->class_code);
	o = json_pack("{s:s, s:s, s:s, s:o, s:o, s:s, s:s}", "address", pci->address, "ids", ids,
		      "class", cls, "group",
		      pci->group < 0 ? json_null() : json_integer(pci->group), "driver",
		      pci->driver[0] ? json_string(pci->driver) : json_null(), "bind",
		      bound ? "bound"
		      : may ? "yes"
			    : "no",
		      "note", why);
	return o;
}

int cmd_pci(const struct cli_command *self, int argc, char **argv)
{
	static const struct option options[] = { { "json", no_argument, NULL, 'j' },
						 { NULL, 0, NULL, 0 } };
	static const struct cli_column columns[] = {
		{ "address", "ADDRESS" }, { "ids", "IDS" },	  { "class", "CLASS" },
		{ "group", "GROUP" },	  { "driver", "DRIVER" }, { "bind", "BIND" },
		{ "note", "NOTE" },
	};
	struct au_pci_sysfs *list;
	bool as_json = false;
	json_t *rows;
	int opt, count;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (opt != 'j')
			return cli_usage(self);
		as_json = true;
	}
	if (argc - optind != 1 || strcmp(argv[optind], "ls") != 0)
		return cli_usage(self);
	count = au_pci_sysfs_list(pci_root(), -1, &list);
	if (count < 0)
		return cli_error("pci ls: %s/sys/bus/pci/devices: %s", pci_root(),
				 strerror(-count));
	rows = json_array();
	for (int i = 0; i < count; i++)
		json_array_append_new(rows, pci_json(&list[i]));
	free(list);
	if (as_json)
		cli_json(rows);
	else
		cli_table(rows, columns, sizeof(columns) / sizeof(columns[0]));
	json_decref(rows);
	return CLI_OK;
}

/* The one address of the command line; people may write it as for `attach`, and in capitals. */
static int pci_one(const struct cli_command *self, int argc, char **argv, struct au_pci_sysfs *pci)
{
	char address[24];
	const char *text;

	while (getopt_long(argc, argv, "", (const struct option[]){ { NULL, 0, NULL, 0 } }, NULL) !=
	       -1)
		return cli_usage(self);
	if (argc - optind != 1)
		return cli_usage(self);
	text = argv[optind];
	if (!strncmp(text, "vfio:", 5))
		text += 5;
	snprintf(address, sizeof(address), "%s", text);
	for (char *c = address; *c; c++)
		if (*c >= 'A' && *c <= 'F')
			*c = (char)(*c - 'A' + 'a');
	switch (au_pci_sysfs_read(pci_root(), address, pci)) {
	case 0:
		return CLI_OK;
	case -EINVAL:
		return cli_error("%s %.40s: not a PCI address: write it as 0000:01:00.0",
				 self->name, text);
	default:
		return cli_error("%s %s: there is no such PCI device: `auriga pci ls` lists them",
				 self->name, address);
	}
}

int cmd_bind(const struct cli_command *self, int argc, char **argv)
{
	struct au_pci_sysfs pci;
	char why[PCI_WHY];
	int err = pci_one(self, argc, argv, &pci);

	if (err)
		return err;
	if (pci_bind(pci_root(), &pci, why, sizeof(why)))
		return cli_error("bind %s: %s", pci.address, why);
	pci_may_bind(pci_root(), &pci, why, sizeof(why));
	printf("vfio:%s\n", pci.address);
	if (*why)
		cli_say("bind %s: %s", pci.address, why);
	return CLI_OK;
}

int cmd_unbind(const struct cli_command *self, int argc, char **argv)
{
	struct au_pci_sysfs pci;
	char why[PCI_WHY];
	int err = pci_one(self, argc, argv, &pci);

	if (err)
		return err;
	if (pci_unbind(pci_root(), &pci, why, sizeof(why)))
		return cli_error("unbind %s: %s", pci.address, why);
	printf("%s\n", pci.driver[0] ? pci.driver : "no driver");
	return CLI_OK;
}
