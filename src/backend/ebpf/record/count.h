// SPDX-License-Identifier: MIT OR GPL-2.0-only
//
// Which call a task is in, who makes it, and its count.
#pragma once

#include "paths.h"

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

__noinline int count_in_spare(u32 image, u32 abi, u32 nr)
{
    struct call call = {.image = image, .abi = abi, .nr = nr};
    if (!add(&spare, &call))
        __sync_fetch_and_add(&totals.lost_calls, 1);
    return 0;
}

static __always_inline void count(u32 image, u32 abi, u32 nr)
{
    struct call call = {.image = image, .abi = abi, .nr = nr};
    if (!add(&counts, &call))
        count_in_spare(image, abi, nr);
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
