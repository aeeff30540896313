//! Floor 3. One connection, whatever it runs over. TLS sessions are boxed: a plain connection stays a few words large.

use socket2::{SockRef, TcpKeepalive};
use std::fmt;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::{client, server};

/// A connection to a client or to Postgres.
#[derive(Debug)]
pub enum Stream {
    /// Plain TCP.
    Tcp(TcpStream),
    /// Unix socket; Postgres and libpq speak no TLS over it.
    Unix(UnixStream),
    /// TLS with us as the server.
    ServerTls(Box<server::TlsStream<TcpStream>>),
    /// TLS with us as the client.
    ClientTls(Box<client::TlsStream<TcpStream>>),
}

/// What an idle connection is seen to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idle {
    /// Nothing: it may be used.
    Quiet,
    /// Something has arrived that nobody asked for: a notice, a FATAL, or a TLS alert. Read it, or close.
    Readable,
    /// The peer is gone.
    Closed,
}

impl Idle {
    /// Metric label, log field, doc row.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Quiet => "quiet",
            Self::Readable => "readable",
            Self::Closed => "closed",
        }
    }
}

/// Who is at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// Over TCP.
    Tcp(SocketAddr),
    /// Over a Unix socket.
    Unix {
        /// The system user at the other end; None if the system does not say.
        uid: Option<u32>,
    },
}

impl Peer {
    /// None over a Unix socket.
    pub fn ip(self) -> Option<IpAddr> {
        match self {
            Self::Tcp(address) => Some(address.ip().to_canonical()),
            Self::Unix { .. } => None,
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix { .. } => f.write_str("unix"),
        }
    }
}

/// How a TCP connection notices that its peer has vanished. Zero = the system's default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpOptions {
    /// Silence after which the peer is probed.
    pub keepalive: Duration,
    /// TCP_USER_TIMEOUT. Off unless asked for: Linux counts a peer that is alive but does not read as well, and
    /// Postgres lets both a slow reader and a busy server take their time.
    pub user_timeout: Duration,
}

impl TcpOptions {
    /// Sets them, and TCP_NODELAY.
    pub fn apply(self, stream: &TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let socket = SockRef::from(stream);
        if !self.keepalive.is_zero() {
            let interval = (self.keepalive / 6).max(Duration::from_secs(1));
            let time = self.keepalive.max(Duration::from_secs(1));
            socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(time).with_interval(interval).with_retries(6))?;
        }
        if !self.user_timeout.is_zero() {
            socket.set_tcp_user_timeout(Some(self.user_timeout))?;
        }
        Ok(())
    }
}

impl Stream {
    /// Is it encrypted?
    pub fn is_tls(&self) -> bool {
        matches!(self, Self::ServerTls(_) | Self::ClientTls(_))
    }

    /// The certificate that the peer has shown.
    pub fn peer_certificate(&self) -> Option<&[u8]> {
        let chain = match self {
            Self::Tcp(_) | Self::Unix(_) => None,
            Self::ServerTls(stream) => stream.get_ref().1.peer_certificates(),
            Self::ClientTls(stream) => stream.get_ref().1.peer_certificates(),
        };
        chain?.first().map(AsRef::as_ref)
    }

    /// Our end; None over a Unix socket.
    pub fn local_address(&self) -> Option<SocketAddr> {
        self.tcp()?.local_addr().ok()
    }

    /// The other end; None over a Unix socket.
    pub fn peer_address(&self) -> Option<SocketAddr> {
        self.tcp()?.peer_addr().ok()
    }

    fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Self::Tcp(stream) => Some(stream),
            Self::Unix(_) => None,
            Self::ServerTls(stream) => Some(stream.get_ref().0),
            Self::ClientTls(stream) => Some(stream.get_ref().0),
        }
    }

    /// What has happened on a connection that should be quiet. No system call while the runtime has seen nothing arrive.
    pub fn idle(&self) -> Idle {
        if self.holds_plaintext() { Idle::Readable } else { self.peek() }
    }

    /// Ready as soon as the connection is anything but quiet.
    pub fn poll_idle(&self, cx: &mut Context<'_>) -> Poll<Idle> {
        loop {
            match self.idle() {
                // A peek that finds nothing clears the readiness, so the next round waits.
                Idle::Quiet => ready!(self.poll_read_ready(cx)).unwrap_or_default(),
                other @ (Idle::Readable | Idle::Closed) => return Poll::Ready(other),
            }
        }
    }

    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => stream.poll_read_ready(cx),
            Self::Unix(stream) => stream.poll_read_ready(cx),
            Self::ServerTls(stream) => stream.get_ref().0.poll_read_ready(cx),
            Self::ClientTls(stream) => stream.get_ref().0.poll_read_ready(cx),
        }
    }

    /// Decrypted bytes that nobody has read, or an end that was read together with them.
    fn holds_plaintext(&self) -> bool {
        match self {
            Self::Tcp(_) | Self::Unix(_) => false,
            Self::ServerTls(stream) => !stream.get_ref().1.wants_read(),
            Self::ClientTls(stream) => !stream.get_ref().1.wants_read(),
        }
    }

    fn peek(&self) -> Idle {
        let found = match self {
            Self::Tcp(stream) => peek_tcp(stream),
            Self::Unix(stream) => stream.try_io(Interest::READABLE, || peek_socket(SockRef::from(stream))),
            Self::ServerTls(stream) => peek_tcp(stream.get_ref().0),
            Self::ClientTls(stream) => peek_tcp(stream.get_ref().0),
        };
        match found {
            Ok(0) => Idle::Closed,
            Ok(_) => Idle::Readable,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Idle::Quiet,
            Err(_) => Idle::Closed,
        }
    }
}

fn peek_tcp(stream: &TcpStream) -> io::Result<usize> {
    stream.try_io(Interest::READABLE, || peek_socket(SockRef::from(stream)))
}

#[allow(clippy::needless_pass_by_value, reason = "a SockRef is made to be passed on")]
fn peek_socket(socket: SockRef<'_>) -> io::Result<usize> {
    socket.peek(&mut [MaybeUninit::uninit()])
}

/// The same call on whichever stream it is.
macro_rules! on_each {
    ($stream:expr, $inner:ident => $call:expr) => {
        match $stream.get_mut() {
            Stream::Tcp(inner) => {
                let $inner = Pin::new(inner);
                $call
            }
            Stream::Unix(inner) => {
                let $inner = Pin::new(inner);
                $call
            }
            Stream::ServerTls(inner) => {
                let $inner = Pin::new(inner.as_mut());
                $call
            }
            Stream::ClientTls(inner) => {
                let $inner = Pin::new(inner.as_mut());
                $call
            }
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        on_each!(self, inner => inner.poll_read(cx, buf))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        on_each!(self, inner => inner.poll_write(cx, buf))
    }

    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        on_each!(self, inner => inner.poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(inner) => inner.is_write_vectored(),
            Self::Unix(inner) => inner.is_write_vectored(),
            Self::ServerTls(inner) => inner.is_write_vectored(),
            Self::ClientTls(inner) => inner.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_each!(self, inner => inner.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_each!(self, inner => inner.poll_shutdown(cx))
    }
}
