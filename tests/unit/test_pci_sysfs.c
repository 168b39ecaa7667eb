/* SPDX-License-Identifier: MIT */
/* PCI functions in a made-up sysfs: what is there, what is in use, what can be bound. */
#include "cli/pci.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char root[] = "/tmp/au-pci-XXXXXX";

/* ----------------------------------------------------------- the tree */

static void make_dirs(const char *path)
{
	char part[600];

	snprintf(part, sizeof(part), "%s", path);
	for (char *c = part + 1; *c; c++) {
		if (*c != '/')
			continue;
		*c = 0;
		mkdir(part, 0755);
		*c = '/';
	}
}

static void put(const char *name, const char *text)
{
	char path[600];
	FILE *f;

	snprintf(path, sizeof(path), "%s%s", root, name);
	make_dirs(path);
	f = fopen(path, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static void link_to(const char *name, const char *target)
{
	char path[600], full[600];

	snprintf(path, sizeof(path), "%s%s", root, name);
	snprintf(full, sizeof(full), "%s%s", *target == '/' ? root : "", target);
	make_dirs(path);
	unlink(path);
	assert_int_equal(symlink(full, path), 0);
}

static void function(const char *address, const char *ids, const char *cls, int group,
		     const char *driver)
{
	char name[200], text[200];

	snprintf(name, sizeof(name), "/sys/devices/pci0000:00/%s/vendor", address);
	snprintf(text, sizeof(text), "0x%.4s\n", ids);
	put(name, text);
	snprintf(name, sizeof(name), "/sys/devices/pci0000:00/%s/device", address);
	snprintf(text, sizeof(text), "0x%s\n", ids + 5);
	put(name, text);
	snprintf(name, sizeof(name), "/sys/devices/pci0000:00/%s/class", address);
	snprintf(text, sizeof(text), "0x%s\n", cls);
	put(name, text);
	snprintf(name, sizeof(name), "/sys/devices/pci0000:00/%s/driver_override", address);
	put(name, "(null)\n");
	snprintf(name, sizeof(name), "/sys/bus/pci/devices/%s", address);
	snprintf(text, sizeof(text), "/sys/devices/pci0000:00/%s", address);
	link_to(name, text);
	snprintf(name, sizeof(name), "/sys/devices/pci0000:00/%s/iommu_group", address);
	snprintf(text, sizeof(text), "/sys/kernel/iommu_groups/%d", group);
	if (group >= 0)
		link_to(name, text);
	snprintf(text, sizeof(text), "/sys/bus/pci/drivers/%s/unbind", driver ? driver : "x");
	put(text, "");
	snprintf(name, sizeof(name), "/sys/devices/pci0000:00/%s/driver", address);
	snprintf(text, sizeof(text), "/sys/bus/pci/drivers/%s", driver ? driver : "x");
	if (driver)
		link_to(name, text);
}

static void block(const char *address, const char *name, const char *number)
{
	char path[200], target[200];

	snprintf(path, sizeof(path), "/sys/devices/pci0000:00/%s/nvme/nvme0/%s/dev", address, name);
	put(path, number);
	snprintf(path, sizeof(path), "/sys/class/block/%s",
		 strrchr(name, '/') ? strrchr(name, '/') + 1 : name);
	snprintf(target, sizeof(target), "/sys/devices/pci0000:00/%s/nvme/nvme0/%s", address, name);
	link_to(path, target);
}

static int tree(void **state)
{
	strcpy(root, "/tmp/au-pci-XXXXXX");
	assert_non_null(mkdtemp(root));
	function("0000:00:00.0", "8086:29c0", "060000", 0, NULL);
	function("0000:00:04.0", "1b36:0002", "070002", 3, "serial");
	function("0000:01:00.0", "1b36:0010", "010802", 8, "nvme");
	function("0000:00:06.0", "1af4:1041", "020000", 5, "virtio-pci");
	block("0000:01:00.0", "nvme0n1", "259:0\n");
	block("0000:01:00.0", "nvme0n1/nvme0n1p1", "259:1\n");
	put("/sys/bus/pci/drivers_probe", "");
	put("/proc/self/mountinfo", "21 1 8:1 / / rw - ext4 /dev/sda1 rw\n");
	put("/proc/swaps", "Filename Type Size Used Priority\n/dev/sda2 partition 1 0 -2\n");
	put("/proc/net/route", "Iface Destination\nens9 00000000\n");
	return 0;
}

static int untree(void **state)
{
	char command[100];

	snprintf(command, sizeof(command), "rm -rf %s", root);
	return system(command);
}

static bool may(const char *address, char *why)
{
	struct au_pci_sysfs pci;
	bool result;

	assert_int_equal(au_pci_sysfs_read(root, address, &pci), 0);
	result = pci_may_bind(root, &pci, why, PCI_WHY);
	assert_null(strpbrk(why, "\n\033\r"));
	return result;
}

static void refused(const char *address, const char *text)
{
	char why[PCI_WHY];

	if (may(address, why))
		fail_msg("%s could be bound", address);
	if (!strstr(why, text))
		fail_msg("'%s' is not in '%s'", text, why);
}

/* ---------------------------------------------------------------- tests */

static void test_list(void **state)
{
	struct au_pci_sysfs *list;

	assert_int_equal(au_pci_sysfs_list(root, -1, &list), 4);
	assert_string_equal(list[0].address, "0000:00:00.0");
	assert_string_equal(list[1].address, "0000:00:04.0");
	assert_int_equal(list[1].vendor, 0x1b36);
	assert_int_equal(list[1].device, 2);
	assert_int_equal(list[1].class_code, 0x070002);
	assert_int_equal(list[1].group, 3);
	assert_string_equal(list[1].driver, "serial");
	assert_string_equal(list[1].wanted, "");
	assert_string_equal(list[0].driver, "");
	free(list);
	assert_int_equal(au_pci_sysfs_list(root, 8, &list), 1);
	free(list);
	assert_int_equal(au_pci_sysfs_list("/nowhere", -1, &list), 0);
}

static void test_may(void **state)
{
	char why[PCI_WHY];

	assert_true(may("0000:00:04.0", why));
	assert_string_equal(why, "");
	assert_true(may("0000:01:00.0", why));
	assert_true(may("0000:00:06.0", why));
	refused("0000:00:00.0", "it is a bridge");
	function("0000:00:07.0", "8086:10d3", "020000", -1, NULL);
	refused("0000:00:07.0", "no IOMMU");
}

static void test_mounted(void **state)
{
	put("/proc/self/mountinfo", "21 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
				    "22 1 259:1 / /srv/a\\040b rw - ext4 /dev/x rw\n");
	refused("0000:01:00.0", "its nvme0n1p1 is mounted on /srv/a\\040b");
	put("/proc/self/mountinfo", "22 1 0:44 / /pool rw shared:1 - btrfs /dev/nvme0n1 rw\n");
	refused("0000:01:00.0", "its nvme0n1 is mounted on /pool");
	/* One whose name only begins like it. */
	put("/proc/self/mountinfo", "22 1 0:44 / /pool rw - btrfs /dev/nvme0n11 rw\n");
	assert_true(may("0000:01:00.0", (char[PCI_WHY]){ 0 }));
}

static void test_swap_and_holders(void **state)
{
	put("/proc/swaps", "Filename Type\n/dev/nvme0n1p1 partition 1 0 -2\n");
	refused("0000:01:00.0", "its nvme0n1p1 is swap space");
	put("/proc/swaps", "");
	put("/sys/class/block/nvme0n1/holders/dm-3/x", "");
	put("/sys/class/block/dm-3/dm/name", "vg-home\n");
	refused("0000:01:00.0", "its nvme0n1 is part of dm-3 (vg-home)");
}

/* With more than one path, the namespaces belong to a subsystem. */
static void test_multipath(void **state)
{
	put("/sys/devices/virtual/nvme-subsystem/nvme-subsys0/nvme1n1/dev", "259:7\n");
	link_to("/sys/devices/virtual/nvme-subsystem/nvme-subsys0/nvme0",
		"/sys/devices/pci0000:00/0000:01:00.0/nvme/nvme0");
	link_to("/sys/class/block/nvme1n1",
		"/sys/devices/virtual/nvme-subsystem/nvme-subsys0/nvme1n1");
	put("/proc/self/mountinfo", "22 1 259:7 / /data rw - xfs /dev/nvme1n1 rw\n");
	refused("0000:01:00.0", "its nvme1n1 is mounted on /data");
}

/* The name of a network interface that this machine has an address on, too. */
static void test_net(void **state)
{
	link_to("/sys/class/net/ens9", "/sys/devices/pci0000:00/0000:00:06.0/virtio0/net/ens9");
	put("/sys/devices/pci0000:00/0000:00:06.0/virtio0/net/ens9/mtu", "1500\n");
	refused("0000:00:06.0", "a route leads through its ens9");
	put("/proc/net/route", "Iface Destination\n");
	put("/proc/net/ipv6_route",
	    "fe800000000000000000000000000000 40 0 00 0 00000100 1 0 00000001 ens9\n"
	    "ff000000000000000000000000000000 08 0 00 0 00000100 3 0 00000001 ens9\n");
	assert_true(may("0000:00:06.0", (char[PCI_WHY]){ 0 }));
	put("/proc/net/ipv6_route",
	    "20010db8000000000000000000000000 40 0 00 0 00000100 1 0 00000001 ens9\n");
	refused("0000:00:06.0", "a route leads through its ens9");
	put("/proc/net/ipv6_route", "");
	link_to("/sys/class/net/ens9/master", "/sys/class/net/br0");
	refused("0000:00:06.0", "its ens9 is part of br0");
	put("/sys/devices/pci0000:00/0000:00:06.0/virtio0/net/lo/mtu", "1500\n");
	link_to("/sys/class/net/lo", "/sys/devices/pci0000:00/0000:00:06.0/virtio0/net/lo");
	unlink("/sys/class/net/ens9");
	untree(NULL);
	tree(NULL);
	put("/sys/devices/pci0000:00/0000:00:06.0/virtio0/net/lo/mtu", "1500\n");
	link_to("/sys/class/net/lo", "/sys/devices/pci0000:00/0000:00:06.0/virtio0/net/lo");
	refused("0000:00:06.0", "its lo has the address 127.");
}

static void test_group(void **state)
{
	char why[PCI_WHY];

	function("0000:00:08.0", "1234:11e8", "00ff00", 8, NULL);
	assert_true(may("0000:00:08.0", why));
	assert_non_null(strstr(why, "when 0000:01:00.0 (nvme) is bound, too"));
	put("/proc/self/mountinfo", "22 1 259:1 / /home rw - ext4 /dev/x rw\n");
	refused("0000:00:08.0",
		"it shares IOMMU group 8 with 0000:01:00.0 (nvme), which is in use: "
		"its nvme0n1p1 is mounted on /home");
}

static void test_console_and_display(void **state)
{
	put("/sys/devices/pci0000:00/0000:00:04.0/tty/ttyS4/dev", "4:68\n");
	link_to("/sys/class/tty/ttyS4", "/sys/devices/pci0000:00/0000:00:04.0/tty/ttyS4");
	put("/proc/consoles", "ttyS4 -W- (EC p a) 4:68\n");
	refused("0000:00:04.0", "its ttyS4 is the console");
	function("0000:00:02.0", "1234:1111", "030000", 1, "bochs");
	put("/sys/devices/pci0000:00/0000:00:02.0/boot_vga", "1\n");
	refused("0000:00:02.0", "the display");
}

/* Files that say nonsense: nothing worse than not being there. */
static void test_hostile(void **state)
{
	static const char *const numbers[] = { "",   "0x1b36\033[2J",	    "70000", "-1", "0x",
					       "zz", "99999999999999999999" };
	struct au_pci_sysfs pci, *list;
	char *big = malloc(100001);

	memset(big, '1', 100000);
	big[100000] = 0;
	for (size_t i = 0; i <= sizeof(numbers) / sizeof(numbers[0]); i++) {
		put("/sys/devices/pci0000:00/0000:00:04.0/vendor",
		    i < sizeof(numbers) / sizeof(numbers[0]) ? numbers[i] : big);
		assert_int_equal(au_pci_sysfs_read(root, "0000:00:04.0", &pci), -ENODEV);
	}
	assert_int_equal(au_pci_sysfs_list(root, -1, &list), 3);
	free(list);
	assert_int_equal(au_pci_sysfs_read(root, "../../../etc", &pci), -EINVAL);
	assert_int_equal(au_pci_sysfs_read(root, "0000:00:04.0/..", &pci), -EINVAL);
	link_to("/sys/bus/pci/devices/0000:00:1e.0", "/sys/bus/pci/devices/0000:00:1e.0");
	assert_int_equal(au_pci_sysfs_read(root, "0000:00:1e.0", &pci), -ENODEV);
	link_to("/sys/devices/pci0000:00/0000:01:00.0/iommu_group", "x/99999999999999999999");
	link_to("/sys/devices/pci0000:00/0000:01:00.0/driver", "a/\033[31mred");
	put("/sys/devices/pci0000:00/0000:01:00.0/driver_override", big);
	assert_int_equal(au_pci_sysfs_read(root, "0000:01:00.0", &pci), 0);
	assert_int_equal(pci.group, -1);
	assert_string_equal(pci.driver, "");
	assert_string_equal(pci.wanted, "");
	/* Lines without an end, and mount points that move terminals. */
	put("/proc/self/mountinfo", big);
	put("/proc/swaps", big);
	link_to("/sys/devices/pci0000:00/0000:01:00.0/iommu_group", "/sys/kernel/iommu_groups/8");
	assert_true(may("0000:01:00.0", (char[PCI_WHY]){ 0 }));
	put("/proc/self/mountinfo", "22 1 259:1 / /a\033[2J\x9b rw - ext4 /dev/x rw\n");
	refused("0000:01:00.0", "mounted on /a?[2J?");
	free(big);
}

static const char *content(const char *name)
{
	static char text[200];
	char path[600];
	FILE *f;

	snprintf(path, sizeof(path), "%s%s", root, name);
	f = fopen(path, "r");
	assert_non_null(f);
	text[fread(text, 1, sizeof(text) - 1, f)] = 0;
	fclose(f);
	return text;
}

/* The kernel of this tree does nothing: it is all taken back, and says so. */
static void test_bind(void **state)
{
	struct au_pci_sysfs pci;
	char why[PCI_WHY];

	assert_int_equal(au_pci_sysfs_read(root, "0000:00:04.0", &pci), 0);
	assert_int_equal(pci_bind(root, &pci, why, sizeof(why)), -ENOENT);
	assert_non_null(strstr(why, "modprobe vfio-pci"));
	put("/sys/bus/pci/drivers/vfio-pci/unbind", "");
	assert_int_equal(pci_bind(root, &pci, why, sizeof(why)), -EIO);
	assert_non_null(strstr(why, "it is with serial again"));
	assert_string_equal(content("/sys/bus/pci/drivers/serial/unbind"), "0000:00:04.0");
	assert_string_equal(content("/sys/bus/pci/drivers_probe"), "0000:00:04.0");
	assert_int_equal(pci_unbind(root, &pci, why, sizeof(why)), -EINVAL);
	assert_non_null(strstr(why, "but to serial"));
	link_to("/sys/devices/pci0000:00/0000:00:04.0/driver", "/sys/bus/pci/drivers/vfio-pci");
	assert_int_equal(au_pci_sysfs_read(root, "0000:00:04.0", &pci), 0);
	assert_int_equal(pci_bind(root, &pci, why, sizeof(why)), 0);
	assert_int_equal(pci_unbind(root, &pci, why, sizeof(why)), 0);
	assert_string_equal(content("/sys/bus/pci/drivers/vfio-pci/unbind"), "0000:00:04.0");
	/* One in use is not touched. */
	put("/proc/self/mountinfo", "22 1 259:1 / /home rw - ext4 /dev/x rw\n");
	assert_int_equal(au_pci_sysfs_read(root, "0000:01:00.0", &pci), 0);
	assert_int_equal(pci_bind(root, &pci, why, sizeof(why)), -EBUSY);
	assert_string_equal(content("/sys/bus/pci/drivers/nvme/unbind"), "");
	assert_string_equal(content("/sys/devices/pci0000:00/0000:01:00.0/driver_override"),
			    "(null)\n");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, tree, untree)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_list),      TEST(test_may),
		TEST(test_mounted),   TEST(test_swap_and_holders),
		TEST(test_multipath), TEST(test_net),
		TEST(test_group),     TEST(test_console_and_display),
		TEST(test_hostile),   TEST(test_bind),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
