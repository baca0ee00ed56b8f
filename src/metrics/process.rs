//! The metrics of the process that every Prometheus client exports, read from /proc where there is one.

use std::fs;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{counter::ConstCounter, gauge::ConstGauge},
};

use crate::model::Timestamp;

/// USER_HZ, which Linux fixes at 100 for everything in /proc.
const TICKS_PER_SECOND: f64 = 100.0;

#[derive(Debug)]
pub(super) struct Process {
    start: Timestamp,
}

impl Process {
    pub(super) fn new(start: Timestamp) -> Self {
        Self { start }
    }
}

/// User and system time in seconds: fields 14 and 15 of `/proc/self/stat`, counted after the name in brackets.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |i: usize| fields.get(i)?.parse::<f64>().ok();
    Some((ticks(11)? + ticks(12)?) / TICKS_PER_SECOND)
}

fn resident_bytes(status: &str) -> Option<f64> {
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix(" kB")?.trim().parse::<f64>().ok()? * 1024.0)
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let gauge = |e: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: f64| {
            let gauge = ConstGauge::new(value);
            gauge.encode(e.encode_descriptor(name, help, None, gauge.metric_type())?)
        };
        gauge(
            &mut encoder,
            "process_start_time_seconds",
            "When the process began, in seconds since 1970.",
            self.start.as_millisecond() as f64 / 1000.0,
        )?;
        if let Some(bytes) = fs::read_to_string("/proc/self/status").ok().as_deref().and_then(resident_bytes)
        {
            gauge(&mut encoder, "process_resident_memory_bytes", "Resident memory in bytes.", bytes)?;
        }
        if let Ok(open) = fs::read_dir("/proc/self/fd") {
            gauge(&mut encoder, "process_open_fds", "Open file descriptors.", open.count() as f64)?;
        }
        if let Some(seconds) = fs::read_to_string("/proc/self/stat").ok().as_deref().and_then(cpu_seconds) {
            let counter = ConstCounter::new(seconds);
            counter.encode(encoder.encode_descriptor(
                "process_cpu_seconds",
                "User and system CPU time in seconds.",
                None,
                counter.metric_type(),
            )?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn reads_what_the_kernel_writes() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194560 1 0 0 0 250 50 0 0 20 0 1 0 5 1 1 1";
        assert_eq!(super::cpu_seconds(stat), Some(3.0));
        assert_eq!(super::resident_bytes("VmPeak:\t1 kB\nVmRSS:\t  2048 kB\n"), Some(2_097_152.0));
    }
}
