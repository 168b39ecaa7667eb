/* SPDX-License-Identifier: MIT */
/*
 * inproc.h - devices whose driver runs in this process: one instance per driver and address, shared
 * by all handles on it; the last one to be closed stops it.
 */
#ifndef AU_CLIENT_INPROC_H
#define AU_CLIENT_INPROC_H

#include "base/module.h"
#include "base/note.h"
#include "base/verify.h"
#include "client/handle.h"
#include "framework/framework.h"

#define INPROC_PARAMS 32u

/**
 * struct inproc_target - "inproc:DRIVER,address=...,unit=N,poll=app,power_idle=TIME,verify=TEXT,
 * KEY=VALUE", taken apart.
 * @text: what the other members point into.
 * @params: "KEY=VALUE", NULL-terminated.
 * @given: the parameters as one text, to compare.
 * @power_idle_ms: idle for so long, the device goes to D3; 0: never.
 */
struct inproc_target {
	char text[512];
	char given[512];
	const char *driver;
	const char *address;
	unsigned int unit;
	bool app;
	uint32_t power_idle_ms;
	struct au_verify verify;
	const char *params[INPROC_PARAMS + 1];
};

/** inproc_parse - take a target apart. Return: 0 or -EINVAL. */
int inproc_parse(const char *target, struct inproc_target *parsed);

/**
 * struct inproc_pool - memory that a device can reach; none while @base is NULL.
 * @dma_offset: from an address in it to where the device finds it.
 */
struct inproc_pool {
	int fd;
	void *base;
	size_t size;
	uint64_t iova;
	uint64_t dma_offset;
};

/**
 * struct inproc_instance - a device that is running.
 * @owner: the thread that runs a direct instance; NULL: a lane's thread, or any that has the lock.
 * @lock: of a shared direct instance.
 */
struct inproc_instance {
	struct inproc_instance *next;
	unsigned int handles;
	char name[160];
	char driver[32];
	char address[128];
	char given[512];
	bool app;
	bool shared;
	const void *owner;
	struct handle_lock lock;
	struct au_note note;
	struct au_module module;
	struct au_lane *lane; /* lane 0 */
	struct au_lane *lanes[AU_LANES_MAX];
	unsigned int lane_count;
	struct au_device *dev;
	bool started;
	int claim;
	void *retained;
	struct inproc_pool arena;
	_Atomic bool gone;
};

/** inproc_get - find the instance or make it. */
int inproc_get(const struct inproc_target *target, const struct au_open_options *options,
	       struct inproc_instance **instance);
/** inproc_put - a handle has gone. */
void inproc_put(struct inproc_instance *instance);
/** inproc_no_unit - say that there is no such unit. */
int inproc_no_unit(const struct inproc_instance *instance, unsigned int unit);

/** inproc_pool_make - memory that can be mapped for a device. Return: 0 or a negative errno. */
int inproc_pool_make(struct inproc_pool *pool, const char *name, size_t size);
/** inproc_needs_pool - whether requests' data must be where the device can reach them. */
bool inproc_needs_pool(const struct inproc_instance *inst);
/** inproc_pool_map - let the instance's device reach it. Return: 0 or a negative errno, and why. */
int inproc_pool_map(struct inproc_pool *pool, struct inproc_instance *inst);
/** inproc_pool_free - undo both; the device has let go of it. */
void inproc_pool_free(struct inproc_pool *pool, struct inproc_instance *inst);

/** inproc_thread_open, inproc_direct_open - make the handle; the instance is theirs to put. */
int inproc_thread_open(struct au_handle *h, struct inproc_instance *instance,
		       const struct inproc_target *target, const struct au_open_options *options);
int inproc_direct_open(struct au_handle *h, struct inproc_instance *instance,
		       const struct inproc_target *target, const struct au_open_options *options);

#endif
