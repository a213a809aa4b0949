//! What being observed costs the programs that others measure by, where they are installed: iperf3 and wrk.

use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::Report;
use super::console::installed;
use super::load::{BULK, Budgets, LIMIT, side_by_side};
use crate::prove::Place;
use crate::workload::actor::Actor;

/// As much as a run of iperf3 moves.
const BYTES: &str = "4G";
/// As long as a run of wrk lasts.
const SECONDS: u32 = 3;

/// Ends with whoever holds it.
struct Served(Child);

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub fn iperf(place: &Place, report: &mut Report) -> Result<()> {
    if !installed("iperf3") {
        println!("iperf3 is not installed: left out");
        return Ok(());
    }
    let port = crate::prove::free_port(26_300)?.to_string();
    let server = Command::new("iperf3")
        .args(["-s", "-B", "127.0.0.1", "-p", &port])
        .stdout(Stdio::null())
        .spawn()
        .context("start iperf3 -s")?;
    let _server = Served(server);
    let once = || -> Result<Duration> {
        let began = Instant::now();
        loop {
            let output = Command::new("iperf3")
                .args(["-c", "127.0.0.1", "-p", &port, "-n", BYTES, "-J"])
                .output()
                .context("run iperf3 -c")?;
            let told: Value = serde_json::from_slice(&output.stdout).context("what iperf3 says")?;
            if let Some(seconds) = told.pointer("/end/sum_received/seconds").and_then(Value::as_f64) {
                return Ok(Duration::from_secs_f64(seconds));
            }
            // The server may not be there yet, or not have done with the run before.
            ensure!(began.elapsed() < LIMIT, "iperf3: {told}");
            thread::sleep(Duration::from_millis(50));
        }
    };
    side_by_side(place, report, "iperf3, 4 GB", BULK, once)
}

pub fn wrk(place: &Place, report: &mut Report) -> Result<()> {
    if !installed("wrk") {
        println!("wrk is not installed: left out");
        return Ok(());
    }
    let port = crate::prove::free_port(26_400)?.to_string();
    let server = Actor::start(&place.xtask, &["http-serve", &port])?;
    server.hear(LIMIT)?;
    let once = || -> Result<Duration> {
        let url = format!("http://127.0.0.1:{port}/");
        let output = Command::new("wrk")
            .args(["-t", "2", "-c", "50", "-d", &format!("{SECONDS}s"), &url])
            .output()
            .context("run wrk")?;
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        let rate = requests_per_second(&told).with_context(|| format!("what wrk says: {told}"))?;
        // As long as a million of them would take.
        Ok(Duration::from_secs_f64(1e6 / rate))
    };
    side_by_side(place, report, "wrk, 1,000,000 requests on 50 connections", Budgets::default(), once)
}

fn requests_per_second(told: &str) -> Option<f64> {
    told.lines().find_map(|line| line.trim().strip_prefix("Requests/sec:")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_read_off_what_wrk_says() {
        let told = "  3 requests in 1.00s, 1KB read\nRequests/sec:  98765.43\nTransfer/sec:      1.00KB\n";
        assert_eq!(requests_per_second(told), Some(98_765.43));
        assert_eq!(requests_per_second("unable to connect"), None);
    }
}
