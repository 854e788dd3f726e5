//! Whom to ask, and where.

use super::fetch::{RUNTIMES, ScrapeError, fetch};
use super::page::Reader;
use super::{Look, dialects};
use crate::resource::RuntimeState;
use crate::transport::{Dialer, Endpoint};
use std::sync::Arc;
use std::time::Instant;

/// Where a page is.
#[derive(Clone, Debug)]
pub struct PageAddress {
    /// Whom to ask, with what proof.
    pub endpoint: Endpoint,
    /// How to get there.
    pub dialer: Dialer,
    /// Path and query behind the endpoint's prefix, with its slash.
    pub path: String,
}

/// Where a target's page is to be looked for.
#[derive(Clone, Debug, Default)]
pub enum PageSource {
    /// Where its runtime usually has it.
    #[default]
    Usual,
    /// Nowhere.
    Off,
    /// There.
    At(Box<PageAddress>),
}

/// A target's names, as they stand in labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuntimeLabels {
    /// The target.
    pub target: Arc<str>,
    /// Its runtime.
    pub runtime: Arc<str>,
    /// Its model.
    pub model: Arc<str>,
}

/// A target whose runtime can be asked.
#[derive(Clone, Debug)]
pub struct RuntimeTarget {
    labels: RuntimeLabels,
    address: PageAddress,
    reader: Reader,
    promised: bool,
}

impl RuntimeTarget {
    /// Absent where nothing can be asked: it is off, or the runtime has no such interface.
    pub fn new(
        labels: RuntimeLabels,
        endpoint: &Endpoint,
        dialer: &Dialer,
        source: &PageSource,
    ) -> Option<Self> {
        let dialect = dialects::of(&labels.runtime);
        let (address, promised) = match (source, dialect) {
            (PageSource::Off, _) | (PageSource::Usual, None) => return None,
            (PageSource::At(address), _) => ((**address).clone(), true),
            (PageSource::Usual, Some(dialect)) => {
                let mut endpoint = endpoint.clone();
                if let Some(port) = dialect.port {
                    endpoint.port = port;
                    // The prefix is the API's.
                    endpoint.base_path.clear();
                }
                let address = PageAddress {
                    endpoint,
                    dialer: dialer.clone(),
                    path: dialect.path.to_owned(),
                };
                (address, false)
            }
        };
        Some(Self {
            labels,
            address,
            reader: dialect.map_or(Reader::Any, Reader::Of),
            promised,
        })
    }

    /// The target's name.
    pub fn name(&self) -> &Arc<str> {
        &self.labels.target
    }

    /// All of its names.
    pub fn labels(&self) -> &RuntimeLabels {
        &self.labels
    }

    /// Whether somebody says that there is a page.
    pub(super) fn is_promised(&self) -> bool {
        self.promised
    }

    /// Whether the page tells if the model is in memory, and until when.
    pub fn tells_residence(&self) -> bool {
        &*self.labels.runtime == "ollama"
    }

    /// Where the page is, in words.
    pub(super) fn place(&self) -> String {
        format!("{}{}", self.address.endpoint.url(), self.address.path)
    }

    /// Whether both ask the same in the same way, so that one can go on as the other.
    pub fn is_same(&self, other: &Self) -> bool {
        let (ours, theirs) = (&self.address, &other.address);
        self.labels == other.labels
            && self.promised == other.promised
            && ours.endpoint == theirs.endpoint
            && ours.path == theirs.path
            && ours.dialer.same_files(&theirs.dialer)
    }

    /// What the runtime says of itself now. Absent where it does not answer.
    pub async fn state(&self) -> Option<RuntimeState> {
        let taken = Instant::now();
        let look = self.look().await.ok()?;
        Some(look.state(taken))
    }

    /// One look.
    ///
    /// # Errors
    /// When there is no page, or not the one that the runtime has.
    pub(super) async fn look(&self) -> Result<Look, ScrapeError> {
        let PageAddress {
            endpoint,
            dialer,
            path,
        } = &self.address;
        let page = fetch(endpoint, dialer, path, RUNTIMES).await?;
        self.reader
            .read(&page, &self.labels.model)
            .map_err(ScrapeError::Malformed)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn labels(runtime: &str) -> RuntimeLabels {
        RuntimeLabels {
            target: Arc::from("t"),
            runtime: Arc::from(runtime),
            model: Arc::from("m"),
        }
    }

    pub(crate) fn usual(runtime: &str, url: &str) -> Option<RuntimeTarget> {
        let endpoint = Endpoint::parse(url).unwrap();
        let dialer = Dialer::new(&endpoint).unwrap();
        RuntimeTarget::new(labels(runtime), &endpoint, &dialer, &PageSource::Usual)
    }

    pub(crate) fn at(url: &str, path: &str) -> PageSource {
        let endpoint = Endpoint::parse(url).unwrap();
        PageSource::At(Box::new(PageAddress {
            dialer: Dialer::new(&endpoint).unwrap(),
            endpoint,
            path: path.to_owned(),
        }))
    }

    #[test]
    fn the_usual_place_is_the_runtimes() {
        let place = |runtime: &str| {
            let target = usual(runtime, "http://h:8000/team")?;
            Some(target.place())
        };
        assert_eq!(place("vllm").unwrap(), "http://h:8000/team/metrics");
        assert_eq!(place("ollama").unwrap(), "http://h:8000/team/api/ps");
        assert_eq!(place("triton").unwrap(), "http://h:8002/metrics");
        let serve = place("tensorrt-llm").unwrap();
        assert_eq!(serve, "http://h:8000/team/prometheus/metrics");
        for by_another_route in ["tgi-generate", "llamacpp-completion", "sglang-generate"] {
            assert_eq!(place(by_another_route), place("vllm"));
        }
        assert_eq!(
            place("openai"),
            None,
            "a hosted API has nothing of the kind"
        );
    }

    #[test]
    fn a_place_that_is_given_or_off_beats_the_usual() {
        let endpoint = Endpoint::parse("http://h:8000").unwrap();
        let dialer = Dialer::new(&endpoint).unwrap();
        let new =
            |source: &PageSource| RuntimeTarget::new(labels("openai"), &endpoint, &dialer, source);
        assert!(new(&PageSource::Off).is_none());
        let given = new(&at("http://h:9000", "/m?x=1")).unwrap();
        assert_eq!(given.address.endpoint.port, 9000);
        assert!(given.is_same(&given.clone()));
        assert!(!given.is_same(&new(&at("http://h:9000", "/m")).unwrap()));
    }
}
