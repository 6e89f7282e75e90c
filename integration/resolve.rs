//! `sc-record resolve`, as users call it.

use std::io::Write;
use std::process::{Command, Stdio};

/// Asserts the status, the output and a part of the messages of `sc-record resolve ARGS`.
fn check(args: &str, stdin: &str, status: i32, stdout: &str, stderr: &str) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_sc-record"))
        .arg("resolve")
        .args(args.split_whitespace())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(status), "{args} {output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), stdout, "{args}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains(stderr) && said.is_empty() == stderr.is_empty(),
        "{args} {said}"
    );
}

#[apply(test)]
fn numbers_and_names() {
    check(
        "--arch x86_64 59 #60 0x101",
        "",
        0,
        "x86_64 59 execve\nx86_64 60 exit\nx86_64 257 openat\n",
        "",
    );
    check(
        "x86_64:435 openat --arch aarch64",
        "",
        0,
        "x86_64 435 clone3\naarch64 56 openat\n",
        "",
    );
    check(
        "--arch x86 --arch arm mmap2",
        "",
        0,
        "x86 192 mmap2\narm 192 mmap2\n",
        "",
    );
    check(
        "--arch amd64 9999 -5 read frobnicate",
        "",
        1,
        "x86_64 0 read\n",
        "sc-record: 9999: no system call of x86_64 has the number 9999\nsc-record: -5: ",
    );
    check(
        "--arch vax 1",
        "",
        2,
        "",
        "not an architecture; known are x86_64, ",
    );
    check(
        "--json --arch x32 512 x86:nosuch",
        "",
        1,
        "[{\"arch\":\"x32\",\"asked\":\"512\",\"audit_arch\":\"c000003e\",\"audit_nr\":1073742336,\"name\":\"rt_sigaction\",\"nr\":512},\
         {\"asked\":\"x86:nosuch\",\"error\":\"x86:nosuch: no system call of x86 has this name\"}]\n",
        "x86:nosuch: no system call of x86 has this name",
    );
}

#[apply(test)]
fn lines_of_a_log() {
    let log = "type=SECCOMP msg=audit(1.000:1): arch=c000003e syscall=59 compat=0\nother\n\
               x arch=40000003 syscall=102";
    let named = "type=SECCOMP msg=audit(1.000:1): arch=c000003e(x86_64) syscall=59(execve) compat=0\nother\n\
                 x arch=40000003(x86) syscall=102(socketcall)";
    check("-", log, 0, named, "");
    check("", log, 0, named, "");
    check(
        "--arch aarch64",
        "syscall=56\n",
        0,
        "syscall=56(openat)\n",
        "",
    );
    check(
        "-",
        "ok\narch=c000003e syscall=9999\n",
        1,
        "ok\narch=c000003e(x86_64) syscall=9999\n",
        "sc-record: line 2: syscall=9999 of arch=c000003e has no name",
    );
}
