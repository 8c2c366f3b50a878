/* SPDX-License-Identifier: MIT */
/*
 * calls.c - every system call that a sandboxed process may make, with the reason.
 *
 * One table, for all roles; docs/security.md prints it. A call may stand in several rows, and is then
 * allowed if any of them allows it. What stands in no row ends the process. A call that is not known
 * on an architecture is left out there.
 */
#include "calls.h"

#include "sandbox.h"

#define MACHINE	SANDBOX_MACHINE
#define DEVICE	SANDBOX_DEVICE
#define BOTH	(MACHINE | DEVICE)

static const struct sandbox_call calls[] = {
	/* data */
	{ BOTH, SANDBOX_ANY, "read write readv writev preadv2 close fstat fstatfs lseek",
	  "descriptors that are open: the console, eventfds, sockets" },
	{ BOTH, SANDBOX_ANY, "sendmsg recvmsg sendto recvfrom shutdown",
	  "sockets that are open; vfio-user passes descriptors along" },
	{ MACHINE, SANDBOX_ANY, "sendmmsg recvmmsg", "name look-up" },
	{ MACHINE, SANDBOX_ANY, "pipe2 vmsplice splice", "guest memory of huge pages to a socket, uncopied" },
	{ MACHINE, SANDBOX_ANY, "pread64 pwrite64 preadv pwritev pwritev2 fadvise64 "
	  "sync_file_range copy_file_range fallocate",
	  "saving and loading a file, page by page" },
	{ MACHINE, SANDBOX_ANY, "fsync fdatasync", "a file, or a record, is on disk before it counts" },
	{ BOTH, SANDBOX_ANY, "ftruncate fcntl",
	  "size and seals of memfds; close-on-exec, non-blocking" },

	/* waiting */
	{ BOTH, SANDBOX_ANY, "poll ppoll epoll_wait epoll_pwait epoll_ctl epoll_create1 eventfd2 "
	  "pselect6 select", "the event loops" },
	{ BOTH, SANDBOX_ANY, "futex futex_waitv sched_yield nanosleep clock_nanosleep", "locks and timers" },
	{ BOTH, SANDBOX_ANY, "clock_gettime clock_getres gettimeofday time",
	  "the clock, where the vDSO does not have it" },
	{ BOTH, SANDBOX_ANY, "signalfd4 rt_sigprocmask rt_sigpending rt_sigaction rt_sigreturn "
	  "rt_sigtimedwait sigaltstack restart_syscall", "SIGTERM and SIGINT; a call that was interrupted" },

	/* memory */
	{ BOTH, SANDBOX_NOT_EXECUTABLE, "mmap mprotect",
	  "guest memory, a device's BARs, heaps, stacks; never code" },
	{ BOTH, SANDBOX_ANY, "munmap mremap brk madvise",
	  "as above; mremap keeps the protection that there was" },
	{ BOTH, SANDBOX_ANY, "memfd_create", "guest memory of a fresh machine; memory shared with a device" },
	{ MACHINE, SANDBOX_ANY, "membarrier", "dirty tracking starts on all threads" },
	{ MACHINE, SANDBOX_ANY, "mincore mlock munlock", "residency of guest memory" },
	{ MACHINE, SANDBOX_USER_FAULTS, "userfaultfd ioctl",
	  "guest memory that nobody has touched is made with its content" },

	/* threads, end */
	{ BOTH, SANDBOX_THREAD, "clone", "threads of a session, vCPUs, a device's worker" },
	{ BOTH, SANDBOX_NO_SUCH_CALL, "clone3",
	  "its flags lie in memory, where no filter can look; the C library then uses clone" },
	{ BOTH, SANDBOX_ANY, "set_robust_list rseq set_tid_address gettid getpid getcpu "
	  "sched_getaffinity", "what the C library does in each thread" },
	{ BOTH, SANDBOX_NAME_THREAD, "prctl", "names of threads" },
	{ BOTH, SANDBOX_OWN_LIMITS, "prlimit64", "the size of stacks, the number of descriptors" },
	{ BOTH, SANDBOX_ANY, "exit exit_group", "the end" },
	{ BOTH, SANDBOX_OWN_PROCESS, "tgkill", "abort() of a failed assertion; a vCPU is called out of the guest" },
	{ BOTH, SANDBOX_ANY, "getrandom", "ids of sessions; TLS" },
	{ BOTH, SANDBOX_ANY, "getuid geteuid getgid getegid uname sysinfo",
	  "who we are; what the C library wants to know of the host" },

	/* connections */
	{ BOTH, SANDBOX_STREAM_UNIX, "socket socketpair",
	  "control socket, vfio-user, migration on one host" },
	{ MACHINE, SANDBOX_STREAM_INET, "socket", "migration, in either direction" },
	{ MACHINE, SANDBOX_LOOK_UP, "socket", "names of hosts" },
	{ BOTH, SANDBOX_ANY, "bind listen accept4 getsockopt setsockopt getsockname getpeername",
	  "listening, and what is known of a peer" },
	{ BOTH, SANDBOX_ANY, "connect",
	  "the destination, a device; whether a socket in the way is still used" },

	/* files */
	{ MACHINE, SANDBOX_ANY, "openat", "a saved machine, the record of a hand-over, certificates, "
	  "/etc/resolv.conf; Landlock says which paths" },
	{ DEVICE, SANDBOX_DENIED, "openat",
	  "a device opens nothing after its script or capture; the C library may try" },
	{ BOTH, SANDBOX_DENIED, "open", "as openat, which is what the C library uses" },
	{ MACHINE, SANDBOX_ANY, "newfstatat statx stat lstat readlink readlinkat access faccessat "
	  "faccessat2 getcwd statfs", "before a file is opened" },
	{ BOTH, SANDBOX_ANY, "newfstatat lstat stat unlink unlinkat fchmod chmod fchmodat",
	  "a socket's file: stale or in use, its mode, removed at the end" },
	{ MACHINE, SANDBOX_ANY, "rename renameat renameat2",
	  "a file gets its name when it is complete" },
	{ MACHINE, SANDBOX_ANY, "link linkat flock",
	  "a record of a hand-over gets its name once; whether the process that has it lives" },
	{ SANDBOX_KVM, SANDBOX_KVM_REQUEST, "ioctl",
	  "the virtual machine, its vCPUs and interrupts; /dev/kvm is opened before" },
	{ SANDBOX_VFIO, SANDBOX_VFIO_REQUEST, "ioctl",
	  "the kernel's devices, their groups, container or iommufd" },
	{ SANDBOX_VFIO, SANDBOX_ANY, "getdents64", "the device's folder in /sys, for its character device" },
	{ BOTH, SANDBOX_TERMINAL, "ioctl", "is standard output a terminal; how much is there to read" },

	/* sanitizers */
	{ SANDBOX_SANITIZER, SANDBOX_READ_ONLY, "openat open", "/proc/self/maps" },
	{ SANDBOX_SANITIZER, SANDBOX_ANY, "readlink readlinkat getdents getdents64 newfstatat stat lstat getppid "
	  "kill tgkill prctl rt_tgsigqueueinfo", "maps and threads of the process" },
	{ SANDBOX_SANITIZER, SANDBOX_ANY, "clone ptrace wait4", "the search for leaks at the end" },
	{ SANDBOX_SANITIZER, SANDBOX_ANY, "prlimit64 pipe2 pipe dup dup2 fork vfork",
	  "stacks; whether memory can be read" },
};

const struct sandbox_call *sandbox_calls(size_t *ret_count)
{
	*ret_count = sizeof(calls) / sizeof(calls[0]);
	return calls;
}

const char *sandbox_rule_text(enum sandbox_rule rule)
{
	static const char *const texts[] = {
		[SANDBOX_ANY] = "",
		[SANDBOX_NOT_EXECUTABLE] = "without PROT_EXEC",
		[SANDBOX_STREAM_UNIX] = "AF_UNIX, SOCK_STREAM",
		[SANDBOX_STREAM_INET] = "AF_INET, AF_INET6, SOCK_STREAM",
		[SANDBOX_LOOK_UP] = "AF_INET, AF_INET6, SOCK_DGRAM; AF_NETLINK, NETLINK_ROUTE",
		[SANDBOX_THREAD] = "with CLONE_THREAD, without new namespaces",
		[SANDBOX_READ_ONLY] = "O_RDONLY, without O_CREAT and O_TRUNC",
		[SANDBOX_TERMINAL] = "TCGETS, FIONREAD",
		[SANDBOX_KVM_REQUEST] = "requests of KVM (type 0xae)",
		[SANDBOX_VFIO_REQUEST] = "requests of VFIO and iommufd (type 0x3b)",
		[SANDBOX_USER_FAULTS] = "UFFD_USER_MODE_ONLY; UFFDIO_API, UFFDIO_REGISTER, UFFDIO_COPY",
		[SANDBOX_NAME_THREAD] = "PR_SET_NAME",
		[SANDBOX_OWN_PROCESS] = "to this process",
		[SANDBOX_OWN_LIMITS] = "of this process, reading",
		[SANDBOX_NO_SUCH_CALL] = "refused: ENOSYS",
		[SANDBOX_DENIED] = "refused: EACCES",
	};

	return texts[rule];
}
