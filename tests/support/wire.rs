//! A raw client: sends any bytes, hands out whole messages. A thread of its own reads, so that a large write never
//! waits for us to read.

use super::encode::Out;
use super::message::Message;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// How long anything may take before a test calls it a hang.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// What came next.
pub(crate) enum Received {
    Message(Message),
    Closed,
    Nothing,
}

/// One connection, after its StartupMessage.
pub(crate) struct Client {
    stream: TcpStream,
    messages: Receiver<Message>,
    key: Option<(i32, Vec<u8>)>,
}

impl Client {
    /// Connects and sends the StartupMessage; reads nothing.
    pub(crate) fn connect(addr: SocketAddr, parameters: &[(&str, &str)]) -> std::io::Result<Self> {
        let stream = TcpStream::connect_timeout(&addr, PATIENCE)?;
        stream.set_nodelay(true)?;
        let reader = stream.try_clone()?;
        let (sender, messages) = channel();
        std::thread::spawn(move || {
            let mut reader = std::io::BufReader::with_capacity(65_536, reader);
            while let Some(message) = read_message(&mut reader) {
                if sender.send(message).is_err() {
                    break;
                }
            }
        });
        let mut client = Self { stream, messages, key: None };
        client.send(&Out::startup(parameters).0);
        Ok(client)
    }

    /// Connects and waits for the first ReadyForQuery.
    pub(crate) fn login(addr: SocketAddr, parameters: &[(&str, &str)]) -> Self {
        let mut client = Self::connect(addr, parameters).unwrap_or_else(|error| panic!("cannot connect to {addr}: {error}"));
        let greeting = client.until_ready(1);
        if let Some(error) = greeting.iter().find(|message| message.tag == b'E') {
            panic!("login at {addr} with {parameters:?} refused: {:?}", error.field(b'M'));
        }
        client
    }

    pub(crate) fn try_login(addr: SocketAddr, parameters: &[(&str, &str)]) -> Option<Self> {
        let mut client = Self::connect(addr, parameters).ok()?;
        loop {
            match client.next(PATIENCE) {
                Received::Message(message) if message.tag == b'Z' => return Some(client),
                Received::Message(message) if message.tag != b'E' => {}
                _ => return None,
            }
        }
    }

    /// The cancel key of this connection.
    pub(crate) fn key(&self) -> (i32, Vec<u8>) {
        self.key.clone().expect("the login gave a BackendKeyData")
    }

    /// Sends bytes. A peer that has closed already is no error here: what it said last is still to be read.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    pub(crate) fn next(&mut self, limit: Duration) -> Received {
        match self.messages.recv_timeout(limit) {
            Ok(message) => {
                if message.tag == b'K' && message.body.len() >= 8 {
                    let (pid, secret) = message.body.split_at(4);
                    self.key = Some((i32::from_be_bytes(pid.try_into().unwrap()), secret.to_vec()));
                }
                Received::Message(message)
            }
            Err(RecvTimeoutError::Timeout) => Received::Nothing,
            Err(RecvTimeoutError::Disconnected) => Received::Closed,
        }
    }

    /// All messages up to the `count`-th ReadyForQuery; fewer if the connection is closed. Panics on a hang.
    pub(crate) fn until_ready(&mut self, count: usize) -> Vec<Message> {
        let mut found = Vec::new();
        let mut ready = 0;
        while ready < count {
            match self.next(PATIENCE) {
                Received::Message(message) => {
                    ready += usize::from(message.tag == b'Z');
                    found.push(message);
                }
                Received::Closed => break,
                Received::Nothing => panic!("no answer in {PATIENCE:?}; so far: {}", tags(&found)),
            }
        }
        found
    }

    /// A simple Query and all of its answer.
    pub(crate) fn query(&mut self, text: &str) -> Vec<Message> {
        self.send(&Out::new().query(text).0);
        self.until_ready(1)
    }

    /// A simple Query that must succeed; its rows.
    pub(crate) fn rows(&mut self, text: &str) -> Vec<Vec<Option<String>>> {
        rows(&self.query(text), text)
    }

    /// The single value of a simple Query that must succeed.
    pub(crate) fn value(&mut self, text: &str) -> String {
        let rows = self.rows(text);
        let value = rows.first().and_then(|row| row.first()).cloned().flatten();
        value.unwrap_or_else(|| panic!("{text}: no value in {rows:?}"))
    }

    /// Says that nothing more will come, and goes on reading.
    pub(crate) fn half_close(&mut self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// Gone without a Terminate, as a killed application is.
    pub(crate) fn vanish(self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    /// True once the peer has closed.
    pub(crate) fn closed_within(&mut self, limit: Duration) -> bool {
        let end = Instant::now() + limit;
        loop {
            match self.next(end.saturating_duration_since(Instant::now())) {
                Received::Closed => return true,
                Received::Nothing => return false,
                Received::Message(_) => {}
            }
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.stream.write_all(&Out::new().terminate().0);
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

/// Logs in (where that takes no password), sends `bytes`, and never reads.
pub(crate) fn deaf(addr: SocketAddr, parameters: &[(&str, &str)], bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect_timeout(&addr, PATIENCE).expect("the listener accepts");
    stream.write_all(&Out::startup(parameters).0).unwrap();
    stream.write_all(bytes).unwrap();
    stream
}

/// Sends a CancelRequest on a connection of its own and waits until the peer has closed it.
pub(crate) fn cancel(addr: SocketAddr, key: &(i32, Vec<u8>)) {
    let mut stream = TcpStream::connect_timeout(&addr, PATIENCE).expect("the listener accepts");
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(&Out::cancel(key.0, &key.1).0).unwrap();
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    assert!(rest.is_empty(), "a CancelRequest is never answered, got {rest:?}");
}

/// The rows of an answer that must hold no error.
pub(crate) fn rows(answer: &[Message], what: &str) -> Vec<Vec<Option<String>>> {
    if let Some(error) = error(answer) {
        panic!("{what}: {} {}", error.field(b'C').unwrap_or_default(), error.field(b'M').unwrap_or_default());
    }
    assert!(answer.last().is_some_and(|message| message.tag == b'Z'), "{what}: connection closed after {}", tags(answer));
    answer.iter().filter(|message| message.tag == b'D').map(Message::columns).collect()
}

/// The first ErrorResponse of an answer.
pub(crate) fn error(answer: &[Message]) -> Option<&Message> {
    answer.iter().find(|message| message.tag == b'E')
}

/// SQLSTATE of the first ErrorResponse.
pub(crate) fn sqlstate(answer: &[Message]) -> Option<String> {
    error(answer).and_then(|message| message.field(b'C'))
}

/// Tags as one word, for failure lines.
pub(crate) fn tags(messages: &[Message]) -> String {
    messages.iter().map(|message| message.tag as char).collect()
}

fn read_message(reader: &mut impl Read) -> Option<Message> {
    let mut head = [0; 5];
    reader.read_exact(&mut head).ok()?;
    let len = u32::from_be_bytes(head[1..].try_into().ok()?) as usize;
    let mut body = vec![0; len.checked_sub(4)?];
    reader.read_exact(&mut body).ok()?;
    Some(Message { tag: head[0], body })
}
