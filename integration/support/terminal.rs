//! A pseudo-terminal with a session, into which a test types.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};

use super::process::{LIMIT, Room, Running};

/// A pseudo-terminal, and the text that it has shown.
pub(crate) struct Terminal {
    keyboard: File,
    shown: Arc<Mutex<Vec<u8>>>,
    read_up_to: usize,
}

impl Terminal {
    /// Starts a command as the leader of a session on this terminal.
    pub(crate) fn start(room: &Room, command: &Command) -> (Terminal, Running) {
        // Processes that other tests start meanwhile would inherit the descriptors of openpty(3).
        let master = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let mut slave = File::options();
        slave.read(true).write(true).custom_flags(libc::O_NOCTTY);
        let slave = slave.open(ptsname_r(&master).unwrap()).unwrap();
        let mut session = Command::new("setsid");
        // setsid(1) makes stdin the controlling terminal.
        session
            .args(["--ctty", "--wait"])
            .arg(command.get_program());
        session.args(command.get_args());
        let on_it = || slave.try_clone().unwrap();
        let running = room.spawn_on(&mut session, on_it(), on_it(), on_it());
        // The terminal hangs up once the session has closed it, so no other process may have it open.
        drop((session, slave));
        let master = File::from(OwnedFd::from(master));
        let mut screen = master.try_clone().unwrap();
        let shown = Arc::new(Mutex::new(Vec::new()));
        let to = Arc::clone(&shown);
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            // EIO: hung up.
            while let Ok(length @ 1..) = screen.read(&mut buffer) {
                let mut shown = to.lock().unwrap_or_else(PoisonError::into_inner);
                shown.extend_from_slice(&buffer[..length]);
            }
        });
        let terminal = Terminal {
            keyboard: master,
            shown,
            read_up_to: 0,
        };
        (terminal, running)
    }

    pub(crate) fn type_in(&mut self, text: &str) {
        self.keyboard.write_all(text.as_bytes()).unwrap();
    }

    /// Waits until it shows a text after the previously awaited text.
    pub(crate) fn shows(&mut self, text: &str) {
        let deadline = Instant::now() + LIMIT;
        loop {
            let shown = self.all();
            if let Some(at) = shown[self.read_up_to..].find(text) {
                self.read_up_to += at + text.len();
                return;
            }
            assert!(Instant::now() < deadline, "{text:?} isn't shown: {shown:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// All text that it has shown.
    pub(crate) fn all(&self) -> String {
        let shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&shown).into_owned()
    }
}
