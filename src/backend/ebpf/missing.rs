//! The backend of a build without clang: it says so.

use super::{Ebpf, NAME};
use crate::backend::{Backend, Collector, Error, Promise, Stop, Target, Unavailable};

impl Backend for Ebpf {
    fn name(&self) -> &'static str {
        NAME
    }

    fn probe(&self, _: &Target) -> Result<Promise, Unavailable> {
        Err(not_built())
    }

    fn record(&self, _: &Target, _: &mut (dyn Collector + Send), _: &Stop) -> Result<(), Error> {
        Err(Error::unavailable(NAME)(not_built()))
    }
}

/// There are none: nothing is recorded by its cgroup.
pub fn remove_cgroups(_: &str) {}

fn not_built() -> Unavailable {
    Unavailable::Forbidden("this sc-record was built without clang and libbpf-dev".to_owned())
}
