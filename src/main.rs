//! Floor 5. Arguments to config to app to exit code.
//!
//! Exit codes: 0 = ended as asked, 1 = failed while running, 2 = wrong arguments or configuration.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread::available_parallelism;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use pgdial::app;
use pgdial::config::Config;
use pgdial::error::{Error, Kind, Result};
use pgdial::source::Source;

mod logging;

const FAILED: u8 = 1;
const MISUSED: u8 = 2;

/// A Postgres sidecar: warm connections, warm plans, warm results.
#[derive(Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: Serve,
}

#[derive(Subcommand)]
enum Command {
    /// Stand in front of Postgres (the default)
    Serve(Serve),
    /// A throw-away Postgres with sample data, pgdial in front of it, and what that does, in figures
    Demo {
        /// End by itself instead of staying up until Ctrl-C
        #[arg(long)]
        once: bool,
    },
    /// Make a config file from PgBouncer's, and say what has no equivalent
    Import {
        /// pgbouncer.ini; what it includes and its auth_file are read too
        file: PathBuf,
        /// Where to write it; without, to stdout
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Say whether a configuration is good, without serving it
    Check {
        #[command(flatten)]
        serve: Serve,
        /// Instead: ask the stats endpoint of a running pgdial whether it is healthy
        #[arg(long, value_name = "ADDRESS", conflicts_with_all = ["config", "upstream"])]
        health: Option<SocketAddr>,
    },
}

#[derive(Args)]
struct Serve {
    /// The config file; without one, defaults and PGDIAL_* variables count
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where Postgres is: postgres://user:password@host:5432/database
    #[arg(long, value_name = "URL")]
    upstream: Option<String>,
}

impl From<Serve> for Source {
    fn from(serve: Serve) -> Self {
        Self { file: serve.config, upstream: serve.upstream }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match arguments.command.unwrap_or(Command::Serve(arguments.serve)) {
        Command::Serve(sources) => serve(sources),
        Command::Demo { once } => demo(once),
        Command::Import { file, out } => import(&file, out.as_deref()),
        Command::Check { health: Some(address), .. } => health(address),
        Command::Check { serve, health: None } => check(&Source::from(serve)),
    }
}

fn serve(sources: Serve) -> ExitCode {
    let source = Source::from(sources);
    let config = match source.load() {
        Ok(config) => config,
        Err(error) => return misused(&error),
    };
    logging::start(&config.log, std::env::var("RUST_LOG").ok().as_deref());
    match run(config, source) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pgdial: {error}");
            ExitCode::from(if error.kind() == Kind::Config { MISUSED } else { FAILED })
        }
    }
}

fn demo(once: bool) -> ExitCode {
    let ran = runtime().and_then(|runtime| runtime.block_on(pgdial::demo::run(once, app::start_demo)));
    match ran {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pgdial: {error}");
            ExitCode::from(FAILED)
        }
    }
}

fn run(config: Config, source: Source) -> Result<()> {
    runtime()?.block_on(app::run(config, source))
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers(available_parallelism().map_or(1, usize::from)))
        .enable_all()
        .build()
        .map_err(|error| Error::new(Kind::Internal, "the runtime did not start").with_source(error))
}

/// Half of the cores: Postgres, or the application, usually runs on the same machine and needs the others.
fn workers(cores: usize) -> usize {
    (cores / 2).clamp(1, 8)
}

fn check(source: &Source) -> ExitCode {
    match source.load() {
        Ok(config) => {
            for database in &config.databases {
                println!("database {}: {}", database.name, database.upstream);
            }
            println!("the configuration is good");
            ExitCode::SUCCESS
        }
        Err(error) => misused(&error),
    }
}

/// The file goes to stdout, what is to be known of it to stderr.
fn import(file: &Path, out: Option<&Path>) -> ExitCode {
    let imported = match pgdial::import::import(file, &|path| std::fs::read_to_string(path)) {
        Ok(imported) => imported,
        Err(error) => {
            eprintln!("pgdial: {error}");
            return ExitCode::from(MISUSED);
        }
    };
    let written = match out {
        Some(out) => write_new(out, &imported.toml),
        None => std::io::stdout().write_all(imported.toml.as_bytes()),
    };
    if let Err(error) = written {
        eprintln!("pgdial: the config file could not be written: {error}");
        return ExitCode::from(FAILED);
    }
    for note in &imported.notes {
        eprintln!("note: {note}");
    }
    match imported.complaint {
        None => ExitCode::SUCCESS,
        Some(complaint) => {
            eprintln!("pgdial check does not accept it yet; mend this by hand:\n{complaint}");
            ExitCode::from(FAILED)
        }
    }
}

/// It holds passwords, and nobody's file is overwritten.
fn write_new(path: &Path, text: &str) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())
}

fn misused(error: &Error) -> ExitCode {
    eprintln!("pgdial: {error}");
    ExitCode::from(MISUSED)
}

/// For a container's health check, whose image has neither shell nor curl.
fn health(address: SocketAddr) -> ExitCode {
    match healthy(address) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("pgdial: {address} answers, but is not healthy");
            ExitCode::from(FAILED)
        }
        Err(error) => {
            eprintln!("pgdial: {address}: {error}");
            ExitCode::from(FAILED)
        }
    }
}

fn healthy(address: SocketAddr) -> std::io::Result<bool> {
    let patience = Duration::from_secs(3);
    let mut stream = TcpStream::connect_timeout(&address, patience)?;
    stream.set_read_timeout(Some(patience))?;
    write!(stream, "GET /healthz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut status = [0; 12];
    stream.read_exact(&mut status)?;
    Ok(status.starts_with(b"HTTP/1.1 200"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn serving_is_the_default() {
        let bare = Arguments::parse_from(["pgdial", "--upstream", "postgres://a@b/c"]);
        assert!(bare.command.is_none() && bare.serve.upstream.is_some());
        let named = Arguments::parse_from(["pgdial", "serve", "-c", "x.toml"]);
        assert!(matches!(named.command, Some(Command::Serve(Serve { config: Some(_), .. }))));
    }

    #[test]
    fn half_of_the_cores_work() {
        assert_eq!([1, 2, 3, 4, 16, 64].map(workers), [1, 1, 1, 2, 8, 8]);
    }
}
