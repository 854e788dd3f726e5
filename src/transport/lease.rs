//! Credentials that expire: renewed in time, by one at a time.

use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use std::fmt::Display;
use std::future::Future;

/// As Amazon's SDKs for Java and Go have it. The shortest sessions, of 15 minutes, still serve for ten. Google's
/// metadata server gives the same token again until then.
const RENEW_BEFORE: SignedDuration = SignedDuration::from_mins(5);
/// After a renewal that has failed, was broken off or brought nothing newer, while the old ones still serve.
const RETRY_AFTER: SignedDuration = SignedDuration::from_mins(1);
/// What a request may take to reach its service.
const LEAST_LEFT: SignedDuration = SignedDuration::from_secs(10);

/// Credentials, and until when they hold; absent: nobody says, so they are looked for again each time.
#[derive(Clone, Debug)]
pub(super) struct Lease<C> {
    pub(super) credentials: C,
    pub(super) expires: Option<Timestamp>,
}

/// The lease that was found last.
pub(super) struct Leases<C> {
    held: Mutex<Option<Held<C>>>,
    turn: tokio::sync::Mutex<()>,
}

#[derive(Clone)]
struct Held<C> {
    credentials: C,
    expires: Timestamp,
    /// When the last renewal was begun.
    tried: Timestamp,
}

impl<C> Held<C> {
    fn is_valid(&self, now: Timestamp) -> bool {
        self.expires.duration_since(now) > LEAST_LEFT
    }

    fn may_stay(&self, now: Timestamp) -> bool {
        let is_early = self.expires.duration_since(now) > RENEW_BEFORE;
        is_early || now.duration_since(self.tried) < RETRY_AFTER
    }
}

impl<C> Default for Leases<C> {
    fn default() -> Self {
        Self {
            held: Mutex::new(None),
            turn: tokio::sync::Mutex::default(),
        }
    }
}

impl<C: Clone> Leases<C> {
    /// The credentials to use at `now`. `renewal` is awaited only where they are to be renewed: the others use the old
    /// ones meanwhile, as long as those hold, and so does everybody if it fails.
    ///
    /// # Errors
    /// Those of the renewal, where nothing else is left.
    pub(super) async fn credentials<E: Display>(
        &self,
        now: Timestamp,
        renewal: impl Future<Output = Result<Lease<C>, E>>,
    ) -> Result<C, E> {
        let held = self.valid(now);
        let _turn = match held {
            Some(held) if held.may_stay(now) => return Ok(held.credentials),
            Some(held) => match self.turn.try_lock() {
                Ok(turn) => turn,
                Err(_) => return Ok(held.credentials),
            },
            None => self.turn.lock().await,
        };
        // Whoever had the turn before may have renewed them.
        let held = self.valid(now);
        if let Some(held) = held.clone().filter(|held| held.may_stay(now)) {
            return Ok(held.credentials);
        }
        // Noted first: the caller may lose patience.
        if let Some(held) = &mut *self.held.lock() {
            held.tried = now;
        }
        match (renewal.await, held) {
            (Ok(lease), _) => Ok(self.keep(now, lease)),
            (Err(error), Some(held)) => {
                let left = held.expires.duration_since(now).as_secs();
                tracing::warn!(%error, "credentials are not renewed; the old ones hold for {left} s");
                Ok(held.credentials)
            }
            (Err(error), None) => Err(error),
        }
    }

    fn valid(&self, now: Timestamp) -> Option<Held<C>> {
        self.held.lock().clone().filter(|held| held.is_valid(now))
    }

    fn keep(&self, now: Timestamp, lease: Lease<C>) -> C {
        let Lease {
            credentials,
            expires,
        } = lease;
        *self.held.lock() = expires.map(|expires| Held {
            credentials: credentials.clone(),
            expires,
            tried: now,
        });
        credentials
    }
}
