//! Floor 3. Where clients arrive.

use super::{Peer, Stream, TcpOptions};
use crate::error::{Error, Kind, Result};
use socket2::{Domain, Protocol, Socket, Type};
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::{TcpListener, UnixListener};

/// A TCP address or the socket file of a Unix socket directory.
#[derive(Debug)]
pub struct Listener {
    socket: Bound,
    options: TcpOptions,
}

#[derive(Debug)]
enum Bound {
    Tcp(TcpListener),
    Unix(UnixListener, #[allow(dead_code, reason = "its Drop is its use")] SocketFile),
}

/// Connections that may wait to be accepted: a whole fleet of applications may start at once.
const BACKLOG: i32 = 4096;

impl Listener {
    /// Port 0 = any free port. An IPv6 wildcard takes IPv4 too.
    pub fn tcp(address: SocketAddr, options: TcpOptions) -> Result<Self> {
        let listener = bind_tcp(address)
            .map_err(|error| Error::new(Kind::Config, format!("could not listen on {address}")).with_source(error))?;
        Ok(Self { socket: Bound::Tcp(listener), options })
    }

    /// `.s.PGSQL.<port>` in `dir`. A file that nobody listens on any more is replaced.
    pub fn unix(dir: &Path, port: u16) -> Result<Self> {
        let path = dir.join(format!(".s.PGSQL.{port}"));
        let (listener, file) = bind_unix(&path)
            .map_err(|error| Error::new(Kind::Config, format!("could not listen on {}", path.display())).with_source(error))?;
        Ok(Self { socket: Bound::Unix(listener, file), options: TcpOptions::default() })
    }

    /// None for a Unix socket.
    pub fn local_address(&self) -> Option<SocketAddr> {
        match &self.socket {
            Bound::Tcp(listener) => listener.local_addr().ok(),
            Bound::Unix(..) => None,
        }
    }

    /// The next client. An error of accept is never the end: it is logged, and waited out where it would repeat at once.
    pub async fn accept(&self) -> (Stream, Peer) {
        let mut wait = Duration::ZERO;
        loop {
            match self.try_accept().await {
                Ok(client) => return client,
                Err(error) if is_of_one_client(&error) => {}
                Err(error) => {
                    if wait.is_zero() {
                        tracing::error!(%error, "accept failed; clients wait");
                    }
                    wait = (wait * 2).clamp(MIN_WAIT, MAX_WAIT);
                    tokio::time::sleep(wait).await;
                }
            }
        }
    }

    async fn try_accept(&self) -> io::Result<(Stream, Peer)> {
        match &self.socket {
            Bound::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                // Fails if the client is gone already, which the first read will find.
                let _ = self.options.apply(&stream);
                Ok((Stream::Tcp(stream), Peer::Tcp(address)))
            }
            Bound::Unix(listener, _) => {
                let (stream, _) = listener.accept().await?;
                let uid = stream.peer_cred().ok().map(|credentials| credentials.uid());
                Ok((Stream::Unix(stream), Peer::Unix { uid }))
            }
        }
    }
}

const MIN_WAIT: Duration = Duration::from_millis(20);
const MAX_WAIT: Duration = Duration::from_secs(1);

/// The client went away before it was accepted; the next one is not concerned. All else (no file descriptors, no memory)
/// would come back at once.
fn is_of_one_client(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted)
}

fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket.into())
}

fn bind_unix(path: &Path) -> io::Result<(UnixListener, SocketFile)> {
    remove_stale(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&socket2::SockAddr::unix(path)?)?;
    // As unix_socket_permissions of Postgres: the login decides who may enter.
    fs::set_permissions(path, fs::Permissions::from_mode(0o777))?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    let metadata = fs::symlink_metadata(path)?;
    let file = SocketFile { path: path.to_owned(), inode: metadata.ino() };
    Ok((UnixListener::from_std(socket.into())?, file))
}

/// Only a socket that refuses connections is removed: a live listener and any other file stay, and bind fails.
fn remove_stale(path: &Path) -> io::Result<()> {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket());
    if !is_socket {
        return Ok(());
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        _ => Ok(()),
    }
}

/// Removed with its listener, unless a successor has put its own there.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    inode: u64,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|metadata| metadata.ino() == self.inode) {
            let _ = fs::remove_file(&self.path);
        }
    }
}
