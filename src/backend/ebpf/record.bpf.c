// SPDX-License-Identifier: MIT OR GPL-2.0-only
//
// Counts the system calls of the tasks in scope, in the kernel: per executable, ABI and number, and on request per cgroup. No event leaves the kernel
// per call, so nothing can overflow.
//
// A task is in scope if it has a `struct member`. The iterator gives one to the tasks that the recording begins with, and
// fork passes it on.

#include <linux/bpf.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

typedef __u32 u32;
typedef __u64 u64;
typedef __u8 u8;

#define CORE __attribute__((preserve_access_index))

// What is read of the kernel's types. CO-RE finds the offsets.
struct thread_info {
    unsigned long flags;
    u32 status;
} CORE;

struct seccomp {
    int mode;
} CORE;

// Its modes. A task that its filter kills is dead since Linux 5.17.
enum {
    MODE_FILTER = 2,
    MODE_DEAD = 3,
};

struct qstr {
    const unsigned char *name;
} CORE;

struct super_block {
    u32 s_dev;
} CORE;

struct inode {
    struct super_block *i_sb;
    unsigned long i_ino;
} CORE;

struct hlist_bl_node {
    struct hlist_bl_node **pprev;
} CORE;

struct dentry {
    struct hlist_bl_node d_hash;
    struct dentry *d_parent;
    struct qstr d_name;
    struct inode *d_inode;
} CORE;

struct vfsmount {
    struct dentry *mnt_root;
} CORE;

struct ns_common {
    u32 inum;
} CORE;

struct mnt_namespace {
    struct ns_common ns;
} CORE;

struct nsproxy {
    struct mnt_namespace *mnt_ns;
} CORE;

struct mount {
    struct mount *mnt_parent;
    struct dentry *mnt_mountpoint;
    struct vfsmount mnt;
} CORE;

struct path {
    struct vfsmount *mnt;
    struct dentry *dentry;
} CORE;

struct file {
    struct path f_path;
} CORE;

struct mm_struct {
    struct file *exe_file;
} CORE;

struct pid_namespace {
    struct ns_common ns;
} CORE;

struct upid {
    int nr;
    struct pid_namespace *ns;
} CORE;

struct pid {
    unsigned int level;
    struct upid numbers[1];
} CORE;

struct kernfs_node {
    const char *name;
    u64 id;
} CORE;

struct cgroup;

struct cgroup_subsys_state {
    struct cgroup *cgroup;
    struct cgroup_subsys_state *parent;
} CORE;

struct cgroup_root {
    int hierarchy_id;
} CORE;

struct cgroup {
    struct cgroup_subsys_state self;
    struct kernfs_node *kn;
    struct cgroup_root *root;
} CORE;

#define SUBSYSTEMS 16

struct css_set {
    // Of each controller's hierarchy.
    struct cgroup_subsys_state *subsys[SUBSYSTEMS];
    // Of version 2.
    struct cgroup *dfl_cgrp;
} CORE;

struct task_struct {
    u32 flags;
    int exit_code;
    struct css_set *cgroups;
    struct thread_info thread_info;
    struct mm_struct *mm;
    struct task_struct *real_parent;
    struct task_struct *group_leader;
    struct pid *thread_pid;
    struct nsproxy *nsproxy;
    struct seccomp seccomp;
} CORE;

struct pt_regs;
struct linux_binprm;

struct io_kiocb {
    u8 opcode;
} CORE;

struct bpf_iter_meta {
    struct seq_file *seq;
} CORE;

struct bpf_iter__task {
    struct bpf_iter_meta *meta;
    struct task_struct *task;
} CORE;

// Shared with the recorder (ebpf/kernel.rs).

// ABIs.
enum {
    ABI_NATIVE = 0,
    ABI_COMPAT = 1,
    // No call: an operation that was submitted to io_uring. Its number is the opcode.
    ABI_IO_URING = 8,
};

// Who made a call, beside its ABI.
enum {
    WORKLOAD = 0,
    // A container runtime, under the filter of the container.
    RUNTIME = 2,
    // What entered the scope, before it executed the container's program: a container runtime, or a program that is part
    // of the workload from then on. The image says which (`runtimes`).
    ENTERING = 4,
};

struct call {
    // The inode number, or the number of the container; 0: not known.
    u64 cgroup;
    u32 image;
    // With who made it.
    u32 abi;
    u32 nr;
    u32 unused;
};

#define ARGUMENTS 3

// A call with the arguments that are watched.
struct call_with_arguments {
    struct call call;
    u64 args[ARGUMENTS];
};

struct count {
    u64 calls;
    // bpf_ktime_get_boot_ns() at the first.
    u64 first;
};

#define COMPONENTS 64
#define NAME_ROOM 256
#define PATH_ROOM 4096

// The path of an executable or a cgroup, its last component first, each with its NUL.
struct written_path {
    u32 length;
    u8 is_whole;
    u8 is_deleted;
    // Of a container: a task has entered it, and how many have not exited.
    u8 is_entered;
    u8 unused;
    u32 living;
    char names[PATH_ROOM + NAME_ROOM];
};

// A directory of a cgroup hierarchy.
struct cgroup_key {
    // Its inode number.
    u64 id;
    // As in /proc/PID/cgroup; 0: version 2.
    u32 hierarchy;
    u32 unused;
};

struct image_key {
    u64 inode;
    u64 dentry;
    u32 device;
    u32 unused;
};

struct member {
    // What it executes; 0: not known.
    u32 image;
    // What it executed when it entered the scope.
    u32 entered_as;
    // How it waits to execute the program.
    u32 waits;
    // Its latest execve(2) while it waits.
    u32 abi;
    u32 nr;
    // That call has been made, and is not counted. A filter was loaded.
    u8 is_pending;
    u8 is_filtered;
    // It is in a call that sys_enter showed.
    u8 is_inside;
    // The call for which a filter kills it is counted.
    u8 is_refused;
    // It is counted as living.
    u32 is_living;
    // The number of its container, if they are told apart.
    u32 container;
};

enum {
    NO_MORE = 0,
    // It has not executed the command yet: only the call that does so counts.
    TO_BEGIN = 1,
    // It has entered the scope.
    TO_ENTER = 2,
};

struct totals {
    // Tasks in scope that have not exited.
    u64 living;
    // What could not be counted or followed, for want of memory.
    u64 lost_calls;
    u64 lost_tasks;
    // Refused calls whose number is not known.
    u64 overwritten;
    u64 images;
    u64 containers;
};

struct totals totals = {0};

// The process that the iterator takes into scope, by its id in the pid namespace of the recorder, with its threads, and, if
// it runs already, with its descendants. 0: the tasks of the cgroups and of the pid namespace.
volatile const u32 root = 0;
volatile const u8 root_is_waiting = 0;
// The inode numbers of the pid namespace in scope, if there is one, and of the mount namespace of the recorder.
volatile const u32 pid_namespace = 0;
volatile const u32 own_mounts = 0;
// The kernel marks the tasks that their filter kills (Linux 5.17).
volatile const u8 marks_the_dead = 0;
// The tasks of the scope have entered it, and have not executed the container's program yet.
volatile const u8 begins_entering = 0;
// Cgroups that are made later are in scope if their names contain a text of at most 64 bytes: for each byte the places
// that it can have in the text, as bits, and the last place. 0: there is no text.
volatile const u64 places[256] = {};
volatile const u64 last_place = 0;
// Tasks that are moved out of the cgroups are no longer in scope.
volatile const u8 tasks_leave = 0;
// The calls of each cgroup of version 2 are counted by themselves.
volatile const u8 by_cgroup = 0;
// The calls of each container are counted by themselves: of each cgroup that is in scope by its name.
volatile const u8 by_container = 0;
// The recorder itself, which is no part of any cgroup's recording.
volatile const u32 recorder = 0;

// Which arguments of a call are recorded: a byte for each, from the lowest. 0: no more.
enum {
    // The register, from 1.
    REGISTER = 7,
    // The kernel looks at 64 bits of it.
    WIDE = 8,
    // It is the first word of the structure to which the register points.
    IN_MEMORY = 16,
};

#define NUMBERS 1024
// A table of numbers for each ABI: native, compat, x32.
volatile const u32 watched[4 * NUMBERS] = {};

#define MAP(name, map_type, entries, key_type, value_type, ...) \
    struct { \
        __uint(type, map_type); \
        __uint(max_entries, entries); \
        __type(key, key_type); \
        __type(value, value_type); \
        __VA_ARGS__; \
    } name SEC(".maps")
// Entries get their memory when they are added.
#define LAZY __uint(map_flags, BPF_F_NO_PREALLOC)

struct {
    __uint(type, BPF_MAP_TYPE_TASK_STORAGE);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __type(key, int);
    __type(value, struct member);
} members SEC(".maps");

MAP(counts, BPF_MAP_TYPE_PERCPU_HASH, 1 << 18, struct call, struct count, LAZY);

// Calls with watched arguments, which are not in `counts` then. If it is full, they are there, and have no arguments.
MAP(values, BPF_MAP_TYPE_PERCPU_HASH, 1 << 16, struct call_with_arguments, struct count, LAZY);

MAP(images, BPF_MAP_TYPE_HASH, 1 << 14, struct image_key, u32, LAZY);

MAP(paths, BPF_MAP_TYPE_HASH, 1 << 14, u32, struct written_path, LAZY);

// The value of a cgroup that is out of scope: a monitor's, in which Podman and CRI-O start programs of their own.
#define OUT 0

// In scope with everything below them. The value is the number of the container, or 1, or OUT. Containers that run already have
// the numbers up to RUNNING.
#define RUNNING (1 << 14)
MAP(cgroups, BPF_MAP_TYPE_HASH, 1 << 15, struct cgroup_key, u32, LAZY);

// The same for `conmon`, which is part of the names of monitors' cgroups.
static const u8 monitor_places[256] = {['c'] = 1, ['o'] = 1 << 1 | 1 << 4, ['n'] = 1 << 2 | 1 << 5, ['m'] = 1 << 3};

// The cgroups of version 2, or by their numbers the containers, that calls are counted for.
MAP(cgroup_paths, BPF_MAP_TYPE_HASH, 1 << 15, u64, struct written_path, LAZY);

// The cgroups, or by their numbers the containers, that are removed: what was counted for them can be taken out of the maps. If it
// is full, that stays there.
struct {
    __uint(type, BPF_MAP_TYPE_QUEUE);
    __uint(max_entries, 1 << 13);
    __type(value, u64);
} gone SEC(".maps");

// Images that are container runtimes.
MAP(runtimes, BPF_MAP_TYPE_HASH, 4096, u32, u8);

// Too large for the stack.
MAP(scratch, BPF_MAP_TYPE_PERCPU_ARRAY, 1, u32, struct written_path);

// One message, of any content: the last task in scope has exited.
struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 4096);
} ended SEC(".maps");

// Adds a name to a path. The verifier doesn't follow values in a map, so the length is there: else it would follow each way
// through the loop that calls this.
static __always_inline int add_name(struct written_path *out, const void *name)
{
    volatile u32 *length = &out->length;
    u32 at = *length;
    if (at > PATH_ROOM - 1)
        return 0;
    long written = bpf_probe_read_kernel_str(&out->names[at & (PATH_ROOM - 1)], NAME_ROOM, name);
    if (written <= 0)
        return 0;
    *length = at + written;
    return 1;
}

// Writes the path of the current task's cgroup of version 2, for its first call there. The verifier follows a global function
// once for all its calls.
__noinline int write_cgroup(u64 id)
{
    u32 zero = 0;
    struct written_path *out = bpf_map_lookup_elem(&scratch, &zero);
    if (!out || bpf_map_lookup_elem(&cgroup_paths, &id))
        return 0;
    struct cgroup *cgroup = BPF_CORE_READ(bpf_get_current_task_btf(), cgroups, dfl_cgrp);
    out->length = 0;
    out->is_whole = 0;
    out->is_deleted = 0;
    out->living = 0;
    for (int i = 0; i < COMPONENTS; i++) {
        struct cgroup_subsys_state *parent = BPF_CORE_READ(cgroup, self.parent);
        if (!parent) {
            out->is_whole = 1;
            break;
        }
        if (!add_name(out, BPF_CORE_READ(cgroup, kn, name)))
            break;
        cgroup = BPF_CORE_READ(parent, cgroup);
    }
    bpf_map_update_elem(&cgroup_paths, &id, out, BPF_ANY);
    return 0;
}

// Adds a call to a map of counts. Returns whether there was room.
static __always_inline int add(void *map, struct call *call)
{
    if (by_cgroup) {
        call->cgroup = bpf_get_current_cgroup_id();
    } else if (by_container) {
        struct task_struct *task = bpf_get_current_task_btf();
        struct member *member = bpf_task_storage_get(&members, task, 0, 0);
        if (!member)
            member = bpf_task_storage_get(&members, task->group_leader, 0, 0);
        if (member)
            call->cgroup = member->container;
    }
    struct count *known = bpf_map_lookup_elem(map, call);
    if (!known) {
        struct count first = {.calls = 1, .first = bpf_ktime_get_boot_ns()};
        if (by_cgroup)
            write_cgroup(call->cgroup);
        if (map == &values) {
            // For the calls that `values` has no room for: later, there may be no memory.
            struct count none = {};
            bpf_map_update_elem(&counts, call, &none, BPF_NOEXIST);
        }
        if (bpf_map_update_elem(map, call, &first, BPF_NOEXIST) == 0)
            return 1;
        known = bpf_map_lookup_elem(map, call);
        if (!known)
            return 0;
    }
    if (known->calls == 0)
        known->first = bpf_ktime_get_boot_ns();
    known->calls++;
    return 1;
}

static __always_inline void count(u32 image, u32 abi, u32 nr)
{
    struct call call = {.image = image, .abi = abi, .nr = nr};
    if (!add(&counts, &call))
        __sync_fetch_and_add(&totals.lost_calls, 1);
}

static __always_inline u32 abi_of(struct task_struct *task)
{
#if defined(__TARGET_ARCH_x86)
    const u32 TS_COMPAT = 0x0002;
    return task->thread_info.status & TS_COMPAT ? ABI_COMPAT : ABI_NATIVE;
#elif defined(__TARGET_ARCH_arm64)
    const unsigned long TIF_32BIT = 22;
    return task->thread_info.flags & (1UL << TIF_32BIT) ? ABI_COMPAT : ABI_NATIVE;
#else
#error "how the ABI of a call is told here is not known"
#endif
}

// execve(2) or execveat(2).
static __always_inline int is_exec(u32 abi, u32 nr)
{
#if defined(__TARGET_ARCH_x86)
    return abi == ABI_COMPAT ? nr == 11 || nr == 358 : nr == 59 || nr == 322 || nr == (1 << 30 | 520) || nr == (1 << 30 | 545);
#elif defined(__TARGET_ARCH_arm64)
    return abi == ABI_COMPAT ? nr == 11 || nr == 387 : nr == 221 || nr == 281;
#endif
}

static __always_inline u32 watched_of(u32 abi, u32 nr)
{
    u32 table = abi & ABI_COMPAT;
#if defined(__TARGET_ARCH_x86)
    const u32 X32 = 1 << 30;
    if (!table && nr & X32) {
        table = 2;
        nr &= ~X32;
    }
#endif
    return nr < NUMBERS ? watched[(table * NUMBERS + nr) & (4 * NUMBERS - 1)] : 0;
}

#if defined(__TARGET_ARCH_x86)
// The places of rdi, rsi, rdx, r10, r8 and r9, and of ebx, ecx, edx, esi, edi and ebp, as in ptrace(2).
const u8 native_registers[8] = {14, 13, 12, 7, 9, 8};
const u8 compat_registers[8] = {5, 11, 12, 13, 14, 4};
#endif

// An argument of the call that a task is in, also when the call has returned.
static __always_inline u64 argument_of(struct task_struct *task, u32 abi, u32 argument)
{
    void *regs = (void *)bpf_task_pt_regs(task);
    u64 value = 0;
#if defined(__TARGET_ARCH_x86)
    u32 place = abi & ABI_COMPAT ? compat_registers[argument & 7] : native_registers[argument & 7];
#elif defined(__TARGET_ARCH_arm64)
    // orig_x0, since x0 has the result.
    u32 place = argument ? argument & 7 : 34;
#endif
    bpf_probe_read_kernel(&value, sizeof(value), regs + place * 8);
    return value;
}

// Counts the call that a task is in, with its watched arguments.
static __always_inline void count_made(struct task_struct *task, u32 image, u32 abi, u32 nr)
{
    u32 watch = abi & RUNTIME ? 0 : watched_of(abi, nr);
    if (!watch) {
        count(image, abi, nr);
        return;
    }
    struct call_with_arguments made = {.call = {.image = image, .abi = abi, .nr = nr}};
    int is_read = 1;
    for (int i = 0; i < ARGUMENTS; i++, watch >>= 8) {
        if (!(watch & REGISTER))
            break;
        u64 value = argument_of(task, abi, (watch & REGISTER) - 1);
        if (abi & ABI_COMPAT)
            value = (u32)value;
        if (watch & IN_MEMORY && bpf_probe_read_user(&value, sizeof(value), (void *)value))
            is_read = 0;
        made.args[i] = watch & WIDE ? value : (u32)value;
    }
    if (!is_read || !add(&values, &made.call))
        count(image, abi, nr);
}

// Who makes the calls of a task that enters the scope.
static __always_inline u32 who_enters(struct member *member)
{
    return member->is_filtered ? RUNTIME : ENTERING;
}

// Counts the latest execve(2) of a task that enters the scope: it did not execute the container's program.
static __always_inline void count_pending(struct member *member)
{
    if (member->waits == TO_ENTER && member->is_pending)
        count(member->image, member->abi | who_enters(member), member->nr);
    member->is_pending = 0;
}

static __always_inline void entered(struct task_struct *task, struct member *member, u32 nr)
{
    u32 abi = abi_of(task);
    if (!member->waits) {
        count_made(task, member->image, abi, nr);
        return;
    }
    count_pending(member);
    member->is_filtered = task->seccomp.mode != 0;
    if (is_exec(abi, nr)) {
        member->abi = abi;
        member->nr = nr;
        member->is_pending = 1;
    } else if (member->waits == TO_ENTER) {
        count_made(task, member->image, abi | who_enters(member), nr);
    }
}

// The number of the call that a task is in; negative outside of calls.
static __always_inline int number_of(struct task_struct *task)
{
    void *regs = (void *)bpf_task_pt_regs(task);
    int nr = -1;
#if defined(__TARGET_ARCH_x86)
    // orig_ax: the layout is that of ptrace(2).
    bpf_probe_read_kernel(&nr, sizeof(nr), regs + 15 * 8);
#elif defined(__TARGET_ARCH_arm64)
    // syscallno, after user_pt_regs (34 registers) and orig_x0.
    bpf_probe_read_kernel(&nr, sizeof(nr), regs + 35 * 8);
#endif
    return nr;
}

// A filter refused the call that a task is in.
static __always_inline void refused(struct task_struct *task, struct member *member)
{
    int nr = number_of(task);
    // A tracer that the filter called has overwritten the number.
    if (nr == -1)
        __sync_fetch_and_add(&totals.overwritten, 1);
    else
        entered(task, member, nr);
}

// Whether a task exits because of the call that it is in. An older kernel shows it by SIGSYS where it isn't strict mode: if that
// came from elsewhere, or ended the whole process, the last call counts twice.
static __always_inline int is_ended_by_filter(struct task_struct *task)
{
    const int SIGSYS = 31;
    int mode = task->seccomp.mode;
    int is_killed = mode == MODE_DEAD || (!marks_the_dead && mode == MODE_FILTER && task->exit_code == SIGSYS);
    return is_killed && number_of(task) >= 0;
}

// Writes the path of a file as its names, from the last to the first, across mounts.
static __always_inline void write_path(struct written_path *out, struct file *file)
{
    struct dentry *dentry = BPF_CORE_READ(file, f_path.dentry);
    struct vfsmount *vfsmount = BPF_CORE_READ(file, f_path.mnt);
    struct mount *mount = (void *)vfsmount - bpf_core_field_offset(struct mount, mnt);

    out->length = 0;
    out->is_whole = 0;
    out->is_deleted = BPF_CORE_READ(dentry, d_hash.pprev) == 0 && BPF_CORE_READ(dentry, d_parent) != dentry;
    for (int i = 0; i < COMPONENTS; i++) {
        struct dentry *parent = BPF_CORE_READ(dentry, d_parent);
        if (dentry == BPF_CORE_READ(mount, mnt.mnt_root) || dentry == parent) {
            struct mount *below = BPF_CORE_READ(mount, mnt_parent);
            if (below == mount) {
                out->is_whole = 1;
                break;
            }
            dentry = BPF_CORE_READ(mount, mnt_mountpoint);
            mount = below;
            continue;
        }
        if (!add_name(out, BPF_CORE_READ(dentry, d_name.name)))
            break;
        dentry = parent;
    }
}

// The number of what a task executes. The same file under another name is another one.
static __always_inline u32 image_of(struct task_struct *task)
{
    struct file *file = BPF_CORE_READ(task, mm, exe_file);
    if (!file)
        return 0;
    struct dentry *dentry = BPF_CORE_READ(file, f_path.dentry);
    struct image_key key = {
        .inode = BPF_CORE_READ(dentry, d_inode, i_ino),
        .device = BPF_CORE_READ(dentry, d_inode, i_sb, s_dev),
        .dentry = (u64)dentry,
    };
    u32 *known = bpf_map_lookup_elem(&images, &key);
    if (known)
        return *known;
    u32 zero = 0;
    struct written_path *path = bpf_map_lookup_elem(&scratch, &zero);
    if (!path)
        return 0;
    u32 image = __sync_fetch_and_add(&totals.images, 1) + 1;
    write_path(path, file);
    // Without room, its calls count as those of an unknown executable.
    if (bpf_map_update_elem(&paths, &image, path, BPF_ANY))
        return 0;
    if (bpf_map_update_elem(&images, &key, &image, BPF_NOEXIST)) {
        // Another processor was faster.
        known = bpf_map_lookup_elem(&images, &key);
        return known ? *known : 0;
    }
    return image;
}

// Adds to the tasks of a container that have not exited. One that ran when the recording began has no such number.
static __always_inline void add_living(struct member *member, u32 tasks)
{
    u64 number = member->container;
    struct written_path *container = by_container ? bpf_map_lookup_elem(&cgroup_paths, &number) : 0;
    if (container) {
        container->is_entered = 1;
        __sync_fetch_and_add(&container->living, tasks);
    }
}

// Gives a task its member, and counts it as living.
static __always_inline struct member *join(struct task_struct *task, struct member *as)
{
    struct member *member = bpf_task_storage_get(&members, task, as, BPF_LOCAL_STORAGE_GET_F_CREATE);
    if (!member) {
        __sync_fetch_and_add(&totals.lost_tasks, 1);
        return 0;
    }
    // The iterator may meet a task that its parent is about to bring in.
    if (__sync_lock_test_and_set(&member->is_living, 1) == 0) {
        __sync_fetch_and_add(&totals.living, 1);
        add_living(member, 1);
    }
    return member;
}

// Whether the cgroup at this address is in scope, or below one that is, as the value of that one. The verifier follows a global function once for all
// its calls, and its argument can't be one of the pointers that a tracepoint passes.
__noinline int is_in_scope(u64 address)
{
    struct cgroup *cgroup = (void *)address;
    for (int i = 0; i < 24 && cgroup; i++) {
        struct cgroup_key key = {
            .id = BPF_CORE_READ(cgroup, kn, id),
            .hierarchy = BPF_CORE_READ(cgroup, root, hierarchy_id),
        };
        u32 *number = bpf_map_lookup_elem(&cgroups, &key);
        if (number)
            return *number;
        struct cgroup_subsys_state *parent = BPF_CORE_READ(cgroup, self.parent);
        cgroup = parent ? BPF_CORE_READ(parent, cgroup) : 0;
    }
    return 0;
}

static __always_inline u32 is_of_cgroups(struct task_struct *task)
{
    struct css_set *set = BPF_CORE_READ(task, cgroups);
    u32 number = is_in_scope((u64)BPF_CORE_READ(set, dfl_cgrp));
    if (number)
        return number;
    u32 size = bpf_core_field_size(set->subsys) / sizeof(void *);
    for (u32 i = 0; i < SUBSYSTEMS && i < size; i++) {
        struct cgroup_subsys_state *state = 0;
        bpf_probe_read_kernel(&state, sizeof(state), (void *)set + bpf_core_field_offset(struct css_set, subsys) + i * sizeof(void *));
        number = state ? is_in_scope((u64)BPF_CORE_READ(state, cgroup)) : 0;
        if (number)
            return number;
    }
    return 0;
}

// Whether the pid namespace in which a task was born is in scope.
static __always_inline int is_of_pid_namespace(struct task_struct *task)
{
    struct pid *pid = BPF_CORE_READ(task, thread_pid);
    u32 level = BPF_CORE_READ(pid, level);
    if (!pid_namespace || !pid || level > 32)
        return 0;
    struct pid_namespace *namespace = 0;
    void *number = (void *)pid + bpf_core_field_offset(struct pid, numbers) + level * bpf_core_type_size(struct upid);
    bpf_probe_read_kernel(&namespace, sizeof(namespace), number + bpf_core_field_offset(struct upid, ns));
    return BPF_CORE_READ(namespace, ns.inum) == pid_namespace;
}

static __always_inline void join_running(struct task_struct *task, u32 container)
{
    struct member running = {.image = image_of(task), .container = container};
    join(task, &running);
}

// A task enters the scope. What it calls next may be a container runtime's.
static __always_inline void join_entering(struct task_struct *task, u32 container)
{
    u32 image = image_of(task);
    struct member entering = {.image = image, .entered_as = image, .waits = TO_ENTER, .container = container};
    join(task, &entering);
}

// Takes a task out of scope.
static __always_inline void leave(struct task_struct *task, struct member *member)
{
    if (!__sync_lock_test_and_set(&member->is_living, 0))
        return;
    add_living(member, -1);
    if (__sync_fetch_and_sub(&totals.living, 1) == 1) {
        u32 any = 0;
        bpf_ringbuf_output(&ended, &any, sizeof(any), 0);
    }
}

// A thread follows its process into a recorded cgroup, or out of it: the kernel shows only the move of the leader.
static __noinline int follow_leader(void)
{
    struct task_struct *task = bpf_get_current_task_btf();
    struct member *member = bpf_task_storage_get(&members, task, 0, 0);
    u32 container = is_of_cgroups(task);
    if (container && !member) {
        // As its leader did.
        join_entering(task, container);
    } else if (!container && member) {
        leave(task, member);
        bpf_task_storage_delete(&members, task);
    }
    return 0;
}

SEC("tp_btf/sys_enter")
int BPF_PROG(call_entered, struct pt_regs *regs, long nr)
{
    struct task_struct *task = bpf_get_current_task_btf();
    struct member *member = bpf_task_storage_get(&members, task, 0, 0);
    if (tasks_leave && task->group_leader != task) {
        if (!member == !!bpf_task_storage_get(&members, task->group_leader, 0, 0)) {
            follow_leader();
            member = bpf_task_storage_get(&members, task, 0, 0);
        }
    }
    if (!member)
        return 0;
    member->is_inside = 1;
    entered(task, member, nr);
    return 0;
}

// A call that a seccomp filter refuses never reaches sys_enter, but it ends.
SEC("tp_btf/sys_exit")
int BPF_PROG(call_left, struct pt_regs *regs, long result)
{
    struct task_struct *task = bpf_get_current_task_btf();
    struct member *member = bpf_task_storage_get(&members, task, 0, 0);
    if (!member)
        return 0;
    if (!member->is_inside && task->seccomp.mode) {
        refused(task, member);
        // The call of a filter that kills the whole process ends first.
        member->is_refused = task->seccomp.mode == MODE_DEAD;
    }
    member->is_inside = 0;
    return 0;
}

#if defined(__TARGET_ARCH_x86)
// The three calls of the vsyscall page are page faults to the kernel.
SEC("tp_btf/page_fault_user")
int BPF_PROG(vsyscall_entered, unsigned long address, struct pt_regs *regs, unsigned long error_code)
{
    const unsigned long VSYSCALL = 0xffffffffff600000UL;
    if ((address & ~0xc00UL) != VSYSCALL)
        return 0;
    struct member *member = bpf_task_storage_get(&members, bpf_get_current_task_btf(), 0, 0);
    u32 slot = (address >> 10) & 3;
    if (member && slot < 3)
        count(member->image, ABI_NATIVE, slot == 0 ? 96 /* gettimeofday */ : slot == 1 ? 201 /* time */ : 309 /* getcpu */);
    return 0;
}
#endif

// Whether the program that a task has just executed is the container's: the filter is loaded, or the file system is not its
// parent's. A runtime may execute itself before that.
static __always_inline int is_of_container(struct task_struct *task, struct member *member)
{
    if (member->is_filtered)
        return 1;
    // The runtime may have another file system than the recorder. An exiting parent has none.
    u32 outside = BPF_CORE_READ(task, real_parent, nsproxy, mnt_ns, ns.inum);
    if (!outside)
        outside = own_mounts;
    return outside && BPF_CORE_READ(task, nsproxy, mnt_ns, ns.inum) != outside;
}

// Under IORING_SETUP_SQPOLL, a kernel thread of the process submits, which no fork shows.
SEC("tp_btf/io_uring_submit_req")
int BPF_PROG(submitted, struct io_kiocb *request)
{
    struct task_struct *task = bpf_get_current_task_btf();
    struct member *member = bpf_task_storage_get(&members, task, 0, 0);
    if (!member)
        member = bpf_task_storage_get(&members, task->group_leader, 0, 0);
    if (member)
        count(member->image, ABI_IO_URING, request->opcode);
    return 0;
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(executed, struct task_struct *task, int old_pid, struct linux_binprm *binprm)
{
    struct member *member = bpf_task_storage_get(&members, task, 0, 0);
    if (!member)
        return 0;
    u32 before = member->image;
    member->image = image_of(task);
    if (member->waits == TO_ENTER) {
        if (!is_of_container(task, member)) {
            count_pending(member);
            return 0;
        }
        u8 any = 0;
        bpf_map_update_elem(&runtimes, &before, &any, BPF_ANY);
        bpf_map_update_elem(&runtimes, &member->entered_as, &any, BPF_ANY);
    }
    // The call that starts the command is credited to the command.
    if (member->waits && member->is_pending)
        count(member->image, member->abi, member->nr);
    member->waits = NO_MORE;
    return 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(exited, struct task_struct *task)
{
    struct member *member = bpf_task_storage_get(&members, task, 0, 0);
    if (!member)
        return 0;
    // SECCOMP_RET_KILL_THREAD of one thread of several and strict mode: the call never ends.
    if (!member->is_inside && !member->is_refused && is_ended_by_filter(task))
        refused(task, member);
    count_pending(member);
    leave(task, member);
    return 0;
}

// The id of a task in the pid namespace of the recorder, which reads the iterator; 0: it has none there.
static __always_inline u32 id_of(struct task_struct *process)
{
    struct task_struct *reader = bpf_get_current_task_btf();
    u32 level = BPF_CORE_READ(reader, thread_pid, level);
    struct pid *pid = BPF_CORE_READ(process, thread_pid);
    u32 nr = 0;
    if (!pid || BPF_CORE_READ(pid, level) < level || level > 32)
        return 0;
    void *numbers = (void *)pid + bpf_core_field_offset(struct pid, numbers);
    bpf_probe_read_kernel(&nr, sizeof(nr), numbers + level * bpf_core_type_size(struct upid));
    return nr;
}

SEC("tp_btf/sched_process_fork")
int BPF_PROG(forked, struct task_struct *parent, struct task_struct *child)
{
    struct member *member = bpf_task_storage_get(&members, parent, 0, 0);
    if (!member) {
        // CLONE_INTO_CGROUP, or a pid namespace that was entered by setns(2).
        if (root != 0)
            return 0;
        u32 container = is_of_cgroups(child);
        if (container || is_of_pid_namespace(child))
            join_entering(child, container);
        return 0;
    }
    struct member inherited = *member;
    inherited.is_living = 0;
    inherited.is_pending = 0;
    join(child, &inherited);
    return 0;
}

SEC("tp_btf/cgroup_attach_task")
int BPF_PROG(moved, struct cgroup *to, const char *path, struct task_struct *task)
{
    struct member *member = bpf_task_storage_get(&members, task, 0, 0);
    u32 container = member ? 0 : is_in_scope((u64)BPF_CORE_READ(to, self.cgroup));
    if (container) {
        join_entering(task, container);
    } else if (tasks_leave && member && !is_of_cgroups(task)) {
        // It may be in scope in another hierarchy.
        leave(task, member);
        bpf_task_storage_delete(&members, task);
    }
    return 0;
}

static __always_inline void write_container(u64 number, const char *name)
{
    u32 zero = 0;
    struct written_path *out = bpf_map_lookup_elem(&scratch, &zero);
    if (!out)
        return;
    out->length = 0;
    out->is_deleted = 0;
    out->is_entered = 0;
    out->living = 0;
    out->is_whole = add_name(out, name);
    bpf_map_update_elem(&cgroup_paths, &number, out, BPF_ANY);
}

SEC("tp_btf/cgroup_mkdir")
int BPF_PROG(made, struct cgroup *cgroup, const char *path)
{
    char name[NAME_ROOM] = {};
    if (bpf_probe_read_kernel_str(name, sizeof(name), BPF_CORE_READ(cgroup, kn, name)) <= 0)
        return 0;
    // The beginnings of the texts that end here, as bits. Without a branch, which the verifier would follow 2^256 times.
    u64 matching = 0, is_in = 0;
    u8 monitor_matching = 0, is_monitor = 0;
    for (int i = 0; i < NAME_ROOM; i++) {
        matching = (matching << 1 | 1) & places[(u8)name[i]];
        is_in |= matching & last_place;
        monitor_matching = (monitor_matching << 1 | 1) & monitor_places[(u8)name[i]];
        is_monitor |= monitor_matching & 1 << 5;
    }
    int is_out = is_monitor != 0;
    if (is_out ? is_in_scope((u64)BPF_CORE_READ(cgroup, self.cgroup)) : is_in) {
        u32 number = is_out ? OUT : 1;
        if (by_container && !is_out) {
            number = RUNNING + 1 + __sync_fetch_and_add(&totals.containers, 1);
            write_container(number, name);
        }
        struct cgroup_key key = {
            .id = BPF_CORE_READ(cgroup, kn, id),
            .hierarchy = BPF_CORE_READ(cgroup, root, hierarchy_id),
        };
        if (bpf_map_update_elem(&cgroups, &key, &number, BPF_ANY))
            __sync_fetch_and_add(&totals.lost_tasks, 1);
    }
    return 0;
}

// No task is left in it, and none can enter it.
SEC("tp_btf/cgroup_rmdir")
int BPF_PROG(removed, struct cgroup *cgroup, const char *path)
{
    struct cgroup_key key = {
        .id = BPF_CORE_READ(cgroup, kn, id),
        .hierarchy = BPF_CORE_READ(cgroup, root, hierarchy_id),
    };
    u64 over = by_cgroup && key.hierarchy == 0 ? key.id : 0;
    u32 *number = bpf_map_lookup_elem(&cgroups, &key);
    if (number) {
        if (by_container && *number > RUNNING)
            over = *number;
        // In the hierarchies of version 1, a container has several cgroups. Its tasks have the number of one.
        struct written_path *container = over ? bpf_map_lookup_elem(&cgroup_paths, &over) : 0;
        if (container && !container->is_entered) {
            bpf_map_delete_elem(&cgroup_paths, &over);
            over = 0;
        }
        bpf_map_delete_elem(&cgroups, &key);
    }
    if (over)
        bpf_map_push_elem(&gone, &over, BPF_ANY);
    return 0;
}

SEC("iter/task")
int begin(struct bpf_iter__task *ctx)
{
    struct task_struct *task = ctx->task;
    const u32 PF_EXITING = 4, PF_KTHREAD = 0x00200000;
    // Who is exiting makes no more calls, and may be past sched_process_exit; kernel threads make none.
    if (!task || task->flags & (PF_EXITING | PF_KTHREAD) || bpf_task_storage_get(&members, task, 0, 0))
        return 0;
    struct task_struct *process = BPF_CORE_READ(task, group_leader);
    if (root == 0) {
        u32 container = is_of_cgroups(task);
        if ((!container && !is_of_pid_namespace(task)) || id_of(process) == recorder)
            return 0;
        if (begins_entering)
            join_entering(task, container);
        else
            join_running(task, container);
        return 0;
    }
    int is_root = 0;
    for (int i = 0; i < 64 && process; i++) {
        if (id_of(process) == root) {
            is_root = 1;
            break;
        }
        if (root_is_waiting)
            break;
        struct task_struct *parent = BPF_CORE_READ(process, real_parent);
        if (parent == process)
            break;
        process = BPF_CORE_READ(parent, group_leader);
    }
    if (!is_root)
        return 0;
    if (!root_is_waiting) {
        join_running(task, 0);
        return 0;
    }
    struct member waiting = {.waits = TO_BEGIN};
    join(task, &waiting);
    return 0;
}

// Only programs under the GPL may use tracing helpers.
char _license[] SEC("license") = "Dual MIT/GPL";
