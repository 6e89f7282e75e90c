//! Loading the programs: whether it is possible, and why not.

use std::path::Path;

use aya::maps::{Map, MapError, MapType};
use aya::programs::ProgramError;
use aya::sys::is_map_supported;
use aya::{Ebpf, EbpfError};

use super::kernel_types;
use crate::backend::proc::Status;
use crate::backend::{Unavailable, chain};

/// What keeps the programs from being loaded, as far as it shows without loading them.
pub(super) fn probe() -> Result<(), Unavailable> {
    if !Path::new(kernel_types::FILE).exists() {
        return Err(no_btf());
    }
    if let Some(capability) = Status::of_recorder().missing_for_ebpf() {
        return Err(Unavailable::Capability {
            what: LOADING,
            capability,
        });
    }
    match is_map_supported(MapType::TaskStorage) {
        Ok(true) => Ok(()),
        Ok(false) => Err(Unavailable::Feature(
            "task storage for eBPF, which came with Linux 5.11".to_owned(),
        )),
        Err(error) => Err(of_loading(EbpfError::MapError(error.into()))),
    }
}

/// A map of the programs, by its name.
pub(super) fn take(ebpf: &mut Ebpf, name: &str) -> Result<Map, Unavailable> {
    (ebpf.take_map(name)).ok_or_else(|| Unavailable::Feature(format!("map {name}")))
}

pub(super) fn of_map(error: MapError) -> Unavailable {
    of_loading(EbpfError::MapError(error))
}

pub(super) fn of_program(error: ProgramError) -> Unavailable {
    of_loading(EbpfError::ProgramError(error))
}

const LOADING: &str = "loading eBPF programs";

pub(super) fn no_btf() -> Unavailable {
    Unavailable::Feature("type information (BTF, /sys/kernel/btf/vmlinux)".to_owned())
}

/// What keeps the programs from being loaded. EPERM: a capability is missing, or something else refuses bpf(2).
pub(super) fn of_loading(error: EbpfError) -> Unavailable {
    let causes = std::iter::successors(
        Some(&error as &(dyn std::error::Error + 'static)),
        |error| error.source(),
    );
    let refused = causes
        .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
        .any(|error| error.kind() == std::io::ErrorKind::PermissionDenied);
    if !refused {
        return Unavailable::failed(error);
    }
    match Status::of_recorder().missing_for_ebpf() {
        Some(capability) => Unavailable::Capability {
            what: LOADING,
            capability,
        },
        None => Unavailable::Forbidden(format!(
            "the kernel refuses to load eBPF programs ({}): capabilities of a user namespace are not enough, \
             and a seccomp filter or lockdown can forbid bpf(2)",
            chain(&error)
        )),
    }
}
