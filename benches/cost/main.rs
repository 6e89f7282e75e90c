//! Measures what recording costs: every backend, and the tools that people use instead, on the same workloads.
//!
//! A round runs a workload once with each tool, in an order that changes, so that other load of the machine meets all of them.
//! A tool's time is compared with the native one of the same round. The report has the medians of these ratios.

mod measure;
mod plot;
mod report;
mod tools;
mod workloads;

use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{env, fs, thread};

use anyhow::{Context, Result};
use clap::Parser;

use measure::{Measured, measure};
use report::Report;
use tools::Tool;
use workloads::{Load, Workload};

/// Measure what recording costs; writes benches/RESULTS.md and benches/results.svg
#[derive(Parser)]
struct Options {
    /// Less of everything, and only printed
    #[arg(long)]
    quick: bool,
    /// How often each workload runs with each tool
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Only workloads whose name contains this, and only printed
    #[arg(long)]
    only: Option<String>,
    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

/// The runs of a workload with each tool.
struct Row {
    workload: &'static str,
    is_real: bool,
    is_server: bool,
    /// By tool, in the order of the tools, then by round. `None`: it failed.
    runs: Vec<Option<Vec<Measured>>>,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let work = tempfile::Builder::new()
        .prefix("sc-record-bench.")
        .tempdir()?;
    let program = Path::new(env!("CARGO_BIN_EXE_sc-record"));
    let (tools, missing) = tools::all(program, work.path())?;
    let wanted = |workload: &Workload| {
        (options.only.as_ref()).is_none_or(|part| workload.name.contains(part.as_str()))
    };
    let (workloads, unavailable) = workloads::all(work.path(), options.quick)?;
    let rounds = if options.quick { 3 } else { options.rounds };
    let mut rows = Vec::new();
    for workload in workloads.iter().filter(|workload| wanted(workload)) {
        rows.push(row(workload, &tools, rounds)?);
    }
    let report = Report {
        tools: tools.iter().map(|tool| tool.name).collect(),
        rows,
        rounds,
        missing: missing.into_iter().chain(unavailable).collect(),
        memory: memory(&tools, work.path(), options.quick)?,
        machine: report::machine(program)?,
    };
    let text = report.to_string();
    println!("{text}");
    if !options.quick && options.only.is_none() {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("benches");
        fs::write(folder.join("RESULTS.md"), text)?;
        plot::draw(&report, &folder.join("results.svg"))?;
    }
    Ok(())
}

fn row(workload: &Workload, tools: &[Tool], rounds: usize) -> Result<Row> {
    eprintln!("{}", workload.name);
    let mut runs: Vec<Option<Vec<Measured>>> = tools.iter().map(|_| Some(Vec::new())).collect();
    // Files are in memory, and what is built is there.
    measure(&tools[0], workload)?;
    for round in 0..rounds {
        for turn in 0..tools.len() {
            let index = (round + turn) % tools.len();
            let Some(earlier) = &mut runs[index] else {
                continue;
            };
            match measure(&tools[index], workload) {
                Ok(measured) => earlier.push(measured),
                Err(why) if index == 0 => return Err(why),
                Err(why) => {
                    eprintln!("  {}: {why:#}", tools[index].name);
                    runs[index] = None;
                }
            }
            // Whatever it left behind is not the next one's burden.
            thread::sleep(Duration::from_millis(20));
        }
    }
    Ok(Row {
        workload: workload.name,
        is_real: workload.is_real,
        is_server: matches!(workload.load, Load::Server { .. }),
        runs,
    })
}

/// The recorder's peak of resident memory after a few processes and calls and after many, in KiB, by tool.
fn memory(tools: &[Tool], work: &Path, quick: bool) -> Result<Vec<(&'static str, [u64; 2])>> {
    let scale = if quick { 10 } else { 1 };
    let few = workloads::many(work, 100, 20_000)?;
    let many = workloads::many(work, 5_000 / scale, 1_000_000 / scale)?;
    let recorders = tools.iter().filter(|tool| tool.recording.is_some());
    recorders
        .map(|tool| {
            let peak = |workload| -> Result<u64> {
                let measured = measure(tool, workload).with_context(|| tool.name)?;
                Ok(measured.peak_kib)
            };
            Ok((tool.name, [peak(&few)?, peak(&many)?]))
        })
        .collect()
}
