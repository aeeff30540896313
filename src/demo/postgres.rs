//! Floor 5. A Postgres that nobody else sees: own directory, own port on 127.0.0.1, gone when dropped.

use std::ffi::OsStr;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use std::{fs, io};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::{SecureRandom, SystemRandom};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

use super::{failed, refused};
use crate::error::{Error, Kind, Result};

pub(super) const USER: &str = "shop";
pub(super) const DATABASE: &str = "shop";

const PROGRAMS: [&str; 3] = ["initdb", "postgres", "pg_ctl"];

const START_TIMEOUT: Duration = Duration::from_secs(30);

/// Between looking for a free port and Postgres taking it somebody else may.
const PORT_ATTEMPTS: u32 = 3;

const SETTINGS: [&str; 5] =
    ["fsync=off", "jit=off", "listen_addresses=127.0.0.1", "unix_socket_directories=", "max_connections=100"];

pub(super) struct Postgres {
    // Dropped in this order: the server before its directory.
    server: Server,
    _directory: Directory,
}

impl Postgres {
    /// A new one with the role and database `shop`.
    pub(super) async fn start(password: &str) -> Result<Self> {
        let programs = find_programs()?;
        let directory = Directory::create()?;
        let owner = Owner::find(&directory).await?;
        if let Some(owner) = owner {
            chown(&directory.0, Some(owner.uid), Some(owner.gid)).map_err(failed("the demo's directory cannot be given away"))?;
        }
        initdb(&programs, &directory, owner, password).await?;
        let mut server = Server::start(&programs, &directory, owner)?;
        for attempt in 1.. {
            match server.wait(password).await {
                Ok(()) => break,
                Err(_) if attempt < PORT_ATTEMPTS && server.has_ended() => {
                    server = Server::start(&programs, &directory, owner)?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Self { server, _directory: directory })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.server.address
    }
}

/// 24 letters, digits, dashes or underscores: fit for a URL, a TOML string and a shell.
pub(super) fn random_word() -> Result<String> {
    let mut bytes = [0; 18];
    SystemRandom::new().fill(&mut bytes).map_err(|_| Error::new(Kind::Internal, "the system gives no random bytes"))?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// Where the three programs lie together: PATH first, then where packages put them, the newest version first.
fn find_programs() -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places: Vec<PathBuf> = std::env::split_paths(&path).collect();
    for (root, prefix) in
        [("/usr/lib/postgresql", ""), ("/usr", "pgsql-"), ("/opt/homebrew/opt", "postgresql@"), ("/usr/local/opt", "postgresql@")]
    {
        places.extend(versions(Path::new(root), prefix));
    }
    let complete = |place: &PathBuf| PROGRAMS.iter().all(|program| place.join(program).is_file());
    places.into_iter().find(complete).ok_or_else(|| {
        Error::new(Kind::Config, "no Postgres found: the demo needs initdb, postgres and pg_ctl")
            .with_hint("on Debian or Ubuntu: apt-get install postgresql; on Fedora: dnf install postgresql-server; on macOS: brew install postgresql")
    })
}

fn versions(root: &Path, prefix: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(root).into_iter().flatten().flatten();
    let mut found: Vec<(u32, PathBuf)> = entries
        .filter_map(|entry| {
            let name = entry.file_name();
            let version = name.to_str()?.strip_prefix(prefix)?.parse().ok()?;
            Some((version, entry.path().join("bin")))
        })
        .collect();
    found.sort_by(|a, b| b.cmp(a));
    found.into_iter().map(|(_, path)| path).collect()
}

/// A directory of ours alone, removed when dropped.
struct Directory(PathBuf);

impl Directory {
    fn create() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("pgdial-demo-{}", random_word()?));
        fs::DirBuilder::new().mode(0o700).create(&path).map_err(failed("no directory for the demo"))?;
        Ok(Self(path))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // A process that was just killed may write its last file while we remove.
        for _ in 0..20 {
            match fs::remove_dir_all(&self.0) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => std::thread::sleep(Duration::from_millis(50)),
                Ok(()) | Err(_) => return,
            }
        }
    }
}

/// Whom Postgres runs as when we are root: it refuses to be root itself.
#[derive(Clone, Copy)]
struct Owner {
    uid: u32,
    gid: u32,
}

impl Owner {
    /// `None` if we are not root; the owner of a directory that we made tells who we are.
    async fn find(directory: &Directory) -> Result<Option<Self>> {
        let ours = fs::metadata(&directory.0).map_err(failed("no directory for the demo"))?;
        if ours.uid() != 0 {
            return Ok(None);
        }
        let id = async |flag: &str| {
            let output = Command::new("id").args([flag, "postgres"]).output().await.ok()?;
            String::from_utf8(output.stdout).ok()?.trim().parse::<u32>().ok()
        };
        match (id("-u").await, id("-g").await) {
            (Some(uid), Some(gid)) => Ok(Some(Self { uid, gid })),
            _ => Err(Error::new(Kind::Config, "Postgres does not run as root, and there is no user postgres to run it as")
                .with_hint("run the demo as an ordinary user")),
        }
    }
}

/// A program in a process group of its own, so that Ctrl-C reaches only us and we end things in order.
fn command(program: &Path, directory: &Directory, owner: Option<Owner>) -> std::process::Command {
    let mut command = std::process::Command::new(program);
    command.current_dir(&directory.0).process_group(0).stdin(Stdio::null());
    // PG* variables of ours (PGDATA, PGPORT) must not lead it elsewhere.
    let foreign = std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"PG"));
    foreign.for_each(|(name, _)| {
        command.env_remove(name);
    });
    if let Some(owner) = owner {
        command.uid(owner.uid).gid(owner.gid);
    }
    command
}

async fn initdb(programs: &Path, directory: &Directory, owner: Option<Owner>, password: &str) -> Result<()> {
    let secret = directory.0.join("password");
    write_secret(&secret, password, owner).map_err(failed("the demo's directory cannot be written"))?;
    let mut initdb = command(&programs.join("initdb"), directory, owner);
    initdb.args(["--username", USER, "--auth", "scram-sha-256", "--encoding", "UTF8", "--no-locale", "--no-sync"]);
    initdb.arg("--pwfile").arg(&secret).arg("--pgdata").arg(directory.0.join("data"));
    let output = Command::from(initdb).kill_on_drop(true).output().await.map_err(failed("initdb cannot be run"))?;
    // Gone with the directory in any case; sooner is better.
    let _ = fs::remove_file(&secret);
    if output.status.success() {
        return Ok(());
    }
    Err(failed("initdb")(refused(String::from_utf8_lossy(&output.stderr).trim())))
}

fn write_secret(path: &Path, password: &str, owner: Option<Owner>) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    io::Write::write_all(&mut file, password.as_bytes())?;
    owner.map_or(Ok(()), |owner| chown(path, Some(owner.uid), Some(owner.gid)))
}

/// The process; dropped, it is stopped.
struct Server {
    child: Child,
    address: SocketAddr,
    log: PathBuf,
    stop: std::process::Command,
}

impl Server {
    fn start(programs: &Path, directory: &Directory, owner: Option<Owner>) -> Result<Self> {
        let (data, log) = (directory.0.join("data"), directory.0.join("log"));
        let address = free_address().map_err(failed("no free port"))?;
        let mut postgres = command(&programs.join("postgres"), directory, owner);
        postgres.arg("-D").arg(&data).arg("-p").arg(address.port().to_string());
        postgres.args(SETTINGS.iter().flat_map(|setting| ["-c", setting]));
        let output = fs::File::create(&log).map_err(failed("the demo's directory cannot be written"))?;
        postgres.stdout(Stdio::null()).stderr(output);
        let child = Command::from(postgres).spawn().map_err(failed("postgres cannot be run"))?;
        let mut stop = command(&programs.join("pg_ctl"), directory, owner);
        stop.args([OsStr::new("stop"), OsStr::new("-D"), data.as_os_str()]).args(["-m", "immediate", "-w", "-t", "10"]);
        stop.stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Self { child, address, log, stop })
    }

    /// Until it takes connections and has the database.
    async fn wait(&mut self, password: &str) -> Result<()> {
        let mut config = super::login(self.address, password);
        config.dbname("postgres");
        let begun = Instant::now();
        loop {
            match super::figures::connect(&config).await {
                Ok(client) => {
                    let create = format!("CREATE DATABASE {DATABASE}");
                    return client.batch_execute(&create).await.map_err(failed("the demo's database cannot be made"));
                }
                Err(error) if begun.elapsed() > START_TIMEOUT => return Err(error),
                Err(_) if self.has_ended() => {
                    let log = fs::read_to_string(&self.log).unwrap_or_default();
                    return Err(failed("postgres ended at once")(refused(log.trim())));
                }
                Err(_) => sleep(Duration::from_millis(50)).await,
            }
        }
    }

    fn has_ended(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_some())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.has_ended() {
            return;
        }
        // Killed outright, the postmaster would leave its shared memory behind: that is the last resort.
        if !self.stop.status().is_ok_and(|status| status.success()) {
            let _ = self.child.start_kill();
        }
    }
}

fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newer_versions_come_first() {
        let directory = Directory::create().unwrap();
        for name in ["9", "15", "18", "extension", "16beta1"] {
            fs::create_dir(directory.0.join(name)).unwrap();
        }
        let found = versions(&directory.0, "");
        let names: Vec<_> = found.iter().map(|path| path.strip_prefix(&directory.0).unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["18/bin", "15/bin", "9/bin"]);
        let path = directory.0.clone();
        drop(directory);
        assert!(!path.exists());
    }

    #[test]
    fn a_random_word_needs_no_quotes() {
        let word = random_word().unwrap();
        assert_eq!(word.len(), 24);
        assert!(word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));
        assert_ne!(word, random_word().unwrap());
    }
}
