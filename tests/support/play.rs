//! Plays a script at one address and writes down everything that was said.

use super::encode::Out;
use super::message::{Ids, render};
use super::script::{Script, Step, Until};
use super::wire::{Client, PATIENCE, Received};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Silence that ends a `pause`. Long enough for a loaded machine, as everything before it has been waited for by count.
const SILENCE: Duration = Duration::from_millis(250);

/// Plays the whole script; the transcript has a line per message, both ways.
pub(crate) fn play(script: &Script, addr: SocketAddr, database: &str) -> Vec<String> {
    let mut setup = Client::login(addr, &[("user", "app"), ("database", database)]);
    for statement in &script.setup {
        setup.rows(statement);
    }
    drop(setup);
    let mut player = Player {
        addr,
        database: database.into(),
        transcript: Vec::new(),
        ids: Ids::default(),
        clients: BTreeMap::new(),
        current: "A".into(),
        gathered: Out::new(),
        stuck: false,
    };
    player.connect("A", Vec::new());
    for step in &script.steps {
        player.step(step);
        if player.stuck {
            break;
        }
    }
    player.finish();
    let mut transcript = player.transcript;
    transcript.retain(|line| !script.ignore.iter().any(|name| line.contains(&format!("< {name}"))));
    for line in transcript.iter_mut().filter(|line| line.contains("< ErrorResponse") || line.contains("< NoticeResponse")) {
        for field in &script.blur {
            *line = without_field(line, field);
        }
    }
    transcript
}

/// A rendered error without one of its fields.
fn without_field(line: &str, field: &str) -> String {
    let Some((head, tail)) = line.split_once(&format!(" {field}=\"")) else {
        return line.into();
    };
    let rest = tail.split_once('"').map_or("", |(_, rest)| rest);
    format!("{head}{rest}")
}

/// One open connection and what it logged in with.
struct Open {
    client: Client,
    parameters: Vec<(String, String)>,
}

struct Player {
    addr: SocketAddr,
    database: String,
    transcript: Vec<String>,
    ids: Ids,
    clients: BTreeMap<String, Open>,
    current: String,
    gathered: Out,
    stuck: bool,
}

impl Player {
    fn step(&mut self, step: &Step) {
        match step {
            Step::Send(text, out) => {
                self.transcript.push(format!("{}> {}", self.current, shortened(text)));
                self.gathered.0.extend(&out.0);
            }
            Step::Wait(until) => {
                self.write();
                self.wait(until);
            }
            Step::Connection(name, parameters) => {
                self.write();
                self.current = name.clone();
                if !self.clients.contains_key(name) {
                    self.connect(name, parameters.clone());
                }
            }
            Step::Reconnect => {
                self.write();
                let name = self.current.clone();
                let parameters = self.clients.remove(&name).map(|open| open.parameters).unwrap_or_default();
                self.connect(&name, parameters);
            }
            Step::Vanish => {
                self.write();
                let name = self.current.clone();
                if let Some(open) = self.clients.remove(&name) {
                    open.client.vanish();
                }
            }
            Step::Straddle => self.straddle(),
            Step::Bytes => {
                let bytes = std::mem::take(&mut self.gathered.0);
                for byte in bytes {
                    self.send(&[byte]);
                    std::thread::sleep(Duration::from_micros(300));
                }
            }
        }
    }

    fn connect(&mut self, name: &str, parameters: Vec<(String, String)>) {
        let mut all = vec![("user", "app"), ("database", self.database.as_str())];
        all.extend(parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        match Client::connect(self.addr, &all) {
            Ok(client) => {
                self.clients.insert(name.into(), Open { client, parameters });
                self.transcript.push(format!("{name}> StartupMessage"));
                self.wait(&Until::Tag(b'Z', 1));
            }
            Err(error) => {
                self.transcript.push(format!("{name}< cannot connect: {error}"));
                self.stuck = true;
            }
        }
    }

    fn write(&mut self) {
        let bytes = std::mem::take(&mut self.gathered.0);
        self.send(&bytes);
    }

    fn send(&mut self, bytes: &[u8]) {
        if let Some(open) = self.clients.get_mut(&self.current) {
            open.client.send(bytes);
        }
    }

    /// Sends what has gathered once for each byte offset, cut in two there, and waits for all answers each time.
    fn straddle(&mut self) {
        let bytes = std::mem::take(&mut self.gathered.0);
        let ready = ready_owed(&bytes);
        for offset in 1..bytes.len() {
            let (head, tail) = bytes.split_at(offset);
            self.send(head);
            std::thread::sleep(Duration::from_millis(1));
            self.send(tail);
            self.wait(&Until::Tag(b'Z', ready));
            if self.stuck {
                return;
            }
        }
    }

    fn wait(&mut self, until: &Until) {
        let mut seen = 0;
        loop {
            let enough = match until {
                Until::Tag(_, count) | Until::Count(count) => seen == *count,
                Until::Closed | Until::Idle => false,
            };
            if enough {
                return;
            }
            let limit = if matches!(until, Until::Idle) { SILENCE } else { PATIENCE };
            let Some(tag) = self.receive(limit) else {
                let waiting = matches!(until, Until::Tag(..) | Until::Count(_));
                let silent = matches!(until, Until::Closed) && self.clients.contains_key(&self.current);
                self.stuck |= waiting || silent;
                return;
            };
            seen += match until {
                Until::Tag(wanted, _) => usize::from(tag == *wanted),
                Until::Count(_) | Until::Closed | Until::Idle => 1,
            };
        }
    }

    /// Notes one message of the current connection; None when there is none in time, or the peer has closed.
    fn receive(&mut self, limit: Duration) -> Option<u8> {
        let name = self.current.clone();
        let open = self.clients.get_mut(&name)?;
        match open.client.next(limit) {
            Received::Message(message) => {
                let line = render(&message, &mut self.ids);
                self.transcript.push(format!("{name}< {line}"));
                Some(message.tag)
            }
            Received::Closed => {
                self.transcript.push(format!("{name}< closed"));
                self.clients.remove(&name);
                None
            }
            Received::Nothing => {
                if limit >= PATIENCE {
                    self.transcript.push(format!("{name}< NOTHING for {limit:?}"));
                }
                None
            }
        }
    }

    /// Ends every connection and notes what was still on its way: a stray message is a difference too.
    fn finish(&mut self) {
        self.write();
        let names: Vec<String> = self.clients.keys().cloned().collect();
        for name in names {
            self.current = name;
            self.transcript.push(format!("{}> end", self.current));
            self.send(&Out::new().terminate().0);
            let end = Instant::now() + PATIENCE;
            while !self.stuck && self.clients.contains_key(&self.current) && Instant::now() < end {
                self.receive(PATIENCE);
            }
        }
    }
}

/// How many ReadyForQuery a write asks for: one per Query, FunctionCall and Sync.
pub(crate) fn ready_owed(mut bytes: &[u8]) -> usize {
    let mut owed = 0;
    while let [tag, a, b, c, d, ..] = bytes {
        owed += usize::from(matches!(tag, b'Q' | b'S' | b'F'));
        let len = u32::from_be_bytes([*a, *b, *c, *d]) as usize + 1;
        bytes = bytes.get(len..).unwrap_or_default();
    }
    owed
}

fn shortened(text: &str) -> String {
    if text.chars().count() <= 160 { text.into() } else { text.chars().take(160).chain("...".chars()).collect() }
}
