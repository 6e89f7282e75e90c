//! Reports the caller and the call site of each call in the [`Interest`].
//!
//! Reading proc(5) costs many times as much as a stop. So it is read once per task and per address that the task calls from,
//! and not at all once enough tasks with the same image had the same code at an address. Memory that is unmapped and then
//! used for other code later is reported as the first.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;

use super::stop::{Died, Stopped};
use crate::backend::{Interest, proc};
use crate::event::{CallSite, Code, Task};
use crate::sys::ptrace::{SyscallInfo, SyscallOp};
use crate::syscall::Syscall;

/// How long the name of a thread is kept: another thread can change it by writing to `/proc/PID/task/TID/comm`.
const NAME_HOLDS: Duration = Duration::from_millis(50);

/// The number of addresses per task whose code is kept.
const ADDRESSES: usize = 16;

/// After this many tasks of an image had the same code at an address, the next one is assumed to have it too. Tasks that
/// share no memory can have different libraries at one address, if they loaded them after they were forked.
const AGREEMENT: u32 = 16;

/// The number of addresses, over all images, whose agreement is kept.
const AGREEMENTS: usize = 4096;

/// Finds the callers of calls.
pub(super) struct Sites {
    interest: Interest,
    tasks: FxHashMap<Task, TaskState>,
    images: u32,
    agreements: FxHashMap<(u32, u64), Agreement>,
}

/// The state of a task.
struct TaskState {
    /// The program that it executed last. Its children share it until they execute another.
    image: u32,
    process: Option<Task>,
    executable: Option<Arc<Path>>,
    name: Option<(Arc<[u8]>, Instant)>,
    code: Vec<(u64, Arc<Code>)>,
}

/// The code that tasks of an image have at an address.
struct Agreement {
    code: Arc<Code>,
    /// The number of tasks in a row that had it.
    tasks: u32,
}

impl Sites {
    pub(super) fn new(interest: Interest) -> Sites {
        Sites {
            interest,
            tasks: HashMap::default(),
            images: 0,
            agreements: HashMap::default(),
        }
    }

    /// The call site, if the call is in the [`Interest`]. `info` saves a request if it was already read.
    pub(super) fn of_call(
        &mut self,
        stopped: &Stopped,
        syscall: Syscall,
        info: Option<SyscallInfo>,
    ) -> Result<Option<Box<CallSite>>, Died> {
        if !self.interest.wants(syscall) {
            return Ok(None);
        }
        let info = match info {
            Some(info) => info,
            None => stopped.syscall_info()?,
        };
        let args = match info.op {
            SyscallOp::Entry { args, .. } => Some(args),
            SyscallOp::Exit { .. } | SyscallOp::None => None,
        };
        let task = stopped.task();
        let caller = caller(&mut self.tasks, &mut self.images, task);
        let process = caller.process.or_else(|| proc::process_of(task));
        caller.process = process;
        let executable = caller
            .executable
            .get_or_insert_with(|| proc::executable_of(task).into());
        let executable = Arc::clone(executable);
        let thread = caller.thread(task);
        let code = self.code_at(task, info.ip);
        Ok(Some(Box::new(CallSite {
            args,
            ip: Some(info.ip),
            code,
            executable: Some(executable),
            process,
            thread,
        })))
    }

    fn code_at(&mut self, task: Task, ip: u64) -> Arc<Code> {
        let caller = caller(&mut self.tasks, &mut self.images, task);
        if let Some((_, code)) = caller.code.iter().find(|(at, _)| *at == ip) {
            return Arc::clone(code);
        }
        let key = (caller.image, ip);
        let code = match self.agreements.get_mut(&key) {
            Some(agreed) if agreed.tasks >= AGREEMENT => Arc::clone(&agreed.code),
            Some(agreed) => {
                let code = proc::code_at(task, ip);
                if *agreed.code == code {
                    agreed.tasks += 1;
                } else {
                    agreed.code = Arc::new(code);
                    agreed.tasks = 1;
                }
                Arc::clone(&agreed.code)
            }
            None => {
                let code = Arc::new(proc::code_at(task, ip));
                if self.agreements.len() >= AGREEMENTS {
                    self.agreements.clear();
                }
                let agreement = Agreement {
                    code: Arc::clone(&code),
                    tasks: 1,
                };
                self.agreements.insert(key, agreement);
                code
            }
        };
        if caller.code.len() >= ADDRESSES {
            caller.code.remove(0);
        }
        caller.code.push((ip, Arc::clone(&code)));
        code
    }

    /// A task made another.
    pub(super) fn forked(&mut self, parent: Task, child: Task) {
        let image = caller(&mut self.tasks, &mut self.images, parent).image;
        // It may have called already.
        caller(&mut self.tasks, &mut self.images, child).image = image;
    }

    /// A task runs a new program.
    pub(super) fn executed(&mut self, task: Task) {
        self.tasks.remove(&task);
        // Its children inherit the executable.
        caller(&mut self.tasks, &mut self.images, task);
    }

    /// A task may have another name from its next call on.
    pub(super) fn renamed(&mut self, task: Task) {
        if let Some(caller) = self.tasks.get_mut(&task) {
            caller.name = None;
        }
    }

    /// A task ended.
    pub(super) fn gone(&mut self, task: Task) {
        self.tasks.remove(&task);
    }
}

impl TaskState {
    fn thread(&mut self, task: Task) -> Option<Arc<[u8]>> {
        if let Some((name, since)) = &self.name
            && since.elapsed() < NAME_HOLDS
        {
            return Some(Arc::clone(name));
        }
        let name: Arc<[u8]> = proc::name_of(task)?.into();
        self.name = Some((Arc::clone(&name), Instant::now()));
        Some(name)
    }
}

/// The state of a task. A task without a known parent runs an image of its own.
fn caller<'a>(
    tasks: &'a mut FxHashMap<Task, TaskState>,
    images: &mut u32,
    task: Task,
) -> &'a mut TaskState {
    tasks.entry(task).or_insert_with(|| {
        *images = images.wrapping_add(1);
        TaskState {
            image: *images,
            process: None,
            executable: None,
            name: None,
            code: Vec::new(),
        }
    })
}
