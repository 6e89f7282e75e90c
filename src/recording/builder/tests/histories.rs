//! Forks that a backend reports late change nothing.

use proptest::prelude::*;

use super::*;

/// Something that a task does, in the order in which it happens.
#[derive(Clone, Copy, Debug)]
enum Step {
    Call(i32),
    Exec(u8),
    Fork,
    Exit,
}

/// What the tasks of a tree do. Each step is by one of the tasks that live then.
fn history() -> impl Strategy<Value = Vec<Event>> {
    let step = prop_oneof![
        4 => (0..4).prop_map(Step::Call),
        1 => (0..3_u8).prop_map(Step::Exec),
        2 => Just(Step::Fork),
        1 => Just(Step::Exit),
    ];
    prop::collection::vec((any::<prop::sample::Index>(), step), 0..40).prop_map(|steps| {
        let mut living = vec![1];
        let mut next = 2;
        let mut events = vec![exec(1, "/0")];
        for (who, step) in steps {
            if living.is_empty() {
                break;
            }
            let at = who.index(living.len());
            let task = living[at];
            events.push(match step {
                Step::Call(nr) => call(task, nr),
                Step::Exec(which) => exec(task, &format!("/{which}")),
                Step::Fork => {
                    living.push(next);
                    next += 1;
                    fork(task, next - 1)
                }
                Step::Exit => exit(living.remove(at)),
            });
        }
        events
    })
}

/// The task that an event is about.
fn actor(event: &Event) -> Option<Task> {
    match event {
        Event::Syscall { task, .. } | Event::Exec { task, .. } | Event::Exit { task } => {
            Some(*task)
        }
        Event::Fork { parent, .. } => Some(*parent),
        _ => None,
    }
}

proptest! {
    /// A parent waits until its fork was reported; the child and all others don't.
    #[test]
    fn forks_that_are_reported_late_change_nothing(
        events in history(),
        delays in prop::collection::vec(0..20_usize, 40),
    ) {
        let mut late = events.clone();
        for (from, delay) in (0..late.len()).rev().zip(delays) {
            let Event::Fork { parent, child } = late[from] else { continue };
            // A task whose fork wasn't reported is met at a call or by its executable.
            let first_of_child = late[from + 1..].iter().find(|event| actor(event) == Some(child));
            let met_by_exec = match first_of_child {
                Some(Event::Syscall { .. }) => false,
                Some(Event::Exec { .. }) => true,
                _ => continue,
            };
            let later = late.len().min(from + 1 + delay);
            for at in from + 1..later {
                if actor(&late[at]) == Some(parent)
                    || met_by_exec && late[at] == (Event::Exit { task: child })
                {
                    break;
                }
                late.swap(at - 1, at);
            }
        }
        prop_assert_eq!(summary(&build(late)), summary(&build(events)));
    }
}
