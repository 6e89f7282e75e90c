//! Compiles the eBPF programs of the backend `ebpf` with clang, and leaves the backend out where that can't be done.

use std::env;
use std::path::Path;
use std::process::Command;

const SOURCE: &str = "src/backend/ebpf/record.bpf.c";
/// What it includes.
const HEADERS: &str = "src/backend/ebpf/record";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={SOURCE}");
    println!("cargo::rerun-if-changed={HEADERS}");
    println!("cargo::rerun-if-env-changed=CLANG");
    println!("cargo::rustc-check-cfg=cfg(has_ebpf)");
    if env::var_os("CARGO_FEATURE_EBPF").is_none() {
        return;
    }
    match compile() {
        Ok(()) => println!("cargo::rustc-cfg=has_ebpf"),
        Err(why) => println!("cargo::warning=without the ebpf backend: {why}"),
    }
}

fn compile() -> Result<(), String> {
    let variable = |name| env::var(name).map_err(|error| format!("{name}: {error}"));
    let arch = match variable("CARGO_CFG_TARGET_ARCH")?.as_str() {
        "x86_64" => "x86",
        "aarch64" => "arm64",
        other => return Err(format!("it doesn't know {other}")),
    };
    let object = Path::new(&variable("OUT_DIR")?).join("record.bpf.o");
    let clang = env::var("CLANG").unwrap_or_else(|_| "clang".to_owned());
    let mut command = Command::new(&clang);
    command
        .args([
            "-target", "bpf", "-mcpu=v3", "-O2", "-g", "-Wall", "-Werror",
        ])
        .arg(format!("-D__TARGET_ARCH_{arch}"))
        // Debian's directory of the headers that depend on the architecture. Only their types are used.
        .args([
            "-I/usr/include/x86_64-linux-gnu",
            "-I/usr/include/aarch64-linux-gnu",
        ])
        .args(["-c", SOURCE, "-o"])
        .arg(&object);
    let output = command.output();
    let output = output.map_err(|error| format!("{clang} can't be run ({error})"))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        let first = stderr.lines().next().unwrap_or("no message").to_owned();
        return Err(format!(
            "{clang} failed: {first} (libbpf-dev has the headers)"
        ));
    }
    Ok(())
}
