//! The allocator of the C library.

/// Makes every block of 128 KiB and more a mapping of its own, which goes back to the kernel when it is freed and grows without
/// being copied. glibc otherwise raises that size to the largest block that was freed so far (`M_MMAP_THRESHOLD` in
/// mallopt(3)); large blocks then grow by copies in the heap.
pub(crate) fn map_large_blocks() {
    #[cfg(target_env = "gnu")]
    // SAFETY: sets a parameter of the allocator, under its lock; no memory is touched. If it fails, nothing changes.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 128 << 10);
    }
}
