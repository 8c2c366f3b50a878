/* SPDX-License-Identifier: MIT */
/*
 * test_sandbox.c - what a sandboxed process can't do any more, and what it still can.
 *
 * Each case is a child that enters the sandbox and then tries one thing: it is killed by SIGSYS, or
 * ends with the errno it got (0: it worked).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <linux/kvm.h>
#include <linux/userfaultfd.h>
#include <linux/vfio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "sandbox/calls.h"
#include "sandbox/sandbox.h"
#include "vf_config.h"
#include "vferry_landlock.h"

#define SAME(a, b) _Static_assert((unsigned long) (a) == (unsigned long) (b), #a)

SAME(VF_LANDLOCK_CREATE_VERSION, LANDLOCK_CREATE_RULESET_VERSION);
SAME(VF_LANDLOCK_RULE_PATH_BENEATH, LANDLOCK_RULE_PATH_BENEATH);
SAME(VF_LANDLOCK_EXECUTE, LANDLOCK_ACCESS_FS_EXECUTE);
SAME(VF_LANDLOCK_WRITE_FILE, LANDLOCK_ACCESS_FS_WRITE_FILE);
SAME(VF_LANDLOCK_READ_FILE, LANDLOCK_ACCESS_FS_READ_FILE);
SAME(VF_LANDLOCK_READ_DIR, LANDLOCK_ACCESS_FS_READ_DIR);
SAME(VF_LANDLOCK_REMOVE_DIR, LANDLOCK_ACCESS_FS_REMOVE_DIR);
SAME(VF_LANDLOCK_REMOVE_FILE, LANDLOCK_ACCESS_FS_REMOVE_FILE);
SAME(VF_LANDLOCK_MAKE_CHAR, LANDLOCK_ACCESS_FS_MAKE_CHAR);
SAME(VF_LANDLOCK_MAKE_DIR, LANDLOCK_ACCESS_FS_MAKE_DIR);
SAME(VF_LANDLOCK_MAKE_REG, LANDLOCK_ACCESS_FS_MAKE_REG);
SAME(VF_LANDLOCK_MAKE_SOCK, LANDLOCK_ACCESS_FS_MAKE_SOCK);
SAME(VF_LANDLOCK_MAKE_FIFO, LANDLOCK_ACCESS_FS_MAKE_FIFO);
SAME(VF_LANDLOCK_MAKE_BLOCK, LANDLOCK_ACCESS_FS_MAKE_BLOCK);
SAME(VF_LANDLOCK_MAKE_SYM, LANDLOCK_ACCESS_FS_MAKE_SYM);
SAME(sizeof(struct vf_landlock_path_beneath), sizeof(struct landlock_path_beneath_attr));
SAME(VF_NR_LANDLOCK_CREATE_RULESET, SYS_landlock_create_ruleset);
SAME(VF_NR_LANDLOCK_ADD_RULE, SYS_landlock_add_rule);
SAME(VF_NR_LANDLOCK_RESTRICT_SELF, SYS_landlock_restrict_self);
#ifdef LANDLOCK_ACCESS_FS_REFER
SAME(VF_LANDLOCK_REFER, LANDLOCK_ACCESS_FS_REFER);
#endif
#ifdef LANDLOCK_ACCESS_FS_TRUNCATE
SAME(VF_LANDLOCK_TRUNCATE, LANDLOCK_ACCESS_FS_TRUNCATE);
#endif
#ifdef LANDLOCK_ACCESS_FS_IOCTL_DEV
SAME(VF_LANDLOCK_IOCTL_DEV, LANDLOCK_ACCESS_FS_IOCTL_DEV);
#endif
#ifdef LANDLOCK_ACCESS_NET_BIND_TCP
SAME(VF_LANDLOCK_BIND_TCP, LANDLOCK_ACCESS_NET_BIND_TCP);
SAME(VF_LANDLOCK_CONNECT_TCP, LANDLOCK_ACCESS_NET_CONNECT_TCP);
#endif
#ifdef LANDLOCK_SCOPE_SIGNAL
SAME(VF_LANDLOCK_SCOPE_SIGNAL, LANDLOCK_SCOPE_SIGNAL);
SAME(VF_LANDLOCK_SCOPE_ABSTRACT_UNIX, LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET);
SAME(sizeof(struct vf_landlock_ruleset), sizeof(struct landlock_ruleset_attr));
#endif

#define KILLED (-1)
#define NOT_ENTERED 255

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED true
#else
#define SANITIZED false
#endif

/* A directory for the child, and one that it was not given; the kernel's Landlock, 0 = none. */
static char inside[64], outside[64];
static int landlock_abi;

static void enter(unsigned role, enum sandbox_mode mode)
{
	struct sandbox_options options = { .mode = mode, .role = role };
	struct sandbox_result result;

	if (sandbox_allow(&options, inside, SANDBOX_WRITE | SANDBOX_SOCKET) ||
	    (role & SANDBOX_VFIO && sandbox_allow(&options, "/dev/null", SANDBOX_NODE)) ||
	    sandbox_enter(&options, &result, NULL) || !result.seccomp ||
	    result.landlock != landlock_abi)
		_exit(NOT_ENTERED);
}

/* Return: KILLED, or the errno that @attempt ended with; 0 it worked. */
static int outcome(unsigned role, enum sandbox_mode mode, int (*attempt)(void))
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (!pid) {
		const struct rlimit no_core = { 0 };

		(void) setrlimit(RLIMIT_CORE, &no_core);
		enter(role, mode);
		_exit(attempt() < 0 ? errno : 0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFSIGNALED(status)) {
		assert_int_equal(WTERMSIG(status), SIGSYS);
		return KILLED;
	}
	assert_true(WIFEXITED(status));
	assert_int_not_equal(WEXITSTATUS(status), NOT_ENTERED);
	return WEXITSTATUS(status);
}

/* ---- what is tried ---- */

static int try_exec(void)
{
	return execl("/bin/true", "true", NULL);
}

static int try_packet_socket(void)
{
	return socket(AF_PACKET, SOCK_RAW, 0);
}

static int try_vsock(void)
{
	return socket(AF_VSOCK, SOCK_STREAM, 0);
}

static int try_raw_socket(void)
{
	return socket(AF_INET, SOCK_RAW, IPPROTO_ICMP);
}

static int try_tcp_socket(void)
{
	return socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

static int try_unix_socket(void)
{
	return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
}

static int try_code(void)
{
	return mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) ==
	       MAP_FAILED ? -1 : 0;
}

static int try_to_make_code(void)
{
	void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return mprotect(p, 4096, PROT_READ | PROT_EXEC);
}

static int try_fork(void)
{
	return (int) syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
}

static int try_clone3(void)
{
	return (int) syscall(SYS_clone3, NULL, 0);
}

static int try_namespace(void)
{
	return unshare(CLONE_NEWUSER);
}

static int try_ptrace(void)
{
	return (int) ptrace(PTRACE_ATTACH, getppid(), 0, 0);
}

static int try_process_vm(void)
{
	return (int) syscall(SYS_process_vm_readv, getppid(), NULL, 0, NULL, 0, 0);
}

static int try_mount(void)
{
	return (int) syscall(SYS_mount, "none", "/mnt", "tmpfs", 0, NULL);
}

static int try_bpf(void)
{
	return (int) syscall(SYS_bpf, 0, NULL, 0);
}

static int try_io_uring(void)
{
	return (int) syscall(SYS_io_uring_setup, 1, NULL);
}

static int try_terminal_input(void)
{
	return ioctl(0, TIOCSTI, "x");
}

static int try_kvm(void)
{
	return ioctl(-1, KVM_CREATE_VM, 0);
}

static int try_vfio(void)
{
	return ioctl(-1, VFIO_DEVICE_GET_INFO, 0);
}

static int try_user_faults(void)
{
	return (int) syscall(SYS_userfaultfd, UFFD_USER_MODE_ONLY);
}

static int try_kernel_faults(void)
{
	return (int) syscall(SYS_userfaultfd, 0);
}

static int try_fault_request(void)
{
	return ioctl(-1, UFFDIO_API, NULL);
}

static int try_other_fault_request(void)
{
	return ioctl(-1, UFFDIO_WRITEPROTECT, NULL);
}

static int try_device_node(void)
{
	return open("/dev/null", O_RDWR | O_CLOEXEC);
}

static int try_other_node(void)
{
	return open("/dev/zero", O_RDWR | O_CLOEXEC);
}

static int try_to_kill(void)
{
	return (int) syscall(SYS_kill, getppid(), 0);
}

static int try_to_dump(void)
{
	return prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0);
}

static void *end(void *user)
{
	return user;
}

static int try_thread(void)
{
	pthread_t thread;
	int ret = pthread_create(&thread, NULL, end, NULL);

	if (ret) {
		errno = ret;
		return -1;
	}
	return pthread_join(thread, NULL);
}

static int open_in(const char *folder, const char *name, int flags)
{
	char path[128];

	(void) snprintf(path, sizeof(path), "%s/%s", folder, name);
	return open(path, flags | O_CLOEXEC, 0600);
}

static int try_write_inside(void)
{
	return open_in(inside, "new", O_WRONLY | O_CREAT);
}

static int try_write_outside(void)
{
	return open_in(outside, "new", O_WRONLY | O_CREAT);
}

static int try_read_outside(void)
{
	return open_in(outside, "secret", O_RDONLY);
}

static int try_read_etc(void)
{
	return open("/etc/hosts", O_RDONLY | O_CLOEXEC);
}

static int try_write_etc(void)
{
	return open("/etc/hosts", O_WRONLY | O_CLOEXEC);
}

static int try_remove_outside(void)
{
	char path[128];

	(void) snprintf(path, sizeof(path), "%s/secret", outside);
	return unlink(path);
}

static int try_new_capability(void)
{
	return (int) syscall(SYS_chroot, "/");
}

static int bind_in(const char *folder)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	(void) snprintf(address.sun_path, sizeof(address.sun_path), "%s/socket", folder);
	return bind(try_unix_socket(), (struct sockaddr *) &address, sizeof(address));
}

static int try_bind_inside(void)
{
	return bind_in(inside);
}

static int try_bind_outside(void)
{
	return bind_in(outside);
}

/* What a thread that was there before gets: the filter is of the process. */
static int go[2];

static void *try_in_thread(void *user)
{
	char waste;

	(void) user;
	(void) !read(go[0], &waste, 1);
	(void) try_exec();
	_exit(77);
}

/* ---- tests ---- */

static const struct attempt {
	const char *name;
	int (*attempt)(void);
	int machine, device;
	bool in_sanitizers;	/* of which builds with a sanitizer need it themselves: not tried there */
} attempts[] = {
	{ "execve", try_exec, KILLED, KILLED, false },
	{ "packet socket", try_packet_socket, KILLED, KILLED, false },
	{ "vsock", try_vsock, KILLED, KILLED, false },
	{ "raw socket", try_raw_socket, KILLED, KILLED, false },
	{ "tcp socket", try_tcp_socket, 0, KILLED, false },
	{ "unix socket", try_unix_socket, 0, 0, false },
	{ "mmap of code", try_code, KILLED, KILLED, false },
	{ "mprotect to code", try_to_make_code, KILLED, KILLED, false },
	{ "fork", try_fork, KILLED, KILLED, true },
	{ "clone3", try_clone3, ENOSYS, ENOSYS, false },
	{ "namespace", try_namespace, KILLED, KILLED, false },
	{ "ptrace", try_ptrace, KILLED, KILLED, true },
	{ "process_vm_readv", try_process_vm, KILLED, KILLED, false },
	{ "mount", try_mount, KILLED, KILLED, false },
	{ "bpf", try_bpf, KILLED, KILLED, false },
	{ "io_uring", try_io_uring, KILLED, KILLED, false },
	{ "TIOCSTI", try_terminal_input, KILLED, KILLED, false },
	{ "KVM request", try_kvm, KILLED, KILLED, false },
	{ "VFIO request", try_vfio, KILLED, KILLED, false },
	{ "faults in user mode", try_user_faults, 0, KILLED, false },
	{ "faults in the kernel", try_kernel_faults, KILLED, KILLED, false },
	{ "userfaultfd request", try_fault_request, EBADF, KILLED, false },
	{ "other userfaultfd request", try_other_fault_request, KILLED, KILLED, false },
	{ "kill", try_to_kill, KILLED, KILLED, true },
	{ "PR_SET_PTRACER", try_to_dump, KILLED, KILLED, true },
	{ "chroot", try_new_capability, KILLED, KILLED, false },
	{ "thread", try_thread, 0, 0, false },
};

static void test_calls(void **state)
{
	(void) state;
	for (size_t i = 0; i < sizeof(attempts) / sizeof(attempts[0]); i++) {
		const struct attempt *a = &attempts[i];

		if (SANITIZED && a->in_sanitizers)
			continue;
		print_message("%s\n", a->name);
		assert_int_equal(outcome(SANDBOX_MACHINE, SANDBOX_ON, a->attempt), a->machine);
		assert_int_equal(outcome(SANDBOX_DEVICE, SANDBOX_ON, a->attempt), a->device);
	}
}

static void test_kvm(void **state)
{
	(void) state;
	assert_int_equal(outcome(SANDBOX_MACHINE | SANDBOX_KVM, SANDBOX_ON, try_kvm), EBADF);
	assert_int_equal(outcome(SANDBOX_MACHINE | SANDBOX_KVM, SANDBOX_ON, try_terminal_input), KILLED);
	assert_int_equal(outcome(SANDBOX_MACHINE | SANDBOX_KVM, SANDBOX_ON, try_tcp_socket), 0);
}

static void test_vfio(void **state)
{
	(void) state;
	assert_int_equal(outcome(SANDBOX_MACHINE, SANDBOX_ON, try_vfio), KILLED);
	assert_int_equal(outcome(SANDBOX_MACHINE | SANDBOX_KVM, SANDBOX_ON, try_vfio), KILLED);
	assert_int_equal(outcome(SANDBOX_MACHINE | SANDBOX_VFIO, SANDBOX_ON, try_vfio), EBADF);
	assert_int_equal(outcome(SANDBOX_MACHINE | SANDBOX_VFIO, SANDBOX_ON, try_kvm), KILLED);
	assert_int_equal(outcome(SANDBOX_MACHINE | SANDBOX_VFIO, SANDBOX_ON, try_terminal_input), KILLED);
}

/* The test of the test: without the sandbox the same calls work, or fail for other reasons. */
static void test_off_is_off(void **state)
{
	pid_t pid = fork();
	int status;

	(void) state;
	if (!pid) {
		struct sandbox_options options = { .mode = SANDBOX_OFF, .role = SANDBOX_MACHINE };
		struct sandbox_result result;

		if (sandbox_enter(&options, &result, NULL) || result.seccomp || result.landlock)
			_exit(NOT_ENTERED);
		(void) try_exec();
		_exit(1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void test_log_lets_pass(void **state)
{
	(void) state;
	assert_int_equal(outcome(SANDBOX_MACHINE, SANDBOX_LOG, try_code), 0);
}

static void test_other_threads_too(void **state)
{
	pid_t pid;
	int status;

	(void) state;
	pid = fork();
	if (!pid) {
		pthread_t thread;

		if (pipe(go) || pthread_create(&thread, NULL, try_in_thread, NULL))
			_exit(NOT_ENTERED);
		enter(SANDBOX_MACHINE, SANDBOX_ON);
		(void) !write(go[1], "x", 1);
		(void) pthread_join(thread, NULL);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGSYS);
}

static void test_files(void **state)
{
	(void) state;
	if (!landlock_abi) {
		print_message("this kernel has no Landlock\n");
		skip();
	}
	assert_int_equal(outcome(SANDBOX_MACHINE, SANDBOX_ON, try_write_inside), 0);
	assert_int_equal(outcome(SANDBOX_MACHINE, SANDBOX_ON, try_write_outside), EACCES);
	assert_int_equal(outcome(SANDBOX_MACHINE, SANDBOX_ON, try_read_outside), EACCES);
	assert_int_equal(outcome(SANDBOX_MACHINE, SANDBOX_ON, try_remove_outside), EACCES);
	assert_int_equal(outcome(SANDBOX_MACHINE, SANDBOX_ON, try_read_etc), 0);
	assert_int_equal(outcome(SANDBOX_MACHINE, SANDBOX_ON, try_write_etc), EACCES);
	assert_int_equal(outcome(SANDBOX_MACHINE, SANDBOX_ON, try_bind_outside), EACCES);
	assert_int_equal(outcome(SANDBOX_MACHINE, SANDBOX_ON, try_bind_inside), 0);
	assert_int_equal(outcome(SANDBOX_DEVICE, SANDBOX_ON, try_read_etc), EACCES);
	assert_int_equal(outcome(SANDBOX_DEVICE, SANDBOX_ON, try_read_outside), EACCES);
	assert_int_equal(outcome(SANDBOX_MACHINE, SANDBOX_ON, try_device_node), EACCES);
	assert_int_equal(outcome(SANDBOX_MACHINE | SANDBOX_VFIO, SANDBOX_ON, try_device_node), 0);
	assert_int_equal(outcome(SANDBOX_MACHINE | SANDBOX_VFIO, SANDBOX_ON, try_other_node), EACCES);
}

static void test_privileges(void **state)
{
	pid_t pid = fork();
	int status;

	(void) state;
	if (!pid) {
		char line[256];
		FILE *f = fopen("/proc/self/status", "re");
		int good = 0;

		/* It is open already: /proc can't be opened any more. */
		enter(SANDBOX_MACHINE, SANDBOX_ON);
		while (f && fgets(line, sizeof(line), f)) {
			good += !strcmp(line, "NoNewPrivs:\t1\n") || !strcmp(line, "Seccomp:\t2\n");
			good += !strcmp(line, "CapEff:\t0000000000000000\n") ||
				!strcmp(line, "CapPrm:\t0000000000000000\n") ||
				!strcmp(line, "CapInh:\t0000000000000000\n");
			/* Only who may drop from it can: others have nothing to get back. */
			good += !strncmp(line, "CapBnd:", 7);
		}
		_exit(good == 6 ? 0 : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void test_modes(void **state)
{
	enum sandbox_mode mode = SANDBOX_DEFAULT;

	(void) state;
	assert_int_equal(sandbox_mode_parse("on", &mode), 0);
	assert_int_equal(mode, SANDBOX_ON);
	assert_int_equal(sandbox_mode_parse("off", &mode), 0);
	assert_int_equal(mode, SANDBOX_OFF);
	assert_int_equal(sandbox_mode_parse("log", &mode), 0);
	assert_int_equal(mode, SANDBOX_LOG);
	assert_int_equal(sandbox_mode_parse("maybe", &mode), -EINVAL);
}

static void test_paths_are_bounded(void **state)
{
	struct sandbox_options options = { .mode = SANDBOX_OFF };
	struct sandbox_result result;
	char longer[5000];

	(void) state;
	assert_int_equal(sandbox_allow(&options, "/nonexistent", SANDBOX_READ), 0);
	assert_int_equal(sandbox_allow(&options, NULL, SANDBOX_READ), 0);
	assert_int_equal(options.path_count, 0);
	for (unsigned i = 0; i < SANDBOX_PATHS_MAX; i++)
		assert_int_equal(sandbox_allow_parent(&options, "/x", SANDBOX_READ), 0);
	assert_int_equal(sandbox_allow_parent(&options, "x", SANDBOX_READ), -E2BIG);
	memset(longer, '/', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	assert_int_equal(sandbox_allow_parent(&options, longer, SANDBOX_READ), -ENAMETOOLONG);
	assert_int_equal(sandbox_enter(&options, &result, NULL), 0);
	assert_int_equal(options.path_count, 0);	/* closed */
}

/* Each row of the table has a reason and names calls. */
static void test_table(void **state)
{
	size_t count;
	const struct sandbox_call *calls = sandbox_calls(&count);

	(void) state;
	for (size_t i = 0; i < count; i++) {
		assert_true(calls[i].roles != 0);
		assert_true(strlen(calls[i].why) > 5);
		assert_non_null(sandbox_rule_text(calls[i].rule));
		for (const char *never = "execve execveat ptrace bpf unshare setns mount io_uring_setup "
		     "init_module keyctl process_vm_writev personality"; never;
		     never = strchr(never, ' ') ? strchr(never, ' ') + 1 : NULL) {
			char word[32] = "";

			(void) sscanf(never, "%31s", word);
			if (strstr(calls[i].names, word))
				assert_int_equal(calls[i].roles, SANDBOX_SANITIZER);
		}
		/* Faults of the kernel held back are what exploits of it want: of user mode, or none. */
		if (strstr(calls[i].names, "userfaultfd"))
			assert_int_equal(calls[i].rule, SANDBOX_USER_FAULTS);
	}
}

static int make_folders(void **state)
{
	int fd;

	(void) state;
	landlock_abi = (int) syscall(VF_NR_LANDLOCK_CREATE_RULESET, NULL, 0,
				     VF_LANDLOCK_CREATE_VERSION);
	if (landlock_abi < 0)
		landlock_abi = 0;
	(void) strcpy(inside, "/tmp/vferry-inside-XXXXXX");
	(void) strcpy(outside, "/tmp/vferry-outside-XXXXXX");
	if (!mkdtemp(inside) || !mkdtemp(outside))
		return -1;
	fd = open_in(outside, "secret", O_WRONLY | O_CREAT);
	return fd < 0 ? -1 : close(fd);
}

static int remove_folders(void **state)
{
	static const char *const names[] = { "new", "socket", "secret" };

	(void) state;
	for (size_t i = 0; i < 3; i++) {
		char path[128];

		(void) snprintf(path, sizeof(path), "%s/%s", inside, names[i]);
		(void) unlink(path);
		(void) snprintf(path, sizeof(path), "%s/%s", outside, names[i]);
		(void) unlink(path);
	}
	return rmdir(inside) || rmdir(outside) ? -1 : 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_calls),
		cmocka_unit_test(test_kvm),
		cmocka_unit_test(test_vfio),
		cmocka_unit_test(test_off_is_off),
		cmocka_unit_test(test_log_lets_pass),
		cmocka_unit_test(test_other_threads_too),
		cmocka_unit_test(test_files),
		cmocka_unit_test(test_privileges),
		cmocka_unit_test(test_modes),
		cmocka_unit_test(test_paths_are_bounded),
		cmocka_unit_test(test_table),
	};

	if (!VF_HAVE_SECCOMP) {
		print_message("this build has no libseccomp\n");
		return 77;
	}
	return cmocka_run_group_tests(tests, make_folders, remove_folders);
}
