// SPDX-License-Identifier: MIT OR GPL-2.0-only
//
// The paths of executables and of cgroups, each written once, at the first call.
#pragma once

#include "shared.h"

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

// Adds to how often the number of an executable is held.
static __always_inline void hold(u32 image, int times)
{
    struct written_path *path = image ? bpf_map_lookup_elem(&paths, &image) : 0;
    if (path)
        __sync_fetch_and_add(&path->living, times);
}

static __always_inline void hold_images(struct member *member, int times)
{
    hold(member->image, times);
    hold(member->entered_as, times);
}

// The number of an executable that has one, held once.
static __always_inline u32 held(struct image_key *key)
{
    u32 *known = bpf_map_lookup_elem(&images, key);
    if (!known)
        return 0;
    u32 image = *known;
    hold(image, 1);
    // The recorder removes it here before it looks for holds a second time.
    known = bpf_map_lookup_elem(&images, key);
    if (known && *known == image)
        return image;
    hold(image, -1);
    return 0;
}

// The number of what a task executes, held once. The same file under another name is another one.
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
        .name = BPF_CORE_READ(dentry, d_name.hash_len),
    };
    u32 image = held(&key);
    if (image)
        return image;
    u32 zero = 0;
    struct written_path *path = bpf_map_lookup_elem(&scratch, &zero);
    if (!path)
        return 0;
    image = __sync_fetch_and_add(&totals.images, 1) + 1;
    write_path(path, file);
    path->key = key;
    path->living = 1;
    if (bpf_map_update_elem(&paths, &image, path, BPF_ANY) == 0) {
        if (bpf_map_update_elem(&images, &key, &image, BPF_NOEXIST) == 0)
            return image;
        bpf_map_delete_elem(&paths, &image);
        // Another processor may have been faster.
        image = held(&key);
        if (image)
            return image;
    }
    // Without room, its calls count as those of an unknown executable.
    __sync_fetch_and_add(&totals.lost_images, 1);
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
