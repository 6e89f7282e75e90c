// SPDX-License-Identifier: MIT OR GPL-2.0-only
//
// Which tasks are in scope.
#pragma once

#include "paths.h"

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

// Gives a task its member, which takes over the holds on its images, and counts it as living.
static __always_inline struct member *join(struct task_struct *task, struct member *as)
{
    // The iterator may meet a task that its parent is about to bring in.
    struct member *member = bpf_task_storage_get(&members, task, 0, 0);
    if (member) {
        hold_images(as, -1);
    } else {
        member = bpf_task_storage_get(&members, task, as, BPF_LOCAL_STORAGE_GET_F_CREATE);
    }
    if (!member) {
        hold_images(as, -1);
        __sync_fetch_and_add(&totals.lost_tasks, 1);
        return 0;
    }
    if (__sync_lock_test_and_set(&member->is_living, 1) == 0) {
        __sync_fetch_and_add(&totals.living, 1);
        add_living(member, 1);
    }
    return member;
}

// Whether the cgroup at this address is in scope, or below one that is, as the value of that one. The verifier follows a global
// function once for all its calls, and its argument can't be one of the pointers that a tracepoint passes.
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
    hold(image, 1);
    join(task, &entering);
}

// A task in scope is forked whose parent has no member.
static __always_inline void join_forked(struct task_struct *child, struct task_struct *parent, u32 container)
{
    u32 image = image_of(child);
    // It returns from the call of its parent.
    struct member forked = {.image = image, .container = container, .is_inside = 1};
    // The iterator has not met the parent yet, if that is in scope too.
    if (begins_entering || !(is_of_cgroups(parent) || is_of_pid_namespace(parent))) {
        forked.entered_as = image;
        forked.waits = TO_ENTER;
        hold(image, 1);
    }
    join(child, &forked);
}

// Takes a task out of scope.
static __always_inline void leave(struct task_struct *task, struct member *member)
{
    if (!__sync_lock_test_and_set(&member->is_living, 0))
        return;
    hold_images(member, -1);
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
