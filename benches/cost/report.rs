//! The report, in Markdown.

use std::fmt;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::workloads::START_UP;
use crate::{Measured, Row};

pub(crate) struct Report {
    pub(crate) tools: Vec<&'static str>,
    pub(crate) rows: Vec<Row>,
    pub(crate) rounds: usize,
    /// What could not be measured, and why.
    pub(crate) missing: Vec<String>,
    /// By tool, the recorder's peak in KiB after few and after many processes and calls.
    pub(crate) memory: Vec<(&'static str, [u64; 2])>,
    pub(crate) machine: Vec<String>,
}

/// What known calls are to cost, at most: workloads and ratios.
const AIMS_OF_PTRACE: [(&str, f64); 12] = [
    ("getppid, 1 thread", 1.1),
    ("dd bs=1", 1.2),
    ("find", 1.2),
    ("tar", 1.3),
    ("300 subshells", 1.5),
    ("300 × /bin/true from sh", 1.3),
    ("git log --stat", 1.2),
    ("gcc", 1.2),
    ("make, 30 files", 1.2),
    ("python3, imports", 1.1),
    ("redis, redis-benchmark", 1.05),
    ("postgres, pgbench", 1.05),
];

/// The times with a tool, each divided by the native one of the same round.
#[derive(Clone, Copy)]
pub(crate) struct Ratio {
    pub(crate) least: f64,
    pub(crate) median: f64,
    pub(crate) most: f64,
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 {
        values[middle]
    } else {
        f64::midpoint(values[middle - 1], values[middle])
    }
}

impl Row {
    fn runs(&self, tool: usize) -> Option<&[Measured]> {
        self.runs[tool].as_deref()
    }

    /// Of a tool. `None`: it failed.
    pub(crate) fn ratio(&self, tool: usize) -> Option<Ratio> {
        let pairs = self.runs(tool)?.iter().zip(self.runs(0)?);
        let ratios: Vec<f64> = pairs
            .map(|(with, without)| with.seconds / without.seconds)
            .collect();
        Some(Ratio {
            least: ratios.iter().copied().fold(f64::INFINITY, f64::min),
            most: ratios.iter().copied().fold(0.0, f64::max),
            median: median(ratios),
        })
    }

    fn median_of(&self, tool: usize, value: impl Fn(&Measured) -> f64) -> Option<f64> {
        Some(median(self.runs(tool)?.iter().map(value).collect()))
    }

    fn cell(&self, tool: usize) -> String {
        let (Some(ratio), Some(runs)) = (self.ratio(tool), self.runs(tool)) else {
            return "failed".to_owned();
        };
        let mark = if runs.iter().all(|run| run.complete) {
            ""
        } else {
            " †"
        };
        format!(
            "{:.2} ({:.2}–{:.2}){mark}",
            ratio.median, ratio.least, ratio.most
        )
    }
}

impl Report {
    fn tool(&self, name: &str) -> Option<usize> {
        self.tools.iter().position(|tool| *tool == name)
    }

    /// The median of a tool's ratios without the time that it takes to start, as `/bin/true` shows it.
    fn without_start_up(&self, row: &Row, tool: usize) -> Option<f64> {
        let nothing = (self.rows.iter()).find(|row| row.workload == START_UP)?;
        let [with, without] = [tool, 0].map(|tool| nothing.median_of(tool, |run| run.seconds));
        let start_up = with? - without?;
        let pairs = row.runs(tool)?.iter().zip(row.runs(0)?);
        let ratios = pairs.map(|(with, without)| (with.seconds - start_up) / without.seconds);
        Some(median(ratios.collect()))
    }

    /// The geometric mean of a tool's ratios on some workloads, if it ran all of them.
    fn mean(&self, tool: usize, belongs: impl Fn(&Row) -> bool) -> Option<f64> {
        let rows = self.rows.iter().filter(|row| belongs(row));
        let logarithms = rows
            .map(|row| Some(row.ratio(tool)?.median.ln()))
            .collect::<Option<Vec<_>>>()?;
        let count = u32::try_from(logarithms.len())
            .ok()
            .filter(|count| *count > 0)?;
        Some((logarithms.iter().sum::<f64>() / f64::from(count)).exp())
    }

    /// Each aim, the figure, and whether it is met.
    fn aims(&self) -> Vec<(String, String, bool)> {
        let mut aims = Vec::new();
        let mut aim = |what: &str, value: Option<f64>, limit: f64| {
            if let Some(value) = value {
                aims.push((
                    format!("{what} ≤ {limit}"),
                    format!("{value:.2}"),
                    value <= limit,
                ));
            }
        };
        if let Some(ebpf) = self.tool("sc-record -b ebpf") {
            let real = self.mean(ebpf, |row| row.is_real);
            aim("ebpf, geometric mean of the real workloads", real, 1.05);
            let servers = self.mean(ebpf, |row| row.is_server);
            let what = "ebpf, geometric mean of the servers, without its start-up";
            aim(what, servers, 1.05);
            let storm = (self.rows.iter()).find(|row| row.workload == "getppid, 1 thread");
            let storm = storm.and_then(|row| self.without_start_up(row, ebpf));
            aim("ebpf without its start-up, getppid, 1 thread", storm, 1.5);
        }
        if let (Some(notify), Some(strace)) =
            (self.tool("sc-record -b notify"), self.tool("strace -f -c"))
        {
            for row in &self.rows {
                let added = |tool| Some(row.ratio(tool)?.median - 1.0);
                let share = added(notify)
                    .zip(added(strace))
                    .map(|(own, other): (f64, f64)| own / other);
                aim(
                    &format!("notify's added time, of strace -f -c's, {}", row.workload),
                    share,
                    0.33,
                );
            }
        }
        if let Some(ptrace) = self.tool("sc-record -b ptrace") {
            for (workload, limit) in AIMS_OF_PTRACE {
                let row = self.rows.iter().find(|row| row.workload == workload);
                let ratio = row.and_then(|row| self.without_start_up(row, ptrace));
                aim(
                    &format!("ptrace without its start-up, {workload}"),
                    ratio,
                    limit,
                );
            }
        }
        for (name, [_, many]) in &self.memory {
            let megabytes =
                u32::try_from(*many).map_or(f64::INFINITY, |kib| f64::from(kib) / 1024.0);
            aim(
                &format!("memory of {name} in MB, after 5,000 processes and 1,000,000 calls"),
                Some(megabytes),
                30.0,
            );
        }
        aims
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "# The cost of recording\n")?;
        writeln!(
            f,
            "`make bench` writes this file. The ratio of the time with a tool to the native time: the median of {} paired runs (least–most).\n\
             Start-up is included: about the same for every workload, and most of the ratio for a short one. Servers run under the tool, and the\n\
             time is that of their client. `bpftrace` counts by number on the whole machine. † An incomplete recording, which says so.\n",
            self.rounds
        )?;
        for line in &self.machine {
            writeln!(f, "- {line}")?;
        }
        for line in &self.missing {
            writeln!(f, "- Not measured: {line}")?;
        }
        write!(f, "\n| workload | native |")?;
        for tool in &self.tools[1..] {
            write!(f, " {tool} |")?;
        }
        writeln!(
            f,
            "\n| --- | ---: |{}",
            " ---: |".repeat(self.tools.len() - 1)
        )?;
        for row in &self.rows {
            let native = row
                .median_of(0, |run| 1000.0 * run.seconds)
                .unwrap_or_default();
            write!(f, "| {} | {native:.0} ms |", row.workload)?;
            for tool in 1..self.tools.len() {
                write!(f, " {} |", row.cell(tool))?;
            }
            writeln!(f)?;
        }
        write!(f, "| geometric mean of the real ones | |")?;
        for tool in 1..self.tools.len() {
            let mean = self.mean(tool, |row| row.is_real);
            let mean = mean.map_or_else(|| "–".to_owned(), |mean| format!("{mean:.2}"));
            write!(f, " {mean} |")?;
        }
        let own: Vec<usize> = (0..self.tools.len())
            .filter(|&tool| self.tools[tool].starts_with("sc-record"))
            .collect();
        writeln!(f, "\n\n## CPU time and memory of the recorder\n")?;
        writeln!(
            f,
            "Its own CPU time as a share of the native time, and its peak of resident memory.\n"
        )?;
        write!(f, "| workload |")?;
        for &tool in &own {
            write!(f, " {} |", self.tools[tool])?;
        }
        writeln!(f, "\n| --- |{}", " ---: |".repeat(own.len()))?;
        for row in &self.rows {
            write!(f, "| {} |", row.workload)?;
            let native = row.median_of(0, |run| run.seconds).unwrap_or(f64::INFINITY);
            for &tool in &own {
                match (row.median_of(tool, |run| run.cpu), self_peak(row, tool)) {
                    (Some(cpu), Some(peak)) => {
                        write!(f, " {:.0} %, {peak:.1} MB |", 100.0 * cpu / native)?;
                    }
                    _ => write!(f, " failed |")?,
                }
            }
            writeln!(f)?;
        }
        writeln!(
            f,
            "\nMemory after 100 processes and 20,000 calls, and after 5,000 and 1,000,000:\n"
        )?;
        for (name, [few, many]) in &self.memory {
            writeln!(f, "- {name}: {few} KiB, {many} KiB")?;
        }
        writeln!(
            f,
            "\n## Aims\n\n[Why short workloads miss those of ptrace](../docs/how-it-works.md#what-it-still-costs)\n\n\
             | aim | measured | |\n| --- | ---: | --- |"
        )?;
        for (aim, value, met) in self.aims() {
            writeln!(
                f,
                "| {aim} | {value} | {} |",
                if met { "met" } else { "missed" }
            )?;
        }
        Ok(())
    }
}

fn self_peak(row: &Row, tool: usize) -> Option<f64> {
    let peak = row.runs(tool)?.iter().map(|run| run.peak_kib).max()?;
    Some(f64::from(u32::try_from(peak).ok()?) / 1024.0)
}

/// The machine, and the versions of what was measured.
pub(crate) fn machine(program: &Path) -> Result<Vec<String>> {
    let cpus = fs::read_to_string("/proc/cpuinfo")?;
    let model = cpus
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .unwrap_or_default();
    let count = std::thread::available_parallelism()?;
    let release = fs::read_to_string("/etc/os-release")?;
    let system = release
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="))
        .unwrap_or_default();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let mut lines = vec![format!(
        "{}, {count} CPUs; {}, Linux {}",
        model.trim_start_matches([' ', '\t', ':']),
        system.trim_matches('"'),
        kernel.trim()
    )];
    let version = |program: &Path| -> Result<String> {
        let output = Command::new(program).arg("--version").output();
        let output = output.with_context(|| program.display().to_string())?;
        let text = String::from_utf8_lossy(&output.stdout);
        Ok(text.lines().next().unwrap_or_default().trim().to_owned())
    };
    let others = ["strace", "perf", "bpftrace"].map(|name| version(Path::new(name)));
    let versions: Vec<String> = [version(program)]
        .into_iter()
        .chain(others)
        .flatten()
        .collect();
    lines.push(versions.join("; "));
    Ok(lines)
}
