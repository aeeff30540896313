//! A private Postgres: its own folder, port and socket; one shared by all tests, further ones for tests that break it.

use super::process::{self, TempDir, Watchdog, eventually};
use super::wire::{Client, PATIENCE};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

const SETTINGS: &[(&str, &str)] = &[
    ("fsync", "off"),
    ("full_page_writes", "off"),
    ("autovacuum", "off"),
    ("synchronize_seqscans", "off"),
    ("max_connections", "300"),
    ("shared_buffers", "64MB"),
    ("max_prepared_transactions", "20"),
    ("listen_addresses", "127.0.0.1"),
    ("superuser_reserved_connections", "10"),
    ("log_min_messages", "warning"),
    ("jit", "off"),
];

/// Roles by how they must log in. `app` is trusted, so that a raw client needs no SCRAM of its own.
const HBA: &str = "local all all trust\n\
    hostssl all tls_app 127.0.0.1/32 scram-sha-256\nhostnossl all tls_app 127.0.0.1/32 reject\n\
    host all scram_app 127.0.0.1/32 scram-sha-256\nhost all +scram_users 127.0.0.1/32 scram-sha-256\n\
    host all md5_app 127.0.0.1/32 md5\n\
    host all plain_app 127.0.0.1/32 password\nhost all all 127.0.0.1/32 trust\n\
    host replication all 127.0.0.1/32 trust\n";

const ROLES: &str = "create role app login; grant app to postgres; create role random_role; grant random_role to app; create role tls_app login password 'secret';\
    create role scram_app login password 'secret'; create role scram_users; create role plain_app login password 'secret';\
    set password_encryption = 'md5'; create role md5_app login password 'secret'";

/// A running server. Dropped, it is stopped and its folder removed.
pub(crate) struct Postgres {
    port: u16,
    bin: PathBuf,
    user: Option<(u32, u32)>,
    child: Mutex<Child>,
    watchdog: Mutex<Watchdog>,
    dir: TempDir,
}

impl Postgres {
    /// The server all tests share; each takes a database of its own.
    pub(crate) fn shared() -> &'static Self {
        static SHARED: OnceLock<Postgres> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// A server for one test that kills, stops or overloads it.
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    pub(crate) fn start_with(settings: &[(&str, &str)]) -> Self {
        let bin = binaries();
        let user = unprivileged_user();
        let dir = TempDir::new("postgres");
        if let Some((uid, gid)) = user {
            std::os::unix::fs::chown(dir.path(), Some(uid), Some(gid)).expect("root may chown");
        }
        let data = dir.path().join("data");
        let output = command(&bin.join("initdb"), dir.path(), user)
            .args(["--no-sync", "--no-instructions", "-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C", "-D"])
            .arg(&data)
            .output()
            .expect("initdb can be started");
        assert!(output.status.success(), "initdb: {}", String::from_utf8_lossy(&output.stderr));
        write_config(&data, settings, user);
        let port = process::free_port();
        let child = launch(&bin, dir.path(), port, user);
        let watchdog = Watchdog::guard(child.id(), "QUIT", dir.path());
        let server = Self { port, bin, user, child: Mutex::new(child), watchdog: Mutex::new(watchdog), dir };
        server.wait_until_up();
        // In one session: a SET counts for what follows it.
        let mut client = server.client("postgres", "postgres");
        for statement in ROLES.split(';') {
            client.rows(statement);
        }
        server
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// The folder of the Unix socket, which is also where tests may put files the server must be able to read.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn bin(&self, name: &str) -> PathBuf {
        let own = self.bin.join(name);
        // Some packages hold the server alone; psql and pgbench of another version do as well.
        if own.exists() { own } else { PathBuf::from(name) }
    }

    pub(crate) fn url(&self, user: &str, database: &str) -> String {
        format!("postgres://{user}@127.0.0.1:{}/{database}", self.port)
    }

    /// A fresh database owned by `app`, under a name of its own.
    pub(crate) fn database(&self, what: &str) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("{what}_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        self.sql("postgres", &format!("create database {name} owner app"));
        self.sql(&name, "grant all on schema public to public");
        name
    }

    /// Runs statements as superuser, straight; rows of the last one. Panics on an error.
    pub(crate) fn sql(&self, database: &str, text: &str) -> Vec<Vec<Option<String>>> {
        self.client("postgres", database).rows(text)
    }

    /// Waits until somebody's query of this text is running in the database.
    pub(crate) fn wait_running(&self, database: &str, text: &str) {
        let running = format!(
            "select count(*) from pg_stat_activity where state = 'active' and datname = '{database}' and query = $text${text}$text$"
        );
        let mut client = self.client("postgres", database);
        eventually(&format!("{text} is running"), PATIENCE, || client.value(&running) != "0");
    }

    /// A raw client logged in straight.
    pub(crate) fn client(&self, user: &str, database: &str) -> Client {
        Client::login(self.addr(), &[("user", user), ("database", database)])
    }

    /// Puts a certificate in place and takes TLS connections from now on.
    pub(crate) fn enable_tls(&self, cert: &Path, key: &Path) {
        let data = self.dir.path().join("data");
        for (from, to) in [(cert, "server.crt"), (key, "server.key")] {
            let to = data.join(to);
            std::fs::copy(from, &to).expect("the certificate can be copied");
            let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
            std::fs::set_permissions(&to, private).expect("and made private");
            if let Some((uid, gid)) = self.user {
                std::os::unix::fs::chown(&to, Some(uid), Some(gid)).expect("root may chown");
            }
        }
        self.sql("postgres", "alter system set ssl = on");
        self.sql("postgres", "select pg_reload_conf()");
        eventually("postgres speaks TLS", Duration::from_secs(10), || {
            self.sql("postgres", "show ssl")[0][0].as_deref() == Some("on")
        });
    }

    /// The server's own log.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// Stops at once, as a crash would, and starts again on the same port.
    pub(crate) fn restart(&self) {
        self.stop();
        self.start_again();
    }

    pub(crate) fn stop(&self) {
        let mut child = self.child.lock().unwrap();
        process::signal(child.id(), "QUIT");
        child.wait().expect("postgres is our child");
    }

    pub(crate) fn start_again(&self) {
        let child = launch(&self.bin, self.dir.path(), self.port, self.user);
        *self.watchdog.lock().unwrap() = Watchdog::guard(child.id(), "QUIT", self.dir.path());
        *self.child.lock().unwrap() = child;
        self.wait_until_up();
    }

    fn wait_until_up(&self) {
        eventually("postgres accepts connections", Duration::from_secs(60), || {
            if let Some(status) = self.child.lock().unwrap().try_wait().expect("postgres is our child") {
                panic!("postgres ended with {status}:\n{}", self.log());
            }
            Client::try_login(self.addr(), &[("user", "postgres"), ("database", "postgres")]).is_some()
        });
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let child = self.child.get_mut().unwrap();
        if let Ok(None) = child.try_wait() {
            process::signal(child.id(), "QUIT");
            let _ = child.wait();
        }
    }
}

fn write_config(data: &Path, settings: &[(&str, &str)], user: Option<(u32, u32)>) {
    let mut text = std::fs::read_to_string(data.join("postgresql.conf")).expect("initdb wrote postgresql.conf");
    for (name, value) in SETTINGS.iter().chain(settings) {
        text.push_str(&format!("{name} = '{value}'\n"));
    }
    std::fs::write(data.join("postgresql.conf"), text).expect("postgresql.conf can be written");
    std::fs::write(data.join("pg_hba.conf"), HBA).expect("pg_hba.conf can be written");
    if let Some((uid, gid)) = user {
        for file in ["postgresql.conf", "pg_hba.conf"] {
            std::os::unix::fs::chown(data.join(file), Some(uid), Some(gid)).expect("root may chown");
        }
    }
}

fn launch(bin: &Path, dir: &Path, port: u16, user: Option<(u32, u32)>) -> Child {
    let log = std::fs::OpenOptions::new().create(true).append(true).open(dir.join("log")).expect("a log file");
    command(&bin.join("postgres"), dir, user)
        .arg("-D")
        .arg(dir.join("data"))
        .args(["-p", &port.to_string(), "-k"])
        .arg(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("postgres can be started")
}

fn command(program: &Path, dir: &Path, user: Option<(u32, u32)>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(dir).env("LC_ALL", "C").env("TZ", "UTC");
    if let Some((uid, gid)) = user {
        command.uid(uid).gid(gid);
    }
    command
}

/// Postgres refuses to run as root: then, and only then, another user is needed.
fn unprivileged_user() -> Option<(u32, u32)> {
    let id = |flag: &str, name: Option<&str>| -> Option<u32> {
        let output = Command::new("id").arg(flag).args(name).output().ok()?;
        String::from_utf8_lossy(&output.stdout).trim().parse().ok()
    };
    if id("-u", None) != Some(0) {
        return None;
    }
    let name = ["postgres", "nobody"].into_iter().find(|name| id("-u", Some(name)).is_some());
    let name = name.expect("running as root needs a user `postgres` or `nobody` to run Postgres as");
    Some((id("-u", Some(name)).unwrap(), id("-g", Some(name)).unwrap()))
}

/// Where `initdb` and `postgres` are.
fn binaries() -> PathBuf {
    let mut folders: Vec<PathBuf> = std::env::var_os("PGDIAL_TEST_PGBIN").map(PathBuf::from).into_iter().collect();
    // They are started from another directory.
    folders.iter_mut().for_each(|folder| *folder = std::path::absolute(&*folder).unwrap());
    folders.extend((14..=20).rev().map(|version| PathBuf::from(format!("/usr/lib/postgresql/{version}/bin"))));
    folders.extend(std::env::var_os("PATH").iter().flat_map(std::env::split_paths));
    let found = folders.into_iter().find(|dir| dir.join("initdb").exists() && dir.join("postgres").exists());
    found.expect(
        "these tests need a Postgres server: install the package `postgresql` (Debian, Ubuntu) or `postgresql-server` \
         (Fedora), or set PGDIAL_TEST_PGBIN to the folder that holds initdb and postgres",
    )
}
