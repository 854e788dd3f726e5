//! Layer 8: the composition root. Builds everything from its own settings, binds eagerly, starts
//! work later, and ends it in order.

mod detection;
mod io_thread;
mod scraping;
mod selftest;
mod supervisor;

use crate::base::build::VERSION;
use crate::base::clock::wall_now;
use crate::base::logging::{self, LoggingError};
use crate::base::shutdown::Shutdown;
use crate::config::{Problems, Settings};
use crate::http::{self, Context, Listener, WebConfigError, WebConfigState};
use crate::metrics::Store;
use crate::probe::Prober;
use crate::record::{self, Board, ProgressWatch, Roster, Sink, Transitions};
use crate::resource::{self, EnergyBoard, ProcessTargets, RunMeter, RuntimeStates, Samplers};
use crate::schedule::Fleet;
use crate::selftest::ProberThread;
use crate::slo::regression::RegressionWatch;
use crate::transport::{ClockChoice, ClockStatus};
use scraping::Scraping;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use supervisor::{Informed, Supervisor};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::TaskTracker;

pub use io_thread::IoThread;
pub use supervisor::ConfigSource;

/// How long what is in flight may take to end after a signal. A second signal does not wait.
const DRAIN_LIMIT: Duration = Duration::from_secs(1);

/// Why the daemon cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The configuration has problems.
    #[error(transparent)]
    Config(#[from] Problems),
    /// See [`LoggingError`].
    #[error(transparent)]
    Logging(#[from] LoggingError),
    /// The web configuration has problems.
    #[error(transparent)]
    Web(#[from] WebConfigError),
    /// The port cannot be had.
    #[error(
        "cannot listen on {address}: {source}\nhint: set `server.listen`, or stop what listens there"
    )]
    Bind {
        /// Which.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// A thread or a signal handler cannot be had.
    #[error("the system refuses what the daemon needs: {0}")]
    System(#[from] std::io::Error),
}

/// What a caller of [`serve`] may want besides the configuration.
#[derive(Default)]
pub struct ServeOptions {
    /// Ends the daemon, beside the signals.
    pub shutdown: Shutdown,
    /// Told the bound address, once.
    pub bound: Option<oneshot::Sender<SocketAddr>>,
    /// The targets are simulated: say so on the page.
    pub simulated: bool,
    /// Leave the log and the signals to the caller.
    pub embedded: bool,
}

/// Runs the daemon until it is told to stop.
///
/// # Errors
/// When the configuration is bad or the system refuses the port, a thread or a signal handler.
pub async fn serve(source: ConfigSource, options: ServeOptions) -> Result<(), AppError> {
    let settings = source.load()?;
    if !options.embedded {
        logging::init(&settings.log.filter, settings.log.format)?;
    }
    for warning in &settings.warnings {
        tracing::warn!("{warning}");
    }
    let shutdown = options.shutdown.clone();
    let io = IoThread::start()?;
    let processes = ProcessTargets::default();
    let energy = EnergyBoard::new(settings.resources.interval);
    let prober = Prober {
        meter: RunMeter::new(&settings.resources, processes.clone()),
        energy: Some(energy.clone()),
        ..Prober::new(settings.instrument, io.wakeups())
    };
    let clocks = prober.clocks.status();
    announce(clocks);
    let roster = Roster::default();
    let (recorder, recording) = record::channel(roster.clone());
    let store = Arc::new(Store::new(settings.metrics.clone(), recorder.dropped()));
    store.set_clocks(clocks);
    let board = Arc::new(Board::default());
    // What the runtimes say of themselves, for whoever decides by it.
    let runtime_states = RuntimeStates::default();
    let meter = prober.meter.clone();
    let progress = ProgressWatch::new(runtime_states.clone(), meter);
    store.set_progress(progress.clone());
    let regressions = RegressionWatch::new(runtime_states.clone());
    store.set_regressions(regressions.clone());
    let sinks: Vec<Arc<dyn Sink>> = vec![
        store.clone(),
        board.clone(),
        Arc::new(progress.clone()),
        Arc::new(regressions.clone()),
        Arc::new(Transitions::default()),
    ];
    // Apart from the others: it ends last, when nobody is left who could record.
    let recorders = TaskTracker::new();
    recorders.spawn(recording.run(sinks));
    recorders.close();

    let (reload_sender, reload_requests) = mpsc::channel(8);
    let live = Arc::default();
    let context = Context {
        store: store.clone(),
        board: board.clone(),
        progress: progress.clone(),
        live: Arc::clone(&live),
        reload: reload_sender,
        web_config: WebConfigState::open(settings.server.web_config_file.as_deref())?,
        prober: prober.clone(),
        probe_runtime: io.handle(),
        shutdown: shutdown.clone(),
        started: wall_now(),
        simulated: options.simulated,
    };
    let address = start_http(&settings, context, &shutdown).await?;
    tracing::info!(%address, version = VERSION, "sonde listens");
    start_samplers(&settings, &processes, energy, &store, &shutdown);
    if let Some(cadence) = settings.selftest.clone() {
        let thread = ProberThread {
            handle: io.handle(),
            prober: prober.clone(),
        };
        let tests = selftest::repeat(cadence, thread, store.clone(), shutdown.clone());
        shutdown.tracker().spawn(tests);
    }

    let scraping = Scraping::new(store.clone(), runtime_states.clone(), shutdown.clone());
    let fleet = Fleet::new(
        prober,
        recorder.clone(),
        shutdown.clone(),
        io.handle(),
        runtime_states,
    );
    let informed = Informed {
        store,
        board,
        roster,
        scraping,
        live,
        processes,
        progress,
        regressions,
    };
    let supervisor = Supervisor::new(source, fleet, informed, shutdown.clone());
    let tracker = shutdown.tracker().clone();
    tracker.spawn(supervisor.run(settings, reload_requests));
    if let Some(bound) = options.bound {
        bound.send(address).ok();
    }

    wait_for_end(&shutdown, options.embedded).await?;
    shutdown.begin();
    let drained = tokio::time::timeout(DRAIN_LIMIT, shutdown.drained()).await;
    io.stop();
    drop(recorder);
    if drained.is_ok() {
        // Everybody who could record is gone, so this ends when the queue is empty.
        tokio::time::timeout(DRAIN_LIMIT, recorders.wait())
            .await
            .ok();
        tracing::info!("sonde has stopped");
    } else {
        tracing::warn!("sonde stops although some work has not ended within {DRAIN_LIMIT:?}");
    }
    Ok(())
}

/// Says which clock stamps, and whether that is the one that was asked for.
fn announce(clocks: ClockStatus) {
    let (clock, wire, socket) = (clocks.best(), clocks.wire, clocks.socket);
    let (clock, wire, socket) = (clock.as_str(), wire.as_str(), socket.as_str());
    match clocks.choice {
        ClockChoice::Best(wanted) if wanted != clocks.best() => tracing::warn!(
            wanted = wanted.as_str(),
            clock,
            wire,
            socket,
            "the clock of `instrument.clock` is not there, the next one stamps runs; `wire` needs CAP_NET_RAW"
        ),
        _ => tracing::info!(clock, wire, socket, "the best clock there is stamps runs"),
    }
}

async fn start_http(
    settings: &Settings,
    context: Context,
    shutdown: &Shutdown,
) -> Result<SocketAddr, AppError> {
    let wanted = settings.server.listen;
    let refused = |source| AppError::Bind {
        address: wanted,
        source,
    };
    let socket = TcpListener::bind(wanted).await.map_err(refused)?;
    let address = socket.local_addr().map_err(refused)?;
    let listener = Listener::new(socket, context.web_config.clone(), shutdown);
    let router = http::router(context);
    let stop = shutdown.token().clone().cancelled_owned();
    shutdown.tracker().spawn(async move {
        if let Err(error) = axum::serve(listener, router)
            .with_graceful_shutdown(stop)
            .await
        {
            tracing::error!(%error, "the HTTP server has failed");
        }
    });
    Ok(address)
}

fn start_samplers(
    settings: &Settings,
    processes: &ProcessTargets,
    energy: EnergyBoard,
    store: &Arc<Store>,
    shutdown: &Shutdown,
) {
    let samplers = Samplers::new(&settings.resources, processes);
    let store = store.clone();
    let sampling = resource::run(
        samplers,
        settings.resources.interval,
        shutdown.clone(),
        move |reports| {
            energy.take(&reports);
            store.set_samplers(reports);
        },
    );
    shutdown.tracker().spawn(sampling);
}

/// Returns at SIGTERM, SIGINT or when the caller ends us. Another signal after that exits at once.
async fn wait_for_end(shutdown: &Shutdown, embedded: bool) -> Result<(), AppError> {
    if embedded {
        shutdown.token().cancelled().await;
        return Ok(());
    }
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = shutdown.token().cancelled() => {}
    }
    tracing::info!("sonde is stopping; another signal stops it at once");
    exit_at_once_on_another(terminate, interrupt);
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "it must not be waited for")]
fn exit_at_once_on_another(mut terminate: Signal, mut interrupt: Signal) {
    tokio::task::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        std::process::exit(1);
    });
}
