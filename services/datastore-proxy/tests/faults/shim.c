/* Stands between a process and its files, by LD_PRELOAD. SHIM_FOLDER names the folder that it is about, with all
 * symbolic links resolved.
 *
 * While the folder SHIM_CONTROL holds a file "fail-sync", syncing fails with EIO; while it holds a file "full",
 * writing fails with ENOSPC. If SHIM_TRACE names a file, every write, truncation and sync is recorded there, in
 * the order in which they happened. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

/* Held over an operation and its record, so that the record has the order of the operations. */
static pthread_mutex_t order = PTHREAD_MUTEX_INITIALIZER;

static void *real(const char *name) { return dlsym(RTLD_NEXT, name); }

/* Whether a path is below SHIM_FOLDER, and then relative to it; "" for the folder itself. */
static int below(char *path) {
	const char *folder = getenv("SHIM_FOLDER");
	if (!folder)
		return 0;
	size_t prefix = strlen(folder);
	if (strncmp(path, folder, prefix) || (path[prefix] && path[prefix] != '/'))
		return 0;
	memmove(path, path + prefix, strlen(path + prefix) + 1);
	return 1;
}

static int concerns(int fd, char *path, size_t size) {
	char link[64];
	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	ssize_t length = readlink(link, path, size - 1);
	if (length <= 0)
		return 0;
	path[length] = 0;
	return below(path);
}

static int ordered(const char *what) {
	const char *control = getenv("SHIM_CONTROL");
	char path[PATH_MAX];
	if (!control)
		return 0;
	snprintf(path, sizeof path, "%s/%s", control, what);
	return access(path, F_OK) == 0;
}

struct record {
	uint8_t kind; /* 'w'rite, 't'runcate, 's'ync, 'u'nlink */
	uint8_t name; /* length of the path */
	uint64_t offset;
	uint32_t length;
} __attribute__((packed));

static void trace(char kind, const char *path, uint64_t offset, const void *data, size_t length) {
	static int file = -1;
	const char *name = getenv("SHIM_TRACE");
	if (!name)
		return;
	if (file < 0)
		file = open(name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	struct record record = {kind, strlen(path), offset, kind == 'w' ? length : 0};
	struct iovec parts[] = {
		{&record, sizeof record},
		{(void *)path, record.name},
		{(void *)data, record.length},
	};
	if (writev(file, parts, 3) < 0)
		abort();
}

#define GUARDED(kind, offset, data, length, call)                                                  \
	char path[PATH_MAX];                                                                       \
	if (!concerns(fd, path, sizeof path))                                                      \
		return call;                                                                       \
	if (kind == 's' ? ordered("fail-sync") : ordered("full")) {                                \
		errno = kind == 's' ? EIO : ENOSPC;                                                \
		return -1;                                                                         \
	}                                                                                          \
	pthread_mutex_lock(&order);                                                                \
	__typeof__(call) result = call;                                                            \
	if (result >= 0)                                                                           \
		trace(kind, path, offset, data, kind == 'w' ? (size_t)result : 0);                 \
	pthread_mutex_unlock(&order);                                                              \
	return result;

ssize_t write(int fd, const void *data, size_t length) {
	ssize_t (*next)(int, const void *, size_t) = real("write");
	off_t offset = lseek(fd, 0, SEEK_CUR);
	GUARDED('w', offset, data, length, next(fd, data, length))
}

ssize_t pwrite(int fd, const void *data, size_t length, off_t offset) {
	ssize_t (*next)(int, const void *, size_t, off_t) = real("pwrite");
	GUARDED('w', offset, data, length, next(fd, data, length, offset))
}

ssize_t pwrite64(int fd, const void *data, size_t length, off64_t offset) {
	ssize_t (*next)(int, const void *, size_t, off64_t) = real("pwrite64");
	GUARDED('w', offset, data, length, next(fd, data, length, offset))
}

int ftruncate(int fd, off_t length) {
	int (*next)(int, off_t) = real("ftruncate");
	GUARDED('t', length, NULL, 0, next(fd, length))
}

int ftruncate64(int fd, off64_t length) {
	int (*next)(int, off64_t) = real("ftruncate64");
	GUARDED('t', length, NULL, 0, next(fd, length))
}

int fsync(int fd) {
	int (*next)(int) = real("fsync");
	GUARDED('s', 0, NULL, 0, next(fd))
}

int fdatasync(int fd) {
	int (*next)(int) = real("fdatasync");
	GUARDED('s', 0, NULL, 0, next(fd))
}

int unlink(const char *name) {
	int (*next)(const char *) = real("unlink");
	char path[PATH_MAX];
	snprintf(path, sizeof path, "%s", name);
	if (!below(path))
		return next(name);
	pthread_mutex_lock(&order);
	int result = next(name);
	if (result == 0)
		trace('u', path, 0, NULL, 0);
	pthread_mutex_unlock(&order);
	return result;
}
