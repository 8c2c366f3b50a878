/* SPDX-License-Identifier: MIT */
/* configurations.c - see rollback.h. */
#include <string.h>

#include "ram/fill.h"
#include "rollback.h"

const struct configuration configurations[] = {
	{ "move", "two devices with all that devices can do, one channel, memory verified", MOVE,
	  .devices = 2, .channels = 1, .verify = true },
	{ "channels", "four channels, compressed, a device without PRE_COPY and P2P", MOVE,
	  .devices = 1, .channels = 4, .compression = VFERRY_COMPRESSION_LZ4, .no_precopy = true,
	  .no_p2p = true },
	{ "credit", "a device with more state than may be on the way at once", MOVE, .devices = 1,
	  .channels = 1, .no_precopy = true, .state_bytes = 24 << 20, .only = "-credit" },
	{ "save", "into a file and out of it", SAVE, .devices = 1, .channels = 1 },
	{ "undo", "the manifest cannot be sent: what is done to put the machine back", MOVE,
	  .devices = 2, .channels = 1, .first_point = "send-manifest", .first_side = SOURCE,
	  .devices_may_be_lost = true },
	{ "load-fails", "the destination cannot validate its device: what both do then", MOVE,
	  .devices = 1, .channels = 1, .first_point = "device-stop", .first_side = DESTINATION,
	  .devices_may_be_lost = true },
	{ "cancel", "the user cancels before the switchover", CANCELLED, .devices = 1, .channels = 1,
	  .devices_may_be_lost = true },
	{ "refuse", "the destination is another machine, and refuses", REFUSED, .devices = 1,
	  .channels = 1 },
	{ "reset", "the guest resets its device during pre-copy", RESET, .devices = 1, .channels = 1 },
	{ "resolve", "RUNNING is lost, and the destination is asked how it ended", RESOLVED,
	  .devices = 1, .channels = 1, .first_point = "recv-running", .first_side = SOURCE },
};

const size_t configuration_count = sizeof(configurations) / sizeof(configurations[0]);

/* Messages go one way, and so do some calls. */
static const char *const source_sends[] = {
	"join", "machine", "pages", "round-end", "section", "stream-data", "stream-mark", "stream-restart",
	"switchover", "manifest", "commit", "cancel", "resolve", "digest", NULL
};
static const char *const destination_sends[] = {
	"accept", "refuse", "credit", "initial-ack", "prepared", "failed", "running", "report",
	"vectors", "resolved", NULL
};

static bool is_of(const char *const *list, const char *word)
{
	for (; *list; list++)
		if (!strcmp(*list, word))
			return true;
	return false;
}

static const struct {
	const char *point;
	enum side side;
	const char *why;
} never[] = {
	{ "link-listen", SOURCE, "a source connects" },
	{ "link-accept", SOURCE, "a source connects" },
	{ "link-connect", DESTINATION, "a destination listens" },
	{ "record-claim", SOURCE, "the destination keeps the record" },
	{ "record-open", SOURCE, "the destination keeps the record" },
	{ "record-read", SOURCE, "the destination keeps the record" },
	{ "record-write", SOURCE, "the destination keeps the record" },
	{ "record-sync", SOURCE, "the destination keeps the record" },
	{ "record-link", SOURCE, "the destination keeps the record" },
	{ "record-sync-dir", SOURCE, "the destination keeps the record" },
	{ "record-read", DESTINATION, "only where the name of the decision is taken already" },
	{ "device-resuming", SOURCE, "a source's device saves" },
	{ "device-data-write", SOURCE, "a source's device saves" },
	{ "device-reset", SOURCE, "only after a second failure; tests/unit/test_migration_undo.c" },
	{ "device-stop", SOURCE, "a source's device goes on to STOP_COPY by itself" },
	{ "device-running-p2p", DESTINATION, "a destination's device goes to RUNNING by itself" },
	{ "device-stop-copy", DESTINATION, "a destination's device loads" },
	{ "device-pre-copy", DESTINATION, "a destination's device loads" },
	{ "device-pre-copy-p2p", DESTINATION, "a destination's device loads" },
	{ "device-data-read", DESTINATION, "a destination's device loads" },
	{ "device-data-size", DESTINATION, "a destination's device loads" },
	{ "device-precopy-info", DESTINATION, "a destination's device loads" },
	{ "device-log-start", DESTINATION, "a destination tracks no dirty pages" },
	{ "device-log-stop", DESTINATION, "a destination tracks no dirty pages" },
	{ "device-log-report", DESTINATION, "a destination tracks no dirty pages" },
	{ "ram-fill", SOURCE, "a source has its memory" },
	{ "file-write", DESTINATION, "a destination reads a file" },
	{ "file-truncate", DESTINATION, "a destination reads a file" },
	{ "file-sync", DESTINATION, "a destination reads a file" },
};

/* Not without a userfaultfd for user mode, nor where shmem has huge pages. */
static bool can_fill(void)
{
	struct vf_ram_fill *fill = NULL;
	struct vferry_ram *ram;
	bool can;

	if (vferry_ram_new(&ram))
		return false;
	if (!vferry_ram_create_block(ram, "ram", 0, 1 << 20, 0, NULL))
		fill = vf_ram_fill_open(ram);
	vf_ram_fill_watch(fill, 0, 1);
	can = vf_ram_fill_unit(fill, 0);
	(void) vf_ram_fill_close(fill);
	(void) vferry_ram_free(ram);
	return can;
}

const char *why_never_seen(const char *point, enum side side)
{
	if (!strncmp(point, "send-", 5))
		return is_of(side == SOURCE ? destination_sends : source_sends, point + 5)
			       ? "goes the other way" : NULL;
	if (!strncmp(point, "recv-", 5))
		return is_of(side == SOURCE ? source_sends : destination_sends, point + 5)
			       ? "goes the other way" : NULL;
	for (size_t i = 0; i < sizeof(never) / sizeof(never[0]); i++)
		if (!strcmp(never[i].point, point) && never[i].side == side)
			return never[i].why;
	if (!strcmp(point, "ram-fill") && !can_fill())
		return "this host leaves fresh memory to the kernel";
	return NULL;
}
