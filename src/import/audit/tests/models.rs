//! Records of any content, in logs of every kind, cut and changed.

use proptest::prelude::*;

use super::*;
use crate::import::damage::damaged;

/// The fields of a record.
#[derive(Clone, Debug)]
struct Model {
    ms: u64,
    serial: u32,
    pid: i32,
    uid: u32,
    comm: Vec<u8>,
    exe: Option<Vec<u8>>,
    subj: Option<String>,
    arch: Arch,
    nr: i32,
    ip: u64,
    action: u32,
}

fn models() -> impl Strategy<Value = Model> {
    let bytes = |length| {
        let byte = prop_oneof![3 => b'a'..=b'z', 1 => 1_u8..];
        prop::collection::vec(byte, 1..length)
    };
    let subj = prop::sample::select(vec![
        "unconfined",
        "docker-default (enforce)",
        "system_u:system_r:container_t:s0:c1,c2",
        "a pid=7 (complain)",
    ]);
    let special = prop::sample::select(vec![-5, 100_000, 0x4000_0027]);
    let nr = prop_oneof![0..500, special, any::<i32>()];
    let ms = 0..4_000_000_000_000_u64;
    let path = bytes(60).prop_filter("not a mount of one file", |path| path != b"/");
    let names = (bytes(16), prop::option::of(path));
    (
        (ms, any::<u32>(), 1..4_194_304, any::<u32>()),
        (names, prop::option::of(subj)),
        (prop::sample::select(Arch::ALL.to_vec()), nr, any::<u64>()),
        prop::sample::select(vec![0, 0x7ffc_0000, 0x8000_0000, 0x5_0000]),
    )
        .prop_map(
            |((ms, serial, pid, uid), ((comm, exe), subj), (arch, nr, ip), action)| Model {
                ms,
                serial,
                pid,
                uid,
                comm,
                exe,
                subj: subj.map(str::to_owned),
                arch,
                nr,
                ip,
                action,
            },
        )
}

impl Model {
    /// `audit_log_untrustedstring` (kernel/audit.c).
    fn untrusted(text: &[u8]) -> String {
        let is_plain = |&byte: &u8| byte != b'"' && (0x21..=0x7e).contains(&byte);
        if text.iter().all(is_plain) {
            return format!("\"{}\"", String::from_utf8_lossy(text));
        }
        text.iter().map(|byte| format!("{byte:02X}")).join("")
    }

    /// `audit_seccomp` (kernel/auditsc.c), without the header.
    fn body(&self) -> String {
        let subj = self.subj.as_ref().map(|subj| format!(" subj={subj}"));
        let exe = (self.exe.as_deref()).map_or("(null)".to_owned(), Model::untrusted);
        format!(
            "auid=4294967295 uid={} gid=0 ses=4294967295{} pid={} comm={} exe={exe} sig=0 arch={:x} syscall={} \
             compat=0 ip=0x{:x} code=0x{:x}",
            self.uid,
            subj.unwrap_or_default(),
            self.pid,
            Model::untrusted(&self.comm),
            self.arch.audit(),
            self.nr,
            self.ip,
            self.action
        )
    }

    fn text(&self) -> String {
        let (secs, ms) = (self.ms / 1000, self.ms % 1000);
        format!("audit({secs}.{ms:03}:{}): {}", self.serial, self.body())
    }

    fn lines(&self) -> Vec<String> {
        let text = self.text();
        let json = |transport: &str, message: &str| {
            let message = serde_json::to_string(message).unwrap();
            format!(
                "{{\"_TRANSPORT\":\"{transport}\",\"_AUDIT_TYPE\":\"1326\",\"MESSAGE\":{message}}}"
            )
        };
        vec![
            format!("type=SECCOMP msg={text}"),
            format!("node=host type=SECCOMP msg={text}\x1dARCH=x SYSCALL=y AUID=\"unset\""),
            format!("audit: type=1326 {text}"),
            format!("[   12.345678] audit: type=1326 {text}"),
            format!("[   12.345678][    T1] audit: type=1326 {text}"),
            format!("[Sat Nov 21 23:47:17 2026] audit: type=1326 {text}"),
            format!("5,398,2315681332,-,caller=T1;audit: type=1326 {text}"),
            format!("Nov 21 23:48:11 host kernel: [ 2369.307157] audit: type=1326 {text}"),
            format!(
                "<5>1 2026-11-21T23:48:11.595124+00:00 host kernel - - - audit: type=1326 {text}"
            ),
            format!("Nov 21 23:48:16 host audit[31629]: SECCOMP {}", self.body()),
            json("kernel", &format!("audit: type=1326 {text}")),
            json("audit", &format!("SECCOMP {}", self.body())),
            format!("__CURSOR=x\n_TRANSPORT=kernel\nMESSAGE=audit: type=1326 {text}\n"),
        ]
    }
}

proptest! {
    #[test]
    fn a_record_of_the_kernel_is_read_back(model in models()) {
        let text = model.text();
        let record = Record::parse(text.as_bytes()).unwrap();
        let since_1970 = record.time.unwrap().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        prop_assert_eq!(since_1970.as_millis(), u128::from(model.ms));
        prop_assert_eq!(record.serial, Some(u64::from(model.serial)));
        prop_assert_eq!(record.pid, model.pid);
        prop_assert_eq!(record.auid, None);
        prop_assert_eq!(record.uid, Some(model.uid).filter(|&uid| uid != u32::MAX));
        prop_assert_eq!(&*record.comm, &*model.comm);
        prop_assert_eq!(record.exe.as_deref(), model.exe.as_deref());
        // A label that looks like a field ends there, and doesn't change the field.
        let subj = model.subj.as_deref().map(|subj| subj.split(" pid=").next().unwrap().as_bytes());
        prop_assert_eq!(record.subj, subj);
        prop_assert_eq!(Some(record.syscall), Syscall::from_audit(model.arch.audit(), model.nr));
        prop_assert_eq!(record.ip, Some(model.ip));
        prop_assert_eq!(record.action, model.action);
    }

    #[test]
    fn a_record_in_any_log_is_read_back(model in models()) {
        let syscall = Syscall::from_audit(model.arch.audit(), model.nr).unwrap();
        let call = format!("  {} {} {syscall}\n", model.pid, syscall.arch);
        for line in model.lines() {
            let text = outcome(line.as_bytes(), &trusting());
            prop_assert!(text.contains(&call), "{}\n{}", line, text);
            if let Some(exe) = &model.exe {
                let exe = format!("  {} executes {}\n", model.pid, String::from_utf8_lossy(exe));
                prop_assert!(text.contains(&exe), "{}\n{}", line, text);
            }
        }
    }

    #[test]
    fn any_bytes_are_read(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        outcome(&bytes, &trusting());
    }

    #[test]
    fn any_cut_or_change_of_a_log_is_read(bytes in damaged(FIXTURES, fixture)) {
        outcome(&bytes, &trusting());
    }
}
