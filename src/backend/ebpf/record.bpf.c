// SPDX-License-Identifier: MIT OR GPL-2.0-only
//
// Counts the system calls of the tasks in scope, in the kernel: per executable, ABI and number, and on request per cgroup. No
// event leaves the kernel per call, so nothing can overflow.
//
// A task is in scope if it has a `struct member`. The iterator gives one to the tasks that the recording begins with, and
// fork passes it on.

#include "record/count.h"
#include "record/scope.h"

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
    if (member->waits == TO_ENTER && !is_of_container(task, member)) {
        count_pending(member);
    } else {
        if (member->waits == TO_ENTER) {
            u8 any = 0;
            bpf_map_update_elem(&runtimes, &before, &any, BPF_ANY);
            bpf_map_update_elem(&runtimes, &member->entered_as, &any, BPF_ANY);
        }
        // The call that starts the command is credited to the command.
        if (member->waits && member->is_pending)
            count(member->image, member->abi, member->nr);
        member->waits = NO_MORE;
        hold(member->entered_as, -1);
        member->entered_as = 0;
    }
    hold(before, -1);
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
            join_forked(child, parent, container);
        return 0;
    }
    struct member inherited = *member;
    inherited.is_living = 0;
    inherited.is_pending = 0;
    hold_images(&inherited, 1);
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
