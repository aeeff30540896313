//! Clients, links, servers and the pool; one step at a time, in an order that the seed decides.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use pgdial::cache::Join;
use pgdial::engine::{Engine, Parameters, Reader, Release, Server, Shared, StandIn, Want};
use pgdial::error::{Error, Kind};

use super::model::{Db, Model};
use super::rng::Rng;
use super::traffic::Habits;
use super::transcript::{Row, Transcript};

/// What begins pgdial's own statement names.
pub(crate) const PREFIX: &str = "_pgd_7_";

/// One run.
pub(crate) struct World {
    rng: Rng,
    shared: Arc<Shared>,
    reader: Arc<Reader>,
    clients: Vec<Client>,
    idle: Vec<Process>,
    waiting: VecDeque<usize>,
    limit: usize,
    plans: usize,
    db: Db,
    /// The newest value of each row that any client knows to be committed.
    acknowledged: BTreeMap<Row, u64>,
    now: Instant,
    faults: bool,
    /// What was done, for a failure.
    pub(crate) trace: Vec<String>,
}

struct Process {
    state: Option<Box<Server>>,
    model: Model,
    /// Written, not yet read by it.
    link: Vec<u8>,
}

enum Wait {
    Input,
    Server,
    Replies,
    Flight(Join),
}

struct Client {
    engine: Engine,
    habits: Habits,
    batches: usize,
    /// Sent, not yet read by pgdial.
    link: Vec<u8>,
    inbox: Vec<u8>,
    server: Option<Process>,
    server_inbox: Vec<u8>,
    wait: Wait,
    transcript: Transcript,
    /// It is gone; its server may be being cleaned.
    gone: bool,
}

/// What is wrong.
pub(crate) type Verdict = Result<(), String>;

#[derive(Clone, Copy, Debug)]
enum Step {
    Send(usize),
    Uplink(usize),
    ToServer(usize),
    FromServer(usize),
    Lost(usize),
    Grant,
    Flight(usize),
    Release(usize),
    HangUp(usize),
    Crash(usize),
    Notice(usize),
    LoseIdle,
}

impl World {
    pub(crate) fn new(seed: u64, shared: &Arc<Shared>, reader: Arc<Reader>) -> Self {
        let mut rng = Rng::new(seed);
        let now = Instant::now();
        let (pins, copies, busy_rows) = (rng.chance(30), rng.chance(60), rng.chance(40));
        let parameters: Arc<Parameters> = Arc::new(parameters());
        let client = |at: usize| Client {
            engine: Engine::new(Arc::clone(shared), Arc::clone(&reader), Arc::clone(&parameters), now),
            habits: Habits { tag: format!("c{at}"), pins, copies, busy_rows },
            batches: 0,
            link: Vec::new(),
            inbox: Vec::new(),
            server: None,
            server_inbox: Vec::new(),
            wait: Wait::Input,
            transcript: Transcript::default(),
            gone: false,
        };
        let mut clients: Vec<Client> = (0..1 + rng.below(4)).map(client).collect();
        clients.iter_mut().for_each(|client| client.batches = 2 + rng.below(10));
        let (limit, plans, faults) = (1 + rng.below(3), 1 + rng.below(4), rng.chance(40));
        Self {
            rng,
            shared: Arc::clone(shared),
            reader,
            clients,
            idle: Vec::new(),
            waiting: VecDeque::new(),
            limit,
            plans,
            db: Db::default(),
            acknowledged: BTreeMap::new(),
            now,
            faults,
            trace: Vec::new(),
        }
    }

    /// Answers from memory, reads of another client that were shared, and answers that were kept.
    pub(crate) fn served(&self) -> [u64; 3] {
        self.shared.cache.as_ref().map_or([0; 3], |cache| {
            let totals = cache.database.totals();
            [totals.hits, totals.waits, totals.fills]
        })
    }

    /// Until nothing is left to do.
    pub(crate) fn run(&mut self) -> Verdict {
        for _ in 0..MAX_STEPS {
            let steps = self.possible();
            if steps.is_empty() {
                if !self.end_of_a_session()? {
                    return self.all_well();
                }
                continue;
            }
            let step = *self.rng.pick(&steps);
            self.trace.push(format!("{step:?}"));
            self.now += Duration::from_millis(1);
            self.step(step)?;
            let leased = self.clients.iter().filter(|client| client.server.is_some()).count();
            if leased + self.idle.len() > self.limit {
                return Err(format!("{leased} leased and {} idle servers of {}", self.idle.len(), self.limit));
            }
        }
        Err("it does not come to an end".to_owned())
    }

    fn possible(&mut self) -> Vec<Step> {
        let mut steps = Vec::new();
        for (at, client) in self.clients.iter().enumerate() {
            if client.transcript.waived && !client.gone {
                return vec![Step::HangUp(at)];
            }
            if !client.gone {
                let more = client.batches > 0;
                steps.extend(more.then_some(Step::Send(at)));
                steps.extend((!client.link.is_empty()).then_some(Step::Uplink(at)));
                steps.extend(
                    matches!(&client.wait, Wait::Flight(join) if join.try_landed().is_some()).then_some(Step::Flight(at)),
                );
                if self.faults && more && self.rng.chance(2) {
                    steps.push(Step::HangUp(at));
                }
            }
            steps.extend(client.engine.wants_release().then_some(Step::Release(at)));
            let Some(server) = client.server.as_ref() else { continue };
            if server.model.dead {
                steps.push(if server.model.out.is_empty() { Step::Lost(at) } else { Step::FromServer(at) });
                continue;
            }
            steps.extend((!server.link.is_empty()).then_some(Step::ToServer(at)));
            steps.extend((!server.model.out.is_empty()).then_some(Step::FromServer(at)));
            if self.faults && client.batches > 0 && self.rng.chance(3) {
                steps.push(if self.rng.chance(20) { Step::Crash(at) } else { Step::Notice(at) });
            }
        }
        let leased = self.clients.iter().filter(|client| client.server.is_some()).count();
        if !self.waiting.is_empty() && leased < self.limit {
            steps.push(Step::Grant);
        }
        if self.faults && !self.idle.is_empty() && self.clients.iter().any(|client| client.batches > 0) && self.rng.chance(1) {
            steps.push(Step::LoseIdle);
        }
        steps
    }

    fn step(&mut self, step: Step) -> Verdict {
        match step {
            Step::Send(at) => self.send(at),
            Step::Uplink(at) => self.uplink(at),
            Step::ToServer(at) => self.server_reads(at),
            Step::FromServer(at) => self.server_says(at),
            Step::Lost(at) => self.lose(at, "the connection to Postgres was lost"),
            Step::Grant => self.grant(),
            Step::Flight(at) => self.flight(at),
            Step::Release(at) => self.release(at),
            Step::HangUp(at) => self.hang_up(at),
            Step::Crash(at) => {
                let politely = self.rng.chance(50);
                self.clients[at].transcript.may_end = true;
                self.with_model(at, |model| model.crash(politely))
            }
            Step::Notice(at) => self.with_model(at, Model::asynchronous),
            Step::LoseIdle => {
                self.idle.pop();
                Ok(())
            }
        }
    }

    fn with_model(&mut self, at: usize, act: impl FnOnce(&mut Model)) -> Verdict {
        if let Some(server) = self.clients[at].server.as_mut() {
            act(&mut server.model);
        }
        Ok(())
    }

    fn send(&mut self, at: usize) -> Verdict {
        let client = &mut self.clients[at];
        client.batches -= 1;
        let batch = client.habits.batch(&mut self.rng);
        client.transcript.expect(&batch, &self.acknowledged);
        self.trace.push(format!("  {}", super::transcript::frontend_words(&batch)));
        client.link.extend_from_slice(&batch);
        Ok(())
    }

    /// All of what is there, or a part of it that ends anywhere.
    fn part(rng: &mut Rng, link: &mut Vec<u8>) -> Vec<u8> {
        let n = if rng.chance(50) { link.len() } else { 1 + rng.below(link.len().min(4096)) };
        link.drain(..n.min(link.len())).collect()
    }

    fn uplink(&mut self, at: usize) -> Verdict {
        let client = &mut self.clients[at];
        let part = Self::part(&mut self.rng, &mut client.link);
        client.inbox.extend_from_slice(&part);
        if matches!(client.wait, Wait::Input) { self.feed(at) } else { Ok(()) }
    }

    /// As the relay does it.
    fn feed(&mut self, at: usize) -> Verdict {
        let client = &mut self.clients[at];
        if client.gone {
            return Ok(());
        }
        let taken =
            client.engine.on_client(&client.inbox, self.now).map_err(|error| format!("c{at} refused: {}", error.message()))?;
        let mut bytes = std::mem::take(&mut client.engine.server_out);
        bytes.extend_from_slice(&client.inbox[taken.relay]);
        client.inbox.drain(..taken.consumed);
        match client.server.as_mut() {
            Some(server) => server.link.extend_from_slice(&bytes),
            None if bytes.is_empty() => {}
            None => return Err(format!("c{at} has bytes for a server that it does not have")),
        }
        self.tell(at, &[])?;
        let client = &mut self.clients[at];
        match taken.want {
            Want::Input { .. } => client.wait = Wait::Input,
            Want::Replies => client.wait = Wait::Replies,
            Want::Gate(_) => return Err(format!("c{at} waits for a connection that there is not")),
            Want::Goodbye => return self.hang_up(at),
            Want::Flight(join) => {
                client.wait = Wait::Flight(join);
                return self.release(at);
            }
            Want::Server => {
                if client.server.is_some() {
                    return Err(format!("c{at} wants a second server"));
                }
                client.wait = Wait::Server;
                self.waiting.push_back(at);
            }
        }
        Ok(())
    }

    /// Gives the client what its engine has written.
    fn tell(&mut self, at: usize, relay: &[u8]) -> Verdict {
        let client = &mut self.clients[at];
        let mut bytes = std::mem::take(&mut client.engine.client_out);
        bytes.extend_from_slice(relay);
        if client.gone {
            return Ok(());
        }
        let outcome = client.transcript.got(&bytes, &mut self.acknowledged, &self.db).map_err(|what| format!("c{at}: {what}"));
        self.trace.push(format!("  c{at} reads {}", client.transcript.heard.drain(..).collect::<String>()));
        outcome
    }

    fn grant(&mut self) -> Verdict {
        let Some(at) = self.waiting.pop_front() else { return Ok(()) };
        let client = &mut self.clients[at];
        if client.gone {
            return Ok(());
        }
        let mut process = self.idle.pop().unwrap_or_else(|| Process {
            state: Some(Box::new({
                let mut state = Server::new(None, Arc::new(parameters()), Arc::clone(&self.reader), self.plans);
                state.stand_in = StandIn::Ready;
                state
            })),
            model: Model::new(&self.db).with_statement(&self.shared.plans.stand_in()),
            link: Vec::new(),
        });
        if let Some(state) = process.state.take() {
            client.engine.lease(state);
        }
        client.server = Some(process);
        client.wait = Wait::Input;
        self.feed(at)
    }

    fn server_reads(&mut self, at: usize) -> Verdict {
        let client = &mut self.clients[at];
        let Some(server) = client.server.as_mut() else { return Ok(()) };
        let part = Self::part(&mut self.rng, &mut server.link);
        server.model.feed(&part);
        self.trace.push(format!("  reads {}", server.model.heard.drain(..).collect::<String>()));
        client.transcript.committed.extend(server.model.commits.drain(..));
        if server.model.statements() > self.plans + 8 {
            return Err(format!("c{at}: {} statements on a server, the limit is {}", server.model.statements(), self.plans));
        }
        Ok(())
    }

    fn server_says(&mut self, at: usize) -> Verdict {
        let client = &mut self.clients[at];
        let Some(server) = client.server.as_mut() else { return Ok(()) };
        let part = Self::part(&mut self.rng, &mut server.model.out);
        client.server_inbox.extend_from_slice(&part);
        let input = std::mem::take(&mut client.server_inbox);
        let taken = match client.engine.on_server(&input, self.now) {
            Ok(taken) => taken,
            Err(error) if client.transcript.may_end || client.gone => return self.lose(at, error.message()),
            Err(error) => return Err(format!("c{at}: {}", error.message())),
        };
        client.server_inbox = input[taken.consumed..].to_vec();
        let bytes = std::mem::take(&mut client.engine.server_out);
        if let Some(server) = client.server.as_mut() {
            server.link.extend_from_slice(&bytes);
        }
        self.tell(at, &input[taken.relay])?;
        let client = &mut self.clients[at];
        let more = matches!(client.wait, Wait::Replies) || (client.engine.wants_release() && !client.inbox.is_empty());
        if more && !client.gone && !matches!(client.wait, Wait::Flight(_) | Wait::Server) {
            self.feed(at)?;
        }
        Ok(())
    }

    fn flight(&mut self, at: usize) -> Verdict {
        let client = &mut self.clients[at];
        let Wait::Flight(join) = &client.wait else { return Ok(()) };
        let Some(joined) = join.try_landed() else { return Ok(()) };
        client.engine.joined(joined);
        client.wait = Wait::Input;
        self.feed(at)
    }

    fn release(&mut self, at: usize) -> Verdict {
        let client = &mut self.clients[at];
        let Some((state, release)) = client.engine.take_release() else { return Ok(()) };
        let mut process = client.server.take().ok_or("a server was released that is not held")?;
        let left_over = std::mem::take(&mut client.server_inbox);
        if release == Release::Close || process.model.dead {
            return Ok(());
        }
        if !state.ledger.is_idle() {
            return Err(format!("c{at} released a server that owes replies"));
        }
        // What a COPY that has failed did not read any more does nothing, and comes before all that the next client sends.
        let ignored = process.model.ignores(&process.link);
        process.model.feed(&std::mem::take(&mut process.link));
        if !ignored || !left_over.is_empty() {
            return Err(format!("c{at} released a server with bytes under way"));
        }
        super::transcript::drop_notices(&mut process.model.out);
        if let Some(why) = process.model.unfit(PREFIX) {
            return Err(format!("c{at} released a server, but {why}"));
        }
        process.state = Some(state);
        self.idle.push(process);
        Ok(())
    }

    fn hang_up(&mut self, at: usize) -> Verdict {
        let client = &mut self.clients[at];
        client.gone = true;
        client.wait = Wait::Input;
        self.waiting.retain(|waiting| *waiting != at);
        client.engine.hang_up();
        let bytes = std::mem::take(&mut client.engine.server_out);
        if let Some(server) = client.server.as_mut() {
            server.link.extend_from_slice(&bytes);
        }
        if client.engine.is_cleaning() { Ok(()) } else { self.release(at) }
    }

    fn lose(&mut self, at: usize, why: &str) -> Verdict {
        let client = &mut self.clients[at];
        let error = Error::new(Kind::ServerLost, why.to_owned());
        let told = client.engine.server_lost(error);
        let over = told.is_some() || client.engine.is_over();
        if let Some(error) = told {
            client.engine.refuse(&error);
        }
        self.tell(at, &[])?;
        self.release(at)?;
        let client = &mut self.clients[at];
        if !over && !client.gone {
            return if matches!(client.wait, Wait::Replies) { self.feed(at) } else { Ok(()) };
        }
        if !client.gone {
            client.gone = true;
            self.waiting.retain(|waiting| *waiting != at);
        }
        if client.server.is_some() { Err(format!("c{at} keeps a server that is lost")) } else { Ok(()) }
    }

    /// Nothing moves any more: a client that has all its answers says goodbye. False: all are gone.
    fn end_of_a_session(&mut self) -> Result<bool, String> {
        let live: Vec<usize> = (0..self.clients.len()).filter(|at| !self.clients[*at].gone).collect();
        let done = live.iter().find(|at| self.clients[**at].transcript.is_complete());
        match (done, live.first()) {
            (Some(at), _) => {
                let client = &self.clients[*at];
                if client.server.is_some() && client.transcript.is_quiet() && client.engine.pins().is_empty() {
                    return Err(format!("c{at} keeps a server for nothing"));
                }
                self.trace.push(format!("Goodbye({at})"));
                self.hang_up(*at).map(|()| true)
            }
            (None, None) => Ok(false),
            (None, Some(at)) => {
                let client = &self.clients[*at];
                let wait = match client.wait {
                    Wait::Input => "input",
                    Wait::Server => "a server",
                    Wait::Replies => "replies",
                    Wait::Flight(_) => "a flight",
                };
                Err(format!("c{at} is stuck: it waits for {wait}; the client waits for {}", client.transcript.next_words()))
            }
        }
    }

    fn all_well(&self) -> Verdict {
        match self.clients.iter().position(|client| client.server.is_some()) {
            Some(at) => Err(format!("c{at} is gone and still holds a server")),
            None if self.shared.cache.as_ref().is_some_and(|cache| cache.database.flights_in_air() > 0) => {
                Err("a flight was left in the air".to_owned())
            }
            None => Ok(()),
        }
    }
}

fn parameters() -> Parameters {
    [("application_name".into(), "".into()), ("server_version".into(), "18.1".into())].into_iter().collect()
}

/// More than any run takes.
const MAX_STEPS: usize = 50_000;
