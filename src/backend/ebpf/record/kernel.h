// SPDX-License-Identifier: MIT OR GPL-2.0-only
//
// What is read of the kernel's types. CO-RE finds the offsets.
#pragma once

#include <linux/bpf.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

typedef __u32 u32;
typedef __u64 u64;
typedef __u8 u8;

#define CORE __attribute__((preserve_access_index))

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
    // The hash of the name in its lower half.
    u64 hash_len;
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
