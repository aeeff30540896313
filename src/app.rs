//! Floor 5. Wiring: configuration in, a running pgdial out; signals, reload and drain.

mod cached;
mod figures;
mod operator;
mod periods;
mod routines;

use std::future::{Future, pending};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::{error, info, warn};

use crate::admin::Admin;
use crate::admin::console::{Operator, Shutdown};
use crate::auth::{Credentials, Verifiers};
use crate::catalog::RoutineWatcher;
use crate::client::login::{LoginContext, Queries};
use crate::client::{Counts, DRAIN_LIMIT, Database, Gate, listen, set_mode};
use crate::config::{self, Config, Listen, TlsMode, reload};
use crate::demo::Running;
use crate::engine::Shared;
use crate::error::{Error, Kind, Result};
use crate::listen::Hub;
use crate::net::{Listener, TcpOptions, random, tls};
use crate::query::Classifier;
use crate::server::{Account, Fanout, Target};
use crate::source::Source;

use self::cached::Caches;
use self::figures::Figures;

/// A pgdial that serves.
pub struct App {
    gate: Arc<Gate>,
    context: Arc<ArcSwap<LoginContext>>,
    figures: Arc<Figures>,
    tasks: Vec<JoinHandle<()>>,
    caches: Caches,
    routines: Vec<RoutineWatcher>,
    stop: watch::Sender<bool>,
    address: Option<SocketAddr>,
    admin: Option<SocketAddr>,
}

/// Serves until SIGTERM or SIGINT. SIGHUP reads the configuration again.
pub async fn run(config: Config, source: Source) -> Result<()> {
    let mut signals = Signals::new()?;
    let app = App::start(config, Some(source)).await?;
    let how = loop {
        tokio::select! {
            wish = signals.next() => match wish {
                Wish::Reload => app.reload(),
                Wish::Stop => break None,
            },
            how = app.figures.shutdown_asked() => break Some(how),
        }
    };
    match how {
        None => app.stop(DRAIN_LIMIT).await,
        Some(Shutdown::Now) => app.stop(LAST_WORDS).await,
        Some(how) => app.leave(how, None, async { while let Wish::Reload = signals.next().await {} }).await,
    }
    Ok(())
}

/// A pgdial in this process, for the demo.
pub async fn start_demo(config: Config) -> Result<Running> {
    let app = App::start(config, None).await?;
    let missing = || Error::new(Kind::Internal, "no free port was found");
    let (address, admin) = (app.address.ok_or_else(missing)?, app.admin.ok_or_else(missing)?);
    let (stop, mut stopping) = watch::channel(false);
    let task = tokio::spawn(async move {
        // A sender that is gone means the same.
        let _ = stopping.wait_for(|stop| *stop).await;
        app.stop(Duration::ZERO).await;
    });
    Ok(Running { address, admin, stop, task })
}

impl App {
    /// Opens the sockets and starts what runs in the background. A database that cannot be reached yet is no error:
    /// clients are told so.
    pub async fn start(config: Config, source: Option<Source>) -> Result<Self> {
        let config = Arc::new(config);
        let counts = Arc::new(Counts::default());
        let (stop, stopping) = watch::channel(false);
        let classifier = Arc::new(Classifier::default());
        let prefix = prefix()?;
        let defaults = Arc::default();
        let mut caches = Caches::new(&config);
        let (mut databases, mut routines, mut tasks) = (Vec::new(), Vec::new(), Vec::new());
        for section in &config.databases {
            let target = Target::new(&section.upstream, tcp_options(&config.listen))?;
            let cache = caches.open(&config, section, &target)?;
            let mut shared = Shared::new(Arc::clone(&classifier), &prefix, cache);
            shared.defaults = Arc::clone(&defaults);
            set_mode(&mut shared, &config.pool);
            tasks.extend(listen_for_clients(&mut shared, section, &target));
            let published = routines::publish(&mut shared, config.pool.mode);
            let database = Database::new(&section.name, target, shared);
            let every = config.invalidation.catalog_check;
            let watcher = published.map(|place| routines::watch(&database.shared, section, &database.target, every, place));
            routines.extend(watcher);
            databases.push(Arc::new(database));
        }
        let gate = Arc::new(Gate::new(Arc::clone(&config), databases, counts));
        let context = Arc::new(ArcSwap::from_pointee(LoginContext {
            config: Arc::clone(&config),
            tls: server_tls(&config.listen)?,
            verifiers: Arc::new(Verifiers::new(random()?)),
            guard: Arc::default(),
            queries: Arc::new(cached::queries(&config, &gate, &Queries::default())),
        }));
        let figures = Arc::new(Figures::new(Arc::clone(&gate), Arc::clone(&context), caches.handles(), source));
        let operator: Arc<dyn Operator> = Arc::clone(&figures) as Arc<dyn Operator>;
        let _first = gate.console.set(Arc::downgrade(&operator));
        let mut app = Self { gate, context, figures, tasks, caches, routines, stop, address: None, admin: None };
        app.listen(&config, &stopping)?;
        app.serve_admin(&config).await?;
        app.warm_up(&config);
        tokio::spawn(app.context.load_full().prepare());
        app.keep_averages();
        Ok(app)
    }

    fn listen(&mut self, config: &Config, stopping: &watch::Receiver<bool>) -> Result<()> {
        let mut listeners = Vec::new();
        if let Some(address) = config.listen.address {
            let listener = Listener::tcp(address, tcp_options(&config.listen))?;
            self.address = listener.local_address();
            info!(address = %self.address.unwrap_or(address), "listening");
            listeners.push(listener);
        }
        if let Some(dir) = &config.listen.unix_socket_dir {
            let port = self.address.map_or(DEFAULT_PORT, |address| address.port());
            info!(dir = %dir.display(), port, "listening on a Unix socket");
            listeners.push(Listener::unix(dir, port)?);
        }
        for listener in listeners {
            let (context, gate) = (Arc::clone(&self.context), Arc::clone(&self.gate));
            self.tasks.push(tokio::spawn(listen(listener, context, gate, stopping.clone())));
        }
        Ok(())
    }

    async fn serve_admin(&mut self, config: &Config) -> Result<()> {
        let Some(address) = config.admin.address else { return Ok(()) };
        let token = config.admin.token.as_ref().map(|token| token.expose().as_str());
        let failed =
            |error| Error::new(Kind::Config, format!("could not listen on [admin] address {address}")).with_source(error);
        let admin = Admin::bind(address, token).await.map_err(failed)?;
        self.admin = admin.address().ok();
        info!(url = %format!("http://{}", self.admin.unwrap_or(address)), "stats");
        let source: Arc<Figures> = Arc::clone(&self.figures);
        // It outlives the listeners: /readyz says that pgdial drains.
        self.tasks.push(tokio::spawn(admin.run(source, self.figures.stopped())));
        Ok(())
    }

    /// The pool of each database's own user is opened at once, so that its first clients find warm servers.
    fn warm_up(&self, config: &Config) {
        for section in &config.databases {
            let opened = self.gate.database(&section.name).and_then(|database| self.gate.pool(database, &section.upstream.user));
            if let Err(error) = opened {
                warn!(database = section.name, %error, "no pool could be opened");
            }
        }
    }

    fn keep_averages(&mut self) {
        let figures = Arc::clone(&self.figures);
        self.tasks.push(tokio::spawn(async move {
            loop {
                tokio::time::sleep(periods::PERIOD).await;
                figures.turn_period();
            }
        }));
    }

    /// Where clients connect.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Where the stats are.
    pub fn admin(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// Reads the configuration again. A bad one changes nothing.
    pub fn reload(&self) {
        match self.figures.reload_now() {
            Ok(changes) if changes.is_empty() => info!("reload: no setting has changed; certificates were read again"),
            Ok(changes) => info!(changes = changes.join(", "), "reloaded"),
            Err(error) => error!(error, "reload: nothing is changed"),
        }
    }

    /// No new clients; those in a transaction may end it; then all is closed.
    pub async fn stop(self, patience: Duration) {
        self.leave(Shutdown::WaitForServers, Instant::now().checked_add(patience), pending()).await;
    }

    /// Without a deadline it waits as long as it takes. `hurry` turns that into a drain as by SIGTERM.
    async fn leave(self, mut how: Shutdown, mut deadline: Option<Instant>, hurry: impl Future<Output = ()>) {
        info!(clients = self.gate.clients(), "draining");
        self.gate.close();
        self.stop.send_replace(true);
        let mut hurry = pin!(hurry);
        loop {
            if how != Shutdown::WaitForClients || self.gate.clients() == self.gate.consoles() {
                self.gate.registry.drain();
            }
            if self.gate.clients() == 0 {
                break;
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                warn!(clients = self.gate.clients(), "drain: time is out, the rest is cut off");
                break;
            }
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(50)) => {}
                () = &mut hurry, if deadline.is_none() => {
                    (how, deadline) = (Shutdown::WaitForServers, Instant::now().checked_add(DRAIN_LIMIT));
                }
            }
        }
        for database in self.gate.databases() {
            database.pools().into_iter().for_each(|(_, pool)| pool.close());
        }
        self.figures.stop();
        self.caches.stop();
        drop(self.routines);
        self.tasks.iter().for_each(JoinHandle::abort);
        info!("stopped");
    }
}

/// Applies a new configuration, or says why not.
fn apply(config: Config, gate: &Gate, context: &ArcSwap<LoginContext>) -> Result<Vec<String>> {
    let tls = server_tls(&config.listen)?;
    let changes = reload::diff(&gate.config(), &config);
    let config = Arc::new(config);
    let old = context.load_full();
    let queries = Arc::new(cached::queries(&config, gate, &old.queries));
    context.store(Arc::new(LoginContext { config: Arc::clone(&config), tls, queries, ..LoginContext::clone(&old) }));
    tokio::spawn(context.load_full().prepare());
    gate.reconfigure(&config);
    Ok(changes.iter().map(described).collect())
}

/// Where clients have no server of their own, one connection listens for all.
fn listen_for_clients(shared: &mut Shared, section: &config::Database, target: &Target) -> Option<JoinHandle<()>> {
    if shared.session_mode {
        return None;
    }
    let (hub, upstream) = (Arc::new(Hub::default()), &section.upstream);
    shared.hub = Some(Arc::clone(&hub));
    let account = Account {
        user: upstream.user.as_str().into(),
        credentials: Arc::new(Credentials::configured(upstream.password.as_ref().map(|password| password.expose().as_str()))),
        database: upstream.database.as_str().into(),
    };
    Some(tokio::spawn(Fanout::new(hub, &section.name, target.clone(), account).run()))
}

fn described(change: &reload::Change) -> String {
    if change.needs_restart { format!("{} (after a restart)", change.key) } else { change.key.clone() }
}

fn server_tls(listen: &Listen) -> Result<Option<Arc<tls::Acceptor>>> {
    match (&listen.tls_cert, &listen.tls_key) {
        (Some(cert), Some(key)) if listen.tls != TlsMode::Disable => {
            tls::server_config(cert, key, listen.tls_client_ca.as_deref()).map(Some)
        }
        _ => Ok(None),
    }
}

fn tcp_options(listen: &Listen) -> TcpOptions {
    TcpOptions { keepalive: listen.tcp_keepalive, ..TcpOptions::default() }
}

/// Begins the names of statements on servers. Random, so that no client's own name is one of them.
fn prefix() -> Result<String> {
    let bytes: [u8; 6] = random()?;
    Ok(bytes.iter().fold(String::from("_pgdial_"), |text, byte| text + &format!("{byte:02x}")) + "_")
}

enum Wish {
    Reload,
    Stop,
}

struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> Result<Self> {
        let listen =
            |kind| signal(kind).map_err(|error| Error::new(Kind::Internal, "no signal handler could be set").with_source(error));
        Ok(Self {
            hangup: listen(SignalKind::hangup())?,
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) -> Wish {
        tokio::select! {
            _ = self.hangup.recv() => Wish::Reload,
            _ = self.terminate.recv() => Wish::Stop,
            _ = self.interrupt.recv() => Wish::Stop,
        }
    }
}

/// For those who can be told why, when the end is to come at once.
const LAST_WORDS: Duration = Duration::from_millis(200);
const DEFAULT_PORT: u16 = 6432;
