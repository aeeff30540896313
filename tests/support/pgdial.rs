//! A pgdial process of the binary under test, with its config, its log and its admin pages.

use super::postgres::Postgres;
use super::process::{self, TempDir, Watchdog};
use super::wire::{Client, PATIENCE};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// A config file in the making: sections of keys, and arrays of tables as text.
#[derive(Clone)]
pub(crate) struct Config {
    sections: BTreeMap<String, BTreeMap<String, String>>,
    tables: String,
}

impl Config {
    /// In front of one database of a server, as the trusted user `app`: every other key at its default.
    pub(crate) fn new(postgres: &Postgres, database: &str) -> Self {
        let config = Self { sections: BTreeMap::new(), tables: String::new() };
        config
            .text("upstream", "url", &postgres.url("app", database))
            .text("upstream", "tls", "disable")
            .text("listen", "tls", "disable")
            .text("auth", "method", "trust")
            .text("log", "level", "debug")
    }

    /// Sets a key to a TOML value.
    pub(crate) fn set(mut self, section: &str, key: &str, value: &str) -> Self {
        self.sections.entry(section.into()).or_default().insert(key.into(), value.into());
        self
    }

    /// Sets a key to a string.
    pub(crate) fn text(self, section: &str, key: &str, value: &str) -> Self {
        self.set(section, key, &format!("{value:?}"))
    }

    pub(crate) fn pool(self, size: usize) -> Self {
        self.set("pool", "size", &size.to_string()).set("pool", "min_idle", &size.min(2).to_string())
    }

    /// Adds `[[..]]` tables.
    pub(crate) fn tables(mut self, text: &str) -> Self {
        self.tables.push_str(text);
        self.tables.push('\n');
        self
    }

    /// Results of every table from memory, until invalidated.
    pub(crate) fn cached(self) -> Self {
        self.text("cache", "mode", "on").tables("[[cache.rule]]\ntables = [\"*\"]\nttl = \"1h\"")
    }

    fn render(&self, port: u16, admin: u16) -> String {
        let this = self.clone().text("listen", "address", &format!("127.0.0.1:{port}")).text(
            "admin",
            "address",
            &format!("127.0.0.1:{admin}"),
        );
        let mut out = String::new();
        for (section, keys) in &this.sections {
            out.push_str(&format!("[{section}]\n"));
            for (key, value) in keys {
                out.push_str(&format!("{key} = {value}\n"));
            }
        }
        out + &this.tables
    }
}

/// A running pgdial. Dropped, it gets SIGTERM and is waited for.
pub(crate) struct Pgdial {
    child: Child,
    port: u16,
    admin: u16,
    _watchdog: Watchdog,
    dir: TempDir,
}

impl Pgdial {
    /// Starts it and waits until `/readyz` says yes.
    pub(crate) fn start(config: &Config) -> Self {
        let mut this = Self::launch(config);
        let end = Instant::now() + PATIENCE;
        while this.http("GET", "/readyz", "").is_none_or(|(status, _)| status != 200) {
            if let Some(status) = this.child.try_wait().expect("pgdial is our child") {
                panic!("pgdial ended with {status} at its start:\n{}", this.log());
            }
            assert!(Instant::now() < end, "pgdial is not ready after {PATIENCE:?}:\n{}", this.log());
            std::thread::sleep(Duration::from_millis(10));
        }
        this
    }

    /// Starts it and waits for nothing.
    pub(crate) fn launch(config: &Config) -> Self {
        let (port, admin) = (process::free_port(), process::free_port());
        let dir = TempDir::new("pgdial");
        let file = dir.path().join("pgdial.toml");
        std::fs::write(&file, config.render(port, admin)).expect("the config can be written");
        let log = std::fs::File::create(dir.path().join("log")).expect("a log file");
        let mut command = Command::new(env!("CARGO_BIN_EXE_pgdial"));
        // The knobs of the tests look like settings to pgdial, and unknown settings are errors.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("PGDIAL_") {
                command.env_remove(name);
            }
        }
        let child = command
            .args(["serve", "-c"])
            .arg(&file)
            .env("RUST_BACKTRACE", "1")
            .env_remove("DATABASE_URL")
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle of the log"))
            .stderr(log)
            .spawn()
            .expect("the pgdial binary can be started");
        let watchdog = Watchdog::guard(child.id(), "KILL", dir.path());
        Self { child, port, admin, _watchdog: watchdog, dir }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn config_file(&self) -> PathBuf {
        self.dir.path().join("pgdial.toml")
    }

    /// Puts another config in place and tells pgdial to read it.
    pub(crate) fn reload(&self, config: &Config) {
        std::fs::write(self.config_file(), config.render(self.port, self.admin)).expect("the config can be written");
        process::signal(self.pid(), "HUP");
    }

    /// A raw client logged in through pgdial as `app`.
    pub(crate) fn client(&self, database: &str) -> Client {
        Client::login(self.addr(), &[("user", "app"), ("database", database)])
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// `/stats`, as JSON.
    pub(crate) fn stats(&self) -> serde_json::Value {
        let (status, body) = self.http("GET", "/stats", "").expect("the admin page answers");
        assert_eq!(status, 200, "/stats: {body}");
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("/stats is not JSON: {error}\n{body}"))
    }

    /// A number of `/stats` by its path, `cache.hits`.
    pub(crate) fn stat(&self, path: &str) -> u64 {
        let stats = self.stats();
        let found = path.split('.').try_fold(&stats, |value, key| value.get(key));
        found.and_then(serde_json::Value::as_u64).unwrap_or_else(|| panic!("/stats has no number {path}: {stats}"))
    }

    /// Status and body of an admin page; None if nobody answers.
    pub(crate) fn http(&self, method: &str, path: &str, body: &str) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.admin)).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        let len = body.len();
        let request = format!(
            "{method} {path} HTTP/1.0\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).ok()?;
        let answer = String::from_utf8_lossy(&answer);
        let (head, body) = answer.split_once("\r\n\r\n")?;
        Some((head.split(' ').nth(1)?.parse().ok()?, body.to_string()))
    }

    /// Waits for the end of the process.
    pub(crate) fn wait_exit(&mut self, limit: Duration) -> Option<ExitStatus> {
        let end = Instant::now() + limit;
        loop {
            match self.child.try_wait().expect("pgdial is our child") {
                None if Instant::now() < end => std::thread::sleep(Duration::from_millis(10)),
                ended => return ended,
            }
        }
    }
}

impl Drop for Pgdial {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            process::signal(self.child.id(), "TERM");
            if self.wait_exit(Duration::from_secs(3)).is_none() {
                let _ = self.child.kill();
                let _ = self.child.wait();
            }
        }
        // cargo shows the output of failed tests only: what pgdial said belongs to it.
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("--- the last lines of pgdial's log ---\n{}", lines[lines.len().saturating_sub(60)..].join("\n"));
        }
    }
}
