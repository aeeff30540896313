//! Child processes that cannot outlive the test run, and the little that tests need to know of them.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// A TCP port nobody listens on. Below the ephemeral range, so that no outgoing connection takes it meanwhile.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = (std::process::id() % 9_000) as u16;
    for _ in 0..9_000 {
        let port = 21_000 + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % 9_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no free TCP port between 21000 and 30000");
}

/// Sends a signal by name (`TERM`, `HUP`, `KILL`).
pub(crate) fn signal(pid: u32, name: &str) {
    let status = Command::new("sh").args(["-c", "kill -s \"$1\" \"$2\"", "sh", name, &pid.to_string()]).status();
    assert!(status.is_ok_and(|s| s.success()), "cannot send SIG{name} to {pid}");
}

/// Resident memory of a process.
pub(crate) fn rss_bytes(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/statm")).expect("statm of a live process");
    let pages: u64 = text.split(' ').nth(1).and_then(|word| word.parse().ok()).expect("statm has a resident column");
    pages * 4096
}

/// The most that it has had.
pub(crate) fn peak_bytes(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("status of a live process");
    let line = text.lines().find(|line| line.starts_with("VmHWM:")).expect("status has a peak");
    let kilobytes = line.split_whitespace().nth(1).and_then(|word| word.parse::<u64>().ok());
    kilobytes.expect("the peak is a number") << 10
}

/// What a process has used of the processors so far.
pub(crate) fn cpu_time(pid: u32) -> Duration {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("stat of a live process");
    let behind_name = text.rsplit(')').next().expect("stat has a name");
    let ticks = behind_name.split_whitespace().skip(11).take(2).filter_map(|word| word.parse::<u64>().ok()).sum::<u64>();
    // USER_HZ is 100 wherever Linux runs.
    Duration::from_millis(ticks * 10)
}

/// Polls until `done` says so.
pub(crate) fn eventually(what: &str, limit: Duration, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + limit;
    while !done() {
        assert!(Instant::now() < end, "not within {limit:?}: {what}");
        sleep(Duration::from_millis(10));
    }
}

/// A folder that is removed with its owner.
pub(crate) struct TempDir(PathBuf);

impl TempDir {
    /// One that nobody has: a killed run may have left its own behind, and another process has its number now.
    pub(crate) fn new(what: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        loop {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let path = std::env::temp_dir().join(format!("pgdial-{what}-{}-{number}", std::process::id()));
            match std::fs::create_dir(&path) {
                Ok(()) => return Self(path),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => panic!("a temporary folder cannot be made: {}: {error}", path.display()),
            }
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Ends a process and removes its folder when the test process is gone, however it went: a shell waits for the end of
/// a pipe that only we hold open. Needed because a `static` is never dropped, and a killed test run drops nothing.
pub(crate) struct Watchdog(Child);

impl Watchdog {
    pub(crate) fn guard(pid: u32, signal: &str, folder: &Path) -> Self {
        let script = "cat >/dev/null; kill -s \"$1\" \"$2\" 2>/dev/null; \
                      i=0; while kill -0 \"$2\" 2>/dev/null && [ $i -lt 50 ]; do sleep 0.1; i=$((i+1)); done; rm -rf \"$3\"";
        let child = Command::new("sh")
            .args(["-c", script, "sh", signal, &pid.to_string()])
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("sh can be started");
        Self(child)
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
