//! Floor 2. May this batch be answered from memory? Only a whole one, Query or Bind to Sync, of a session in no transaction.

use std::sync::Arc;

use crate::cache::{Columns, Entry, Joined, Lookup, NoCache, Peek, ReadPlan};
use crate::error::Error;
use crate::pg::TransactionStatus;
use crate::plan::Plan;
use crate::query::{Statement, has_time_word};
use crate::session::{Pin, Unnamed, UnnamedId};
use crate::wire::frontend::{Bind, Describe, Execute, Parameters, Parse, Query, Target, tag};
use crate::wire::{Formats, Header, Oids};

use super::intake::Next;
use super::message::Message;
use super::synth::{self, Answering};
use super::{Engine, Finished, Stall, Want};

/// A batch that is one read.
struct ReadBatch<'a> {
    len: usize,
    text: &'a [u8],
    types: &'a [u8],
    class: Arc<Statement>,
    parse: Option<(&'a [u8], &'a [u8])>,
    parameters: Option<Parameters<'a>>,
    how: Answering,
}

/// What a [`ReadBatch`] lends from the session, which is to change while it is answered.
#[derive(Default)]
struct Kept {
    plan: Option<Arc<Plan>>,
    /// The body of a Parse.
    unnamed: Vec<u8>,
}

impl ReadBatch<'_> {
    /// What the parameters may bring in that the text does not show.
    fn obstacle(&self) -> Option<NoCache> {
        let user_type = Oids::from_bytes(self.types).is_none_or(|types| types.iter().any(|oid| oid.0 >= FIRST_USER_OID));
        let parameters = self.parameters.as_ref();
        let time_word = parameters.is_some_and(|parameters| {
            let mut values = parameters.values.iter().enumerate();
            values.any(|(at, value)| parameters.formats.of(at) == 0 && value.is_some_and(has_time_word))
        });
        // A type of a user brings its own operators and functions along.
        [(user_type, NoCache::UserType), (time_word, NoCache::TimeWord)]
            .into_iter()
            .find_map(|(holds, reason)| holds.then_some(reason))
    }
}

impl Engine {
    /// Whether a look into memory makes sense at this point of the stream at all.
    pub(super) fn may_read_memory(&self) -> bool {
        self.reads.is_some()
            && self.status == TransactionStatus::Idle
            && !self.unsettled
            && !self.open_batch
            // Half a message that nobody asked for has been passed on: nothing may come between it and its end.
            && self.rest_out.left == 0
            && self.server.as_ref().is_none_or(|server| server.ledger.is_idle() || server.ledger.ends_with_sync())
    }

    /// Tries to answer the batch that begins with `first`, as `input` does. `None`: it goes to a server.
    pub(super) fn recall(&mut self, first: &Message<'_>, input: &[u8]) -> Result<Option<Next>, Error> {
        // What was waited for is the answer of this batch, and must not outlive it.
        let joined = self.reads.as_mut().and_then(|reads| reads.joined.take());
        if !self.may_read_memory() || self.reads.as_ref().is_some_and(|reads| reads.decided) {
            return Ok(None);
        }
        let mut kept = Kept::default();
        let Some(batch) = self.read_batch(first, input, &mut kept) else { return Ok(None) };
        let Some(plan) = self.plan_of(&batch) else { return Ok(None) };
        let len = batch.len;
        match self.look_up(&batch, &plan, joined) {
            Found::Entry(entry) => {
                self.answer(&batch, &entry);
                self.offer_release();
                Ok(Some(Next::Took(len)))
            }
            Found::Wait(want) => {
                self.offer_release();
                Ok(Some(Next::Wants(want)))
            }
            Found::Nothing => {
                if let Some(reads) = self.reads.as_mut() {
                    reads.decided = true;
                }
                Ok(None)
            }
        }
    }

    fn plan_of(&self, batch: &ReadBatch<'_>) -> Option<Arc<ReadPlan>> {
        let (cache, reads) = (self.shared.cache.as_ref()?, self.reads.as_ref()?);
        let refused = if self.is_doubtful() || !self.session.pins.is_only(Pin::SessionMode) {
            NoCache::SessionState
        } else if !reads.reader.read_committed {
            NoCache::Isolation
        } else if let Some(reason) = batch.obstacle() {
            reason
        } else {
            match cache.read_plan(&batch.class, &reads.reader) {
                Ok(plan) => return Some(plan),
                Err(reason) => reason,
            }
        };
        self.bypass(refused);
        None
    }

    fn look_up(&mut self, batch: &ReadBatch<'_>, plan: &ReadPlan, joined: Option<Joined>) -> Found {
        let now = self.now;
        let behind = self.server.as_ref().is_some_and(|server| !server.ledger.is_idle());
        let (Some(cache), Some(reads)) = (self.shared.cache.as_ref(), self.reads.as_mut()) else { return Found::Nothing };
        if let Some(joined) = joined {
            return match joined {
                Joined::Entry(entry) => Found::Entry(entry),
                Joined::Alone => Found::Nothing,
            };
        }
        let writing = reads.is_writing();
        let columns = match batch.how {
            Answering::Simple | Answering::Extended { describe: true, .. } => Columns::Needed,
            Answering::Extended { describe: false, .. } => Columns::NotNeeded,
        };
        let builder = reads
            .key
            .restart()
            .part(reads.reader.role.as_bytes())
            .part(&reads.reader.settings)
            .part(batch.text)
            .part(batch.types);
        let key = add_parameters(builder, batch.parameters.as_ref()).finish();
        if behind {
            // Earlier replies are still to come: a look-up now would be one before its turn. Behind a write of its own it
            // would not even be one of the right moment.
            if writing || cache.database.peek(&key, plan, columns, now) != Peek::Hit {
                cache.database.count_bypass(NoCache::Batch);
                return Found::Nothing;
            }
            self.stall = Stall::UntilAnswered;
            return Found::Wait(Want::Replies);
        }
        match cache.database.lookup(&key, plan, columns, now) {
            Lookup::Hit(entry) => Found::Entry(entry),
            Lookup::Wait(join) => Found::Wait(Want::Flight(join)),
            Lookup::Fill(permit) => {
                reads.begin_fill(permit);
                Found::Nothing
            }
            Lookup::Bypass(_) => Found::Nothing,
        }
    }

    fn answer(&mut self, batch: &ReadBatch<'_>, entry: &Entry) {
        match (batch.how, batch.parse) {
            (Answering::Simple, _) => self.session.statements.unnamed = None,
            (Answering::Extended { .. }, Some((b"", message))) => {
                let id = UnnamedId(self.shared.next_epoch());
                let unnamed =
                    Unnamed { id, message: message.to_vec(), class: Arc::clone(&batch.class), epoch: self.session.epoch };
                self.session.statements.unnamed = Some(Box::new(unnamed));
            }
            (Answering::Extended { .. }, Some((name, _))) => {
                let plan = self.shared.plans.intern(batch.text, batch.types, self.session.epoch, &batch.class);
                self.session.statements.insert(name, plan);
            }
            (Answering::Extended { .. }, None) => {}
        }
        synth::answer(entry, batch.how, &mut self.client_out);
        self.finished = Some(Finished { statement: Arc::clone(&batch.class), hit: true, rows: entry.row_count });
        self.tally.batches += 1;
        self.tally.local += 1;
        self.tally.transactions += 1;
    }

    /// Reads `Query`, or `[Parse] Bind [Describe portal] Execute Sync`, all of the unnamed portal, all rows asked for.
    /// `kept` holds the statement's text when it lies in the session and not in the input.
    fn read_batch<'a>(&self, head: &Message<'_>, input: &'a [u8], kept: &'a mut Kept) -> Option<ReadBatch<'a>> {
        let mut cursor = Cursor { input, at: 0 };
        let (first, body) = cursor.next()?;
        if first == tag::QUERY {
            let text = Query::decode(body).ok()?.text;
            let class = self.class_of_text(head, text);
            let how = Answering::Simple;
            return Some(ReadBatch { len: cursor.at, text, types: b"", class, parse: None, parameters: None, how });
        }
        let (parse, bind) = match first {
            tag::PARSE if !self.session.materialised => {
                (Some((Parse::decode(body).ok()?, input.get(..cursor.at)?)), cursor.body_of(tag::BIND)?)
            }
            tag::BIND => (None, body),
            _ => return None,
        };
        let bind = Bind::decode(bind).ok()?;
        let mut next = cursor.next()?;
        let describe = next.0 == tag::DESCRIBE;
        if describe {
            let target = Describe::decode(next.1).ok()?;
            if target.target != Target::Portal || target.name != bind.portal {
                return None;
            }
            next = cursor.next()?;
        }
        let execute = Execute::decode((next.0 == tag::EXECUTE).then_some(next.1)?).ok()?;
        cursor.body_of(tag::SYNC).filter(|body| body.is_empty())?;
        let parameters = bind.parameters().ok()?;
        if !bind.portal.is_empty() || !execute.portal.is_empty() || execute.max_rows > 0 {
            return None;
        }
        let how = Answering::Extended { parse: parse.is_some(), describe };
        let len = cursor.at;
        match parse {
            Some((parse, message)) => {
                let taken = !parse.name.is_empty() && self.session.statements.get(parse.name).is_some();
                if taken || parse.name != bind.statement {
                    return None;
                }
                let class = self.class_of_text(head, parse.text);
                let types = parse.types.as_bytes();
                Some(ReadBatch {
                    len,
                    text: parse.text,
                    types,
                    class,
                    parse: Some((parse.name, message)),
                    parameters: Some(parameters),
                    how,
                })
            }
            None => self.known_batch(bind.statement, kept, len, parameters, how),
        }
    }

    fn known_batch<'a>(
        &self,
        name: &[u8],
        kept: &'a mut Kept,
        len: usize,
        parameters: Parameters<'a>,
        how: Answering,
    ) -> Option<ReadBatch<'a>> {
        let parameters = Some(parameters);
        if !name.is_empty() {
            let plan: &Plan = kept.plan.insert(Arc::clone(self.session.statements.get(name)?));
            let (text, types) = (plan.text(), plan.types());
            return Some(ReadBatch { len, text, types, class: Arc::clone(&plan.class), parse: None, parameters, how });
        }
        let unnamed = self.session.statements.unnamed.as_ref()?;
        kept.unnamed.extend_from_slice(unnamed.message.get(Header::LEN..)?);
        let parse = Parse::decode(&kept.unnamed).ok()?;
        let (text, types) = (parse.text, parse.types.as_bytes());
        Some(ReadBatch { len, text, types, class: Arc::clone(&unnamed.class), parse: None, parameters, how })
    }
}

/// Postgres's FirstNormalObjectId.
const FIRST_USER_OID: u32 = 16_384;

enum Found {
    Entry(Arc<Entry>),
    Wait(Want),
    Nothing,
}

struct Cursor<'a> {
    input: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    /// The next message, if it is all there.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let rest = self.input.get(self.at..)?;
        let header = Header::peek(rest).ok()??;
        let body = rest.get(Header::LEN..header.len)?;
        self.at += header.len;
        Some((header.tag, body))
    }

    fn body_of(&mut self, wanted: u8) -> Option<&'a [u8]> {
        self.next().filter(|(tag, _)| *tag == wanted).map(|(_, body)| body)
    }
}

/// Formats that are all text say nothing: a simple Query and a Bind without formats share an entry.
fn add_parameters<'k>(
    key: &'k mut crate::cache::KeyBuilder,
    parameters: Option<&Parameters<'_>>,
) -> &'k mut crate::cache::KeyBuilder {
    let Some(parameters) = parameters else {
        return key.part(b"").part(b"").part(b"");
    };
    key.part(telling(parameters.formats)).part(values(parameters)).part(telling(parameters.result_formats))
}

fn values<'a>(parameters: &Parameters<'a>) -> &'a [u8] {
    if parameters.values.is_empty() { b"" } else { parameters.values.as_bytes() }
}

fn telling(formats: Formats<'_>) -> &[u8] {
    if formats.iter().all(|format| format == 0) { b"" } else { formats.as_bytes() }
}
