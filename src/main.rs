//! Floor 5. Arguments to config to app to exit code.
//!
//! Exit codes: 0 = ended as asked, 1 = failed while running, 2 = wrong arguments or configuration.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
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
