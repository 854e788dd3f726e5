//! Keeps exactly the wanted runtimes scraped, and hands on what they say.

use crate::base::shutdown::Shutdown;
use crate::config::TargetPlan;
use crate::metrics::Store;
use crate::resource::RuntimeStates;
use crate::resource::runtime_metrics::{
    RuntimeLabels, RuntimeMetricsSettings, RuntimeTarget, scrape,
};
use crate::runtime::RuntimeSpec;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// The scrapers that run, by target.
type Running = HashMap<Arc<str>, Scraper>;

struct Scraper {
    /// No two scrapers share one: a late word of the last one is not taken for this one's.
    number: u64,
    target: RuntimeTarget,
    interval: Duration,
    stop: CancellationToken,
}

/// Starts and stops scrapers.
pub(super) struct Scraping {
    store: Arc<Store>,
    states: RuntimeStates,
    shutdown: Shutdown,
    running: Arc<Mutex<Running>>,
    started: u64,
}

impl Scraping {
    pub(super) fn new(store: Arc<Store>, states: RuntimeStates, shutdown: Shutdown) -> Self {
        Self {
            store,
            states,
            shutdown,
            running: Arc::default(),
            started: 0,
        }
    }

    /// Makes exactly these be scraped. Those that stay the same go on, with their counters.
    pub(super) fn apply(&mut self, settings: &RuntimeMetricsSettings, wanted: Vec<RuntimeTarget>) {
        let RuntimeMetricsSettings { enabled, interval } = *settings;
        let running = self.running.clone();
        let mut running = running.lock();
        let mut old = std::mem::take(&mut *running);
        for target in wanted.into_iter().filter(|_| enabled) {
            let name = target.name().clone();
            let before = old.remove(&name);
            let scraper = match before {
                Some(scraper)
                    if scraper.interval == interval && scraper.target.is_same(&target) =>
                {
                    scraper
                }
                before => {
                    if let Some(before) = before {
                        before.stop.cancel();
                        self.states.forget(&name);
                    }
                    self.start(target, interval)
                }
            };
            running.insert(name, scraper);
        }
        for gone in old.values() {
            gone.stop.cancel();
        }
        self.store
            .retain_runtimes(|target| running.contains_key(target));
        self.states.retain(|target| running.contains_key(target));
    }

    fn start(&mut self, target: RuntimeTarget, interval: Duration) -> Scraper {
        self.started += 1;
        let number = self.started;
        let stop = self.shutdown.token().child_token();
        let (store, states) = (self.store.clone(), self.states.clone());
        let (name, running) = (target.name().clone(), self.running.clone());
        let scraping = scrape(target.clone(), interval, move |report, state| {
            let running = running.lock();
            if running.get(&name).is_some_and(|own| own.number == number) {
                store.set_runtime(report.clone());
                match report.failed {
                    // It answers, be it with what we cannot use; or there is nothing to ask.
                    Some(failure) if !failure.is_silence() => states.forget(&name),
                    None if state.is_none() => states.forget(&name),
                    _ => states.set(&name, state),
                }
            }
        });
        let stopped = stop.clone();
        self.shutdown
            .tracker()
            .spawn(async move { stopped.run_until_cancelled(scraping).await });
        Scraper {
            number,
            target,
            interval,
            stop,
        }
    }
}

/// The runtime of a target, if it can be asked.
pub(super) fn runtime_target(
    plan: &TargetPlan,
    runtime: &'static RuntimeSpec,
    model: &Arc<str>,
) -> Option<RuntimeTarget> {
    let labels = RuntimeLabels {
        target: plan.settings.name.clone(),
        runtime: Arc::from(runtime.name),
        model: model.clone(),
    };
    RuntimeTarget::new(
        labels,
        &plan.settings.endpoint,
        &plan.dialer,
        &plan.runtime_page,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::MetricsSettings;
    use crate::resource::runtime_metrics::PageSource;
    use crate::simulate::{Character, RuntimeFlavor, Simulator};
    use crate::transport::{Dialer, Endpoint};
    use tokio_util::task::TaskTracker;

    async fn target(model: &str, stop: &CancellationToken) -> RuntimeTarget {
        let character = Character {
            flavor: RuntimeFlavor::Vllm,
            ..Character::default()
        };
        let simulator = Simulator::bind("127.0.0.1:0", character).await.unwrap();
        let url = format!("http://{}", simulator.local_addr());
        simulator.serve(stop.clone(), &TaskTracker::new());
        let labels = RuntimeLabels {
            target: Arc::from("a"),
            runtime: Arc::from("vllm"),
            model: Arc::from(model),
        };
        let endpoint = Endpoint::parse(&url).unwrap();
        let dialer = Dialer::new(&endpoint).unwrap();
        RuntimeTarget::new(labels, &endpoint, &dialer, &PageSource::Usual).unwrap()
    }

    async fn eventually(mut check: impl FnMut() -> bool) {
        let patience = Duration::from_secs(10);
        let seen = async {
            while !check() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(patience, seen).await.unwrap();
    }

    #[tokio::test]
    async fn states_are_those_of_the_wanted_targets_and_of_their_last_answer() {
        let (states, shutdown) = (RuntimeStates::default(), Shutdown::new());
        let store = Arc::new(Store::new(MetricsSettings::default(), Arc::default()));
        let mut scraping = Scraping::new(store, states.clone(), shutdown.clone());
        let fast = RuntimeMetricsSettings {
            interval: Duration::from_millis(50),
            ..RuntimeMetricsSettings::default()
        };
        let stop = CancellationToken::new();
        let first = target("m", &stop).await;
        scraping.apply(&fast, vec![first.clone()]);
        eventually(|| states.of("a").is_some()).await;
        let state = states.of("a").unwrap();
        assert_eq!((state.running, state.model_loaded), (Some(0.0), None));

        scraping.apply(&fast, vec![first.clone()]);
        assert!(states.of("a").is_some(), "the same goes on");
        scraping.apply(&fast, vec![target("n", &stop).await]);
        assert_eq!(states.of("a"), None, "another has not answered yet");
        eventually(|| states.of("a").is_some()).await;
        stop.cancel();
        eventually(|| states.of("a").is_none()).await;

        let stop = CancellationToken::new();
        scraping.apply(&fast, vec![target("m", &stop).await]);
        eventually(|| states.of("a").is_some()).await;
        let disabled = RuntimeMetricsSettings {
            enabled: false,
            ..fast
        };
        scraping.apply(&disabled, vec![first]);
        assert_eq!(states.of("a"), None);
        shutdown.begin();
        shutdown.drained().await;
        stop.cancel();
    }
}
