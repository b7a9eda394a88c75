//! The machine: what it is, what a process spends of it, and which core belongs to whom.

use std::process::{Command, Stdio};

/// Prints the machine and what else it does, which every figure belongs to.
pub(crate) fn print_machine() {
    println!("{}", machine());
}

/// Processor, cores, memory, kernel, load averages.
pub(crate) fn machine() -> String {
    let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map(|(_, m)| m);
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    format!(
        "{} | {} cores | {} | Linux {} | load {}",
        model.unwrap_or("unknown processor"),
        cores(),
        memory.lines().next().unwrap_or_default(),
        kernel.trim(),
        load.split(' ').take(3).collect::<Vec<_>>().join(" ")
    )
}

pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// What a process has spent, itself and for it in the kernel; the kernel counts hundredths.
pub(crate) fn processor_seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // The name in brackets may hold spaces; user and system time are the 14th and 15th field.
    let (_, after_name) = stat.rsplit_once(") ").unwrap();
    after_name.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<f64>().unwrap() / 100.0).sum()
}

/// What all processes together have spent, the kernel's own work for them included.
pub(crate) fn busy_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/stat").unwrap();
    let ticks: Vec<f64> = stat.lines().next().unwrap().split_whitespace().skip(1).map(|n| n.parse().unwrap()).collect();
    // user, nice, system, idle, waiting for input and output, interrupts of both kinds
    [0, 1, 2, 5, 6].iter().map(|at| ticks[*at]).sum::<f64>() / 100.0
}

/// MiB that a process holds.
pub(crate) fn resident(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")).unwrap();
    kib.parse::<f64>().unwrap() / 1024.0
}

/// Keeps this process, and what it starts from now on, on one core; false where that cannot be said.
pub(crate) fn stay_on_core(core: usize) -> bool {
    let own = std::process::id().to_string();
    let taskset = Command::new("taskset").args(["-acp", &core.to_string(), &own]).stdout(Stdio::null()).status();
    taskset.is_ok_and(|status| status.success())
}
