//! The sources of audit records.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Mutex;
use std::time::Duration;

use nix::errno::Errno;

use super::reader::{Kmsg, LineSource, RecordReader};
use super::socket::AuditSocket;
use super::tail::Tail;

/// A source of the kernel's audit records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AuditSource {
    /// The first of the others that delivers the record of a test call.
    #[default]
    Auto,
    /// The multicast group of audit's netlink socket, with or without an audit daemon. Needs `CAP_AUDIT_READ`.
    Netlink,
    /// The role of the audit daemon, if none runs. Needs `CAP_AUDIT_CONTROL`.
    Auditd,
    /// The kernel's log. The kernel prints records there while no audit daemon runs, usually with a rate limit. Needs
    /// `CAP_SYSLOG` (`kernel.dmesg_restrict`).
    Kmsg,
    /// A growing log, followed across rotation: of auditd or syslog, or output of journalctl(1).
    File(PathBuf),
    /// The same from standard input, which may end.
    Stdin,
}

impl fmt::Display for AuditSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AuditSource::Auto => f.write_str("auto"),
            AuditSource::Netlink => f.write_str("netlink"),
            AuditSource::Auditd => f.write_str("auditd"),
            AuditSource::Kmsg => f.write_str("kmsg"),
            AuditSource::File(path) => write!(f, "file:{}", path.display()),
            AuditSource::Stdin => f.write_str("-"),
        }
    }
}

/// A text is not the name of a source.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not one of auto, netlink, auditd, kmsg, file:PATH and -")]
pub struct UnknownAuditSource(String);

impl FromStr for AuditSource {
    type Err = UnknownAuditSource;

    fn from_str(text: &str) -> Result<AuditSource, UnknownAuditSource> {
        Ok(match text {
            "auto" => AuditSource::Auto,
            "netlink" => AuditSource::Netlink,
            "auditd" => AuditSource::Auditd,
            "kmsg" => AuditSource::Kmsg,
            "-" => AuditSource::Stdin,
            _ => match text.strip_prefix("file:") {
                Some(path) if !path.is_empty() => AuditSource::File(PathBuf::from(path)),
                _ => return Err(UnknownAuditSource(text.to_owned())),
            },
        })
    }
}

/// Why a source can't be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuditSourceError {
    /// The kernel denies access.
    #[error("{what} needs {capability}, which is missing")]
    Denied {
        /// The denied operation.
        what: &'static str,
        /// The capability that allows it (capabilities(7)).
        capability: &'static str,
    },
    /// An audit daemon already runs.
    #[error("process {0} already is the audit daemon")]
    DaemonRuns(u32),
    /// `log` is not in `actions_logged`.
    #[error("logging is disabled: `log` is not in /proc/sys/kernel/seccomp/actions_logged")]
    NotLogged,
    /// The recorder made a test call, and its record did not arrive.
    #[error("no record of the recorder's test call arrived within {} s", .0.as_secs())]
    Silent(Duration),
    /// None of the sources can be used.
    #[error("audit records can't be read: {}", list(.0))]
    None(Vec<(AuditSource, AuditSourceError)>),
    /// A system call failed.
    #[error("{operation} failed")]
    System {
        /// The call.
        operation: &'static str,
        /// The errno.
        source: Errno,
    },
    /// A file can't be opened.
    #[error("can't open {}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// The error.
        source: io::Error,
    },
}

fn list(tried: &[(AuditSource, AuditSourceError)]) -> String {
    let tried = tried.iter().map(|(source, why)| {
        let cause =
            std::error::Error::source(why).map_or_else(String::new, |cause| format!(" ({cause})"));
        format!("{source}: {why}{cause}")
    });
    let tried: Vec<_> = tried.collect();
    tried.join("; ")
}

/// Logs that daemons write.
const AUDIT_LOG: &str = "/var/log/audit/audit.log";
const SYSLOGS: [&str; 3] = ["/var/log/kern.log", "/var/log/syslog", "/var/log/messages"];

/// How audit records are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditReading {
    /// The source.
    pub source: AuditSource,
    /// Whether [`AuditSource::Auto`] may become the audit daemon.
    pub become_auditd: bool,
    /// The size of the socket's receive buffer, in bytes.
    pub receive_buffer: usize,
    /// Whether to believe lines of syslog, which any user can write (`logger -t kernel`).
    pub trust_syslog: bool,
}

/// The default size of the receive buffer. The kernel charges up to 1 KB per record.
pub const RECEIVE_BUFFER: usize = 64 << 20;

impl Default for AuditReading {
    fn default() -> AuditReading {
        AuditReading {
            source: AuditSource::Auto,
            become_auditd: false,
            receive_buffer: RECEIVE_BUFFER,
            trust_syslog: false,
        }
    }
}

impl AuditReading {
    /// The sources to try, the best first.
    pub(super) fn candidates(&self) -> Vec<AuditSource> {
        if self.source != AuditSource::Auto {
            return vec![self.source.clone()];
        }
        let syslogs = if self.trust_syslog { &SYSLOGS[..] } else { &[] };
        let logs = [AUDIT_LOG].iter().chain(syslogs).map(PathBuf::from);
        let readable = logs
            .filter(|path| File::open(path).is_ok())
            .map(AuditSource::File);
        [AuditSource::Netlink]
            .into_iter()
            .chain(self.become_auditd.then_some(AuditSource::Auditd))
            .chain([AuditSource::Kmsg])
            .chain(readable)
            .collect()
    }
}

impl AuditSource {
    /// Whether the records may be another machine's.
    #[must_use]
    pub fn may_be_elsewhere(&self) -> bool {
        matches!(self, AuditSource::File(_) | AuditSource::Stdin)
    }
}

fn lines(path: &Path) -> Result<LineSource, AuditSourceError> {
    let failed = |source| AuditSourceError::Open {
        path: path.to_owned(),
        source,
    };
    let is_file = std::fs::metadata(path).map_err(failed)?.is_file();
    if is_file {
        return Tail::open(path).map(LineSource::Tail).map_err(failed);
    }
    // Opening a FIFO only for reading blocks until it has a writer.
    let file = File::options().read(true).write(true).open(path);
    file.map(LineSource::Stream).map_err(failed)
}

/// An opened source.
pub(super) struct Opened {
    pub(super) source: AuditSource,
    pub(super) reader: RecordReader,
    /// This process is the audit daemon until this is dropped.
    daemon: bool,
}

impl Opened {
    /// Opens one source (not [`AuditSource::Auto`]).
    pub(super) fn open(
        source: &AuditSource,
        receive_buffer: usize,
    ) -> Result<Opened, AuditSourceError> {
        let system = |operation| move |source| AuditSourceError::System { operation, source };
        let (reader, daemon) = match source {
            AuditSource::Netlink => {
                let socket = AuditSocket::open().map_err(system("opening an audit socket"))?;
                // Before joining, so that it holds from the first message.
                socket
                    .set_receive_buffer(receive_buffer)
                    .map_err(system("SO_RCVBUF"))?;
                socket.join_readers().map_err(|source| match source {
                    Errno::EPERM => AuditSourceError::Denied {
                        what: "the audit multicast group",
                        capability: "CAP_AUDIT_READ",
                    },
                    source => AuditSourceError::System {
                        operation: "joining the audit multicast group",
                        source,
                    },
                })?;
                (RecordReader::Socket(socket), false)
            }
            AuditSource::Auditd => {
                let socket = AuditSocket::open().map_err(system("opening an audit socket"))?;
                socket
                    .set_receive_buffer(receive_buffer)
                    .map_err(system("SO_RCVBUF"))?;
                socket
                    .set_daemon(std::process::id())
                    .map_err(|source| match source {
                        Errno::EPERM => AuditSourceError::Denied {
                            what: "becoming the audit daemon",
                            capability: "CAP_AUDIT_CONTROL",
                        },
                        Errno::EEXIST => {
                            AuditSourceError::DaemonRuns(socket.status().unwrap_or_default().daemon)
                        }
                        source => AuditSourceError::System {
                            operation: "becoming the audit daemon",
                            source,
                        },
                    })?;
                (RecordReader::Socket(socket), true)
            }
            AuditSource::Kmsg => {
                let kmsg = Kmsg::open().map_err(|source| match source.raw_os_error() {
                    Some(libc::EPERM) => AuditSourceError::Denied {
                        what: "/dev/kmsg",
                        capability: "CAP_SYSLOG",
                    },
                    _ => AuditSourceError::Open {
                        path: PathBuf::from("/dev/kmsg"),
                        source,
                    },
                })?;
                (RecordReader::Kmsg(kmsg), false)
            }
            AuditSource::File(path) => (RecordReader::Lines(Mutex::new(Some(lines(path)?))), false),
            AuditSource::Stdin => {
                let input = io::stdin().as_fd().try_clone_to_owned();
                let input = input.map_err(|source| AuditSourceError::Open {
                    path: PathBuf::from("-"),
                    source,
                })?;
                let lines = LineSource::Stream(File::from(input));
                (RecordReader::Lines(Mutex::new(Some(lines))), false)
            }
            // The caller resolves it.
            AuditSource::Auto => return Err(AuditSourceError::None(Vec::new())),
        };
        Ok(Opened {
            source: source.clone(),
            reader,
            daemon,
        })
    }

    /// The socket's counter of dropped messages.
    pub(super) fn drops(&self) -> Option<u32> {
        match &self.reader {
            RecordReader::Socket(socket) => socket.drops(),
            RecordReader::Kmsg(_) | RecordReader::Lines(_) => None,
        }
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        if let (true, RecordReader::Socket(socket)) = (self.daemon, &self.reader) {
            // If this fails, the kernel notices the closed socket at its next record, and unregisters the daemon.
            let _ = socket.set_daemon(0);
        }
    }
}
