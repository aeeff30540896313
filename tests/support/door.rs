//! A door in front of Postgres that treats cancel requests specially: holds them up, swallows them, counts them.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

/// What becomes of a cancel request.
#[derive(Clone, Copy)]
pub(crate) enum Treat {
    /// It goes on after so long.
    Delay(Duration),
    /// It goes nowhere, and the connection stays open.
    Swallow,
}

#[derive(Default)]
struct Counts {
    open: AtomicUsize,
    most: AtomicUsize,
    all: AtomicUsize,
    encrypted: AtomicUsize,
}

pub(crate) struct Door {
    port: u16,
    counts: Arc<Counts>,
}

impl Door {
    /// In front of the server at `to`.
    pub(crate) fn open(to: SocketAddr, treat: Treat) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().unwrap().port();
        let counts = Arc::new(Counts::default());
        let shared = Arc::clone(&counts);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let counts = Arc::clone(&shared);
                std::thread::spawn(move || pass(stream, to, treat, &counts));
            }
        });
        Self { port, counts }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Cancel requests in the clear: all of them, and the most at once.
    pub(crate) fn cancels(&self) -> (usize, usize) {
        (self.counts.all.load(SeqCst), self.counts.most.load(SeqCst))
    }

    /// Connections that asked for TLS first.
    pub(crate) fn encrypted(&self) -> usize {
        self.counts.encrypted.load(SeqCst)
    }
}

fn pass(mut client: TcpStream, to: SocketAddr, treat: Treat, counts: &Counts) {
    let mut head = [0; 8];
    if client.read_exact(&mut head).is_err() {
        return;
    }
    let code = u32::from_be_bytes(head[4..].try_into().unwrap());
    counts.encrypted.fetch_add(usize::from(code == 80_877_103), SeqCst);
    let is_cancel = code == 80_877_102;
    if is_cancel {
        counts.all.fetch_add(1, SeqCst);
        counts.most.fetch_max(counts.open.fetch_add(1, SeqCst) + 1, SeqCst);
        match treat {
            Treat::Delay(time) => std::thread::sleep(time),
            Treat::Swallow => {
                let _ = client.read_to_end(&mut Vec::new());
                return;
            }
        }
    }
    let Ok(mut server) = TcpStream::connect(to) else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true), server.write_all(&head));
    let (mut up, mut down) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    let upward = std::thread::spawn(move || {
        let _ = std::io::copy(&mut up, &mut server);
        let _ = server.shutdown(Shutdown::Write);
    });
    let _ = std::io::copy(&mut down, &mut client);
    // Before pgdial sees the end: it may begin the next at once.
    counts.open.fetch_sub(usize::from(is_cancel), SeqCst);
    let _ = client.shutdown(Shutdown::Both);
    let _ = upward.join();
}
