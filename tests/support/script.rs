//! The language of tests/scripts/*.wire: one line, one step.
//!
//! ```text
//! # free text; `# ignore: NotificationResponse` drops such lines from the comparison; `# blur: F L R` drops these fields of
//!   errors; `# only: straight session ..` limits the doors
//! setup create table t (a int)        run first, through the same door, not compared
//! C: Query "select 1"                 a frontend message; messages gather and go out in one write
//! wait Z | wait Z 3 | wait 5 | wait G | wait closed | pause
//! connection B application_name=x     switch, or connect; the first is A
//! reconnect                           Terminate and log in again
//! vanish                              close the socket without a word
//! straddle                            send what has gathered once per byte offset, cut in two there
//! bytes                               send what has gathered byte by byte
//! repeat 5 ... end
//! ```
//!
//! Messages: `Query text`, `Parse name text [oids]`, `Bind portal statement [formats] [values] [formats]`, `Describe S|P name`,
//! `Execute portal rows`, `Close S|P name`, `Sync`, `Flush`, `CopyData text`, `CopyDone`, `CopyFail text`,
//! `FunctionCall oid [formats] [values] format`, `Terminate`, `raw 51 00 ..`. A value is a word, a "string" (escapes \n \t \\ \"
//! \x00), a "string"*1000 repeated, or null.

use super::encode::{Out, Value};

/// One script, read.
pub(crate) struct Script {
    pub(crate) name: String,
    /// Message names whose lines are not compared.
    pub(crate) ignore: Vec<String>,
    /// Fields of ErrorResponse and NoticeResponse that are not compared.
    pub(crate) blur: Vec<String>,
    /// The doors it may be played through; empty = all.
    pub(crate) only: Vec<String>,
    pub(crate) setup: Vec<String>,
    pub(crate) steps: Vec<Step>,
}

/// One thing to do.
#[derive(Clone)]
pub(crate) enum Step {
    Send(String, Out),
    Wait(Until),
    Connection(String, Vec<(String, String)>),
    Reconnect,
    Vanish,
    Straddle,
    Bytes,
}

/// What ends a wait.
#[derive(Clone)]
pub(crate) enum Until {
    Tag(u8, usize),
    Count(usize),
    Closed,
    Idle,
}

impl Script {
    pub(crate) fn parse(name: &str, text: &str) -> Self {
        let mut script = Self { name: name.into(), ignore: vec![], blur: vec![], only: vec![], setup: vec![], steps: vec![] };
        let mut open: Option<(usize, usize)> = None;
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            let fail = |what: &str| -> ! { panic!("{name}.wire:{}: {what}: {line}", number + 1) };
            let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
            match word {
                "" => {}
                "#" => script.head(rest),
                "setup" => script.setup.push(rest.into()),
                "repeat" => open = Some((script.steps.len(), rest.parse().unwrap_or_else(|_| fail("a number is due")))),
                "end" => {
                    let (start, times) = open.take().unwrap_or_else(|| fail("nothing to end"));
                    let body = script.steps.split_off(start);
                    (0..times).for_each(|_| script.steps.extend(body.iter().cloned()));
                }
                _ => match step(word, rest) {
                    Some(step) => script.steps.push(step),
                    None => fail("not understood"),
                },
            }
        }
        assert!(open.is_none(), "{name}.wire: repeat without end");
        script
    }

    fn head(&mut self, comment: &str) {
        if let Some(list) = comment.strip_prefix("ignore:") {
            self.ignore.extend(list.split_whitespace().map(str::to_string));
        } else if let Some(list) = comment.strip_prefix("blur:") {
            self.blur.extend(list.split_whitespace().map(str::to_string));
        } else if let Some(list) = comment.strip_prefix("only:") {
            self.only.extend(list.split_whitespace().map(str::to_string));
        }
    }
}

fn step(word: &str, rest: &str) -> Option<Step> {
    Some(match word {
        "C:" => Step::Send(rest.into(), message(rest)?),
        "wait" => Step::Wait(until(rest)?),
        "pause" => Step::Wait(Until::Idle),
        "reconnect" => Step::Reconnect,
        "vanish" => Step::Vanish,
        "straddle" => Step::Straddle,
        "bytes" => Step::Bytes,
        "connection" => {
            let mut words = rest.split_whitespace();
            let name = words.next()?.to_string();
            let pairs = words.map(|word| word.split_once('=').map(|(k, v)| (k.to_string(), v.to_string())));
            Step::Connection(name, pairs.collect::<Option<_>>()?)
        }
        _ => return None,
    })
}

fn until(rest: &str) -> Option<Until> {
    let (what, count) = rest.split_once(' ').unwrap_or((rest, "1"));
    let count = count.parse().ok()?;
    match what.as_bytes() {
        b"closed" => Some(Until::Closed),
        [tag] if !tag.is_ascii_digit() => Some(Until::Tag(*tag, count)),
        _ => what.parse().ok().map(Until::Count),
    }
}

fn message(text: &str) -> Option<Out> {
    let mut words = Words(text.trim());
    let out = Out::new();
    let made = match words.word()?.as_str() {
        "Query" => out.query(&words.word()?),
        "Parse" => out.parse(&words.word()?, &words.word()?, &words.numbers()?),
        "Bind" => out.bind(&words.word()?, &words.word()?, &words.numbers()?, &words.values()?, &words.numbers()?),
        "Describe" => out.describe(words.word()?.bytes().next()?, &words.word()?),
        "Close" => out.close(words.word()?.bytes().next()?, &words.word()?),
        "Execute" => out.execute(&words.word()?, words.word()?.parse().ok()?),
        "FunctionCall" => {
            let oid = words.word()?.parse().ok()?;
            out.function_call(oid, &words.numbers()?, &words.values()?, words.word()?.parse().ok()?)
        }
        "CopyData" => out.copy_data(&words.value()??),
        "CopyDone" => out.copy_done(),
        "CopyFail" => out.copy_fail(&words.word()?),
        "Sync" => out.sync(),
        "Flush" => out.flush(),
        "Terminate" => out.terminate(),
        "raw" => {
            let bytes = std::mem::take(&mut words.0).split_whitespace().map(|hex| u8::from_str_radix(hex, 16).ok());
            Out(bytes.collect::<Option<_>>()?)
        }
        _ => return None,
    };
    words.0.trim().is_empty().then_some(made)
}

/// Reads a message line from its start.
struct Words<'a>(&'a str);

impl Words<'_> {
    fn word(&mut self) -> Option<String> {
        self.value()?.map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// A word or string; `Some(None)` is null.
    fn value(&mut self) -> Option<Value> {
        self.0 = self.0.trim_start();
        if self.0.starts_with('"') {
            return self.string().map(Some);
        }
        let len = self.0.find(|c: char| c.is_whitespace() || c == ']').unwrap_or(self.0.len());
        let (word, rest) = self.0.split_at(len);
        self.0 = rest;
        match word {
            "" => None,
            "null" => Some(None),
            word => Some(Some(word.as_bytes().to_vec())),
        }
    }

    fn string(&mut self) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        let mut bytes = self.0.bytes().enumerate().skip(1);
        let end = loop {
            match bytes.next()? {
                (index, b'"') => break index + 1,
                (_, b'\\') => out.push(match bytes.next()?.1 {
                    b'n' => b'\n',
                    b't' => b'\t',
                    b'x' => {
                        let digits = [bytes.next()?.1, bytes.next()?.1];
                        u8::from_str_radix(str::from_utf8(&digits).ok()?, 16).ok()?
                    }
                    other => other,
                }),
                (_, byte) => out.push(byte),
            }
        };
        self.0 = &self.0[end..];
        if let Some(rest) = self.0.strip_prefix('*') {
            let len = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            let (times, rest) = rest.split_at(len);
            self.0 = rest;
            out = out.repeat(times.parse().ok()?);
        }
        Some(out)
    }

    /// `[..]`, or nothing at all for an empty list at the end of a line.
    fn values(&mut self) -> Option<Vec<Value>> {
        self.0 = self.0.trim_start();
        let Some(rest) = self.0.strip_prefix('[') else {
            return self.0.is_empty().then(Vec::new);
        };
        self.0 = rest;
        let mut out = Vec::new();
        loop {
            self.0 = self.0.trim_start();
            if let Some(rest) = self.0.strip_prefix(']') {
                self.0 = rest;
                return Some(out);
            }
            out.push(self.value()?);
        }
    }

    fn numbers<T: std::str::FromStr>(&mut self) -> Option<Vec<T>> {
        let values = self.values()?.into_iter();
        values.map(|value| String::from_utf8(value?).ok()?.parse().ok()).collect()
    }
}
