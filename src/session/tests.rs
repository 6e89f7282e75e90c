//! Sessions with backends that use only the public interface.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use super::*;
use crate::backend::{BackendChoice, Detail, OneRun, Promise, Scope, Unavailable};
use crate::event::Exit;
use crate::event::Task;
use crate::syscall::{Arch, Syscall};

/// A backend that calls a function.
struct Toy<F>(F);

impl<F> Backend for Toy<F>
where
    F: Fn(&mut (dyn Collector + Send), &Stop) -> Result<(), Error> + Send + Sync,
{
    fn name(&self) -> &'static str {
        "toy"
    }

    fn probe(&self, target: &Target) -> Result<Promise, Unavailable> {
        match target {
            Target::Scope(_) => Ok(Promise {
                detail: Detail::PerCall,
                call_sites: false,
                how: "made up".to_owned(),
            }),
            _ => Err(Unavailable::Target("anything but a scope")),
        }
    }

    fn record(
        &self,
        _: &Target,
        collector: &mut (dyn Collector + Send),
        stop: &Stop,
    ) -> Result<(), Error> {
        (self.0)(collector, stop)
    }
}

const EVERYTHING: Target = Target::Scope(Scope::Everything);

/// The latest panic of a process is one: tests with panics take turns.
static PANICS: Mutex<()> = Mutex::new(());

fn call(name: &str) -> Event {
    Event::Syscall {
        task: Task(1),
        syscall: Syscall::from_name(Arch::X86_64, name).unwrap(),
        site: None,
    }
}

/// Ignores events, or panics at each.
struct TestObserver<const PANICS: bool>;

impl<const PANICS: bool> Observer for TestObserver<PANICS> {
    fn event(&mut self, _: &Event, _: &RunBuilder) {
        assert!(!PANICS, "the observer panicked");
    }

    fn notice(&mut self, _: Notice) {}
}

/// The runs of a backend, or its error.
fn record(backend: &dyn Backend, observer: &mut (dyn Observer + Send)) -> (Vec<Run>, String) {
    let stop = Stop::new().unwrap();
    let session = Session {
        backend,
        target: &EVERYTHING,
        stop: &stop,
        journal: None,
    };
    let mut runs = Vec::new();
    let result = session.record_each(observer, &mut |run| runs.push(run));
    let error = result.err().map(|error| error.to_string());
    (runs, error.unwrap_or_default())
}

fn names(run: &Run) -> Vec<String> {
    run.syscalls.keys().map(ToString::to_string).collect()
}

#[test]
fn runs_of_one_recording_interleave_and_end_on_their_own() {
    let (a, b) = (WorkloadId(7), WorkloadId(8));
    let workload = |name: &str| Workload {
        not_observed: std::collections::BTreeSet::new(),
        program: PathBuf::from(name),
        labels: BTreeMap::from([("container".to_owned(), name.to_owned())]),
    };
    let toy = Toy(move |collector: &mut (dyn Collector + Send), _: &Stop| {
        collector.begin(a, workload("first"));
        collector.event(a, call("read"));
        collector.begin(b, workload("second"));
        collector.event(b, call("write"));
        collector.event(a, call("close"));
        let exit = Some(Exit::Code(3));
        let no_new_privs = true;
        collector.end(a, RunEnd { exit, no_new_privs });
        // An id can be reused.
        collector.begin(a, workload("third"));
        collector.end(a, RunEnd::default());
        collector.end(b, RunEnd::default());
        Ok(())
    });
    let (runs, error) = record(&toy, &mut TestObserver::<false>);
    assert_eq!(error, "");
    let found: Vec<_> = (runs.iter())
        .map(|run| (run.labels["container"].as_str(), names(run), run.exit))
        .collect();
    let strings = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(
        found,
        [
            ("first", strings(&["read", "close"]), Some(Exit::Code(3))),
            ("third", strings(&[]), None),
            ("second", strings(&["write"]), None),
        ]
    );
    assert!(runs[0].no_new_privs && runs.iter().all(Run::is_complete));
}

#[test]
fn a_backend_that_fails_or_panics_leaves_incomplete_runs() {
    let _turn = PANICS.lock().unwrap_or_else(PoisonError::into_inner);
    let check = |fail: fn() -> Result<(), Error>, why: &str| {
        let toy = Toy(move |collector: &mut (dyn Collector + Send), _: &Stop| {
            let mut run = OneRun::begin(collector, &EVERYTHING);
            run.event(call("read"));
            fail()
        });
        let (runs, error) = record(&toy, &mut TestObserver::<false>);
        assert_eq!(error, "");
        assert_eq!(names(&runs[0]), ["read"]);
        let because: Vec<_> = runs[0].incomplete_because.iter().collect();
        assert!(
            because.len() == 1 && because[0].contains(why),
            "{because:?}"
        );
    };
    check(
        || Err(Error::NoProcess(Task(5))),
        "broke off: there is no process 5",
    );
    check(|| panic!("boom"), "src/session/tests.rs:");
}

#[test]
fn a_backend_that_fails_before_any_call_is_an_error() {
    let toy = Toy(|collector: &mut (dyn Collector + Send), _: &Stop| {
        OneRun::begin(collector, &EVERYTHING);
        Err(Error::NoProcess(Task(5)))
    });
    let (runs, error) = record(&toy, &mut TestObserver::<false>);
    assert_eq!((runs.len(), error.as_str()), (0, "there is no process 5"));
}

#[test]
fn a_panic_over_an_event_ends_neither_the_backend_nor_the_run() {
    let _turn = PANICS.lock().unwrap_or_else(PoisonError::into_inner);
    let toy = Toy(|collector: &mut (dyn Collector + Send), _: &Stop| {
        let mut run = OneRun::begin(collector, &EVERYTHING);
        run.event(call("read"));
        run.event(call("write"));
        run.end(RunEnd {
            exit: Some(Exit::Code(0)),
            no_new_privs: false,
        });
        Ok(())
    });
    let (runs, _) = record(&toy, &mut TestObserver::<true>);
    assert_eq!(runs[0].exit, Some(Exit::Code(0)));
    let because: Vec<_> = runs[0].incomplete_because.iter().collect();
    assert!(
        because.len() == 1 && because[0].contains("the observer panicked"),
        "{because:?}"
    );
}

#[test]
fn the_first_backend_that_can_is_picked_and_the_others_say_why_not() {
    let toys: [Box<dyn Backend>; 2] = [
        Box::new(crate::backend::Ptrace::default()),
        Box::new(Toy(|_: &mut (dyn Collector + Send), _: &Stop| Ok(()))),
    ];
    let choice = BackendChoice::make(&toys, &EVERYTHING, true).unwrap();
    assert_eq!(choice.picked.name(), "toy");
    assert_eq!(choice.better[0].0, "ptrace");
    let error = BackendChoice::make(&toys, &Target::Process(Task(i32::MAX)), true);
    let message = error.err().unwrap().to_string();
    assert!(
        message.contains("this: ptrace: there is no process"),
        "{message}"
    );
    assert!(message.contains("; toy: it can't record anything but a scope"));
}
