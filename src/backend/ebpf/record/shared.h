// SPDX-License-Identifier: MIT OR GPL-2.0-only
//
// What the recorder and the programs share: settings, keys, values and maps.
#pragma once

#include "kernel.h"

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

struct image_key {
    u64 inode;
    u64 dentry;
    u32 device;
    // The hash of its name, which renaming changes.
    u32 name;
};

// The path of an executable or a cgroup, its last component first, each with its NUL.
struct written_path {
    // Of an executable.
    struct image_key key;
    u32 length;
    // Of a container: the tasks that have not exited. Of an executable: how often its number is held.
    u32 living;
    u8 is_whole;
    u8 is_deleted;
    // Of a container: a task has entered it.
    u8 is_entered;
    u8 unused[5];
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

struct member {
    // What it executes; 0: not known.
    u32 image;
    // What it executed when it entered the scope; 0 from the container's program on.
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
    // Executables without a number, for want of memory.
    u64 lost_images;
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

// Calls that come while the kernel has no memory at hand for an entry of `counts`: it gets more in the background.
MAP(spare, BPF_MAP_TYPE_PERCPU_HASH, 1 << 12, struct call, struct count);

// Calls with watched arguments, which are not in `counts` then. If it is full, they are there, and have no arguments.
MAP(values, BPF_MAP_TYPE_PERCPU_HASH, 1 << 16, struct call_with_arguments, struct count, LAZY);

// The recorder removes those whose numbers nobody holds.
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
