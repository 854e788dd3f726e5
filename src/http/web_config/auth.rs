//! Users, and whether a password is theirs.

use super::file::Loader;
use super::problem::WebConfigProblem;
use crate::base::secret::Secret;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bcrypt::HashParts;
use http::HeaderValue;
use parking_lot::Mutex;
use rustls::SupportedCipherSuite;
use rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// Each step doubles the time; at 16 one check takes some four seconds of a core that the runtime
/// under measurement may need.
const MOST_COST: u32 = 16;
/// exporter-toolkit's advice.
const USUAL_COST: u32 = 10;
/// Passwords that are checked at a time. bcrypt is made to burn CPU, and this daemon must not
/// disturb what it measures.
const AT_A_TIME: usize = 1;
/// How long a request waits for its turn.
const PATIENCE: Duration = Duration::from_secs(5);
/// How many good passwords are remembered: more than there are scrapers.
const REMEMBERED: usize = 64;
/// What a stranger's password is compared with, after the cost: any salt and any hash.
const NOBODY: &str = "QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi";

const HOW_TO_HASH: &str = "make one with `htpasswd -nBC 10 \"\" | tr -d ':\\n'`";

/// The users and their bcrypt hashes.
#[derive(Clone, Debug, Default)]
pub(super) struct Users {
    hashes: BTreeMap<String, Secret>,
    most_cost: u32,
}

impl Users {
    pub(super) fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// Takes the users of the file, all of them or, with the problems told, some.
    pub(super) fn check(loader: &mut Loader, raw: BTreeMap<String, String>) -> Self {
        let mut users = Self::default();
        for (user, hash) in raw {
            let key = format!("basic_auth_users.{user}");
            if user.contains(':') {
                let rule = "is a name that no client can send";
                loader.refuse(WebConfigProblem::new(&key, rule, "leave out the `:`"));
            }
            match hash.parse::<HashParts>().map(|parts| parts.get_cost()) {
                Ok(cost @ 4..=MOST_COST) => users.most_cost = users.most_cost.max(cost),
                Ok(cost) => {
                    let rule = format!("has a hash of cost {cost}, which is not from 4 to {MOST_COST}");
                    loader.refuse(WebConfigProblem::new(key, rule, HOW_TO_HASH));
                }
                Err(error) => {
                    let rule = format!("is not a bcrypt hash: {error}");
                    loader.refuse(WebConfigProblem::new(key, rule, HOW_TO_HASH));
                }
            }
            users.hashes.insert(user, Secret::new(hash));
        }
        users
    }

    /// The user's hash, or for a stranger one that is as costly and that no password fits.
    fn hash_of(&self, user: &str) -> (bool, String) {
        match self.hashes.get(user) {
            Some(hash) => (true, hash.expose().to_owned()),
            None => {
                let cost = if self.most_cost == 0 { USUAL_COST } else { self.most_cost };
                (false, format!("$2y${cost:02}${NOBODY}"))
            }
        }
    }
}

/// What a request brings.
pub(super) struct Credentials {
    user: String,
    password: Secret,
}

impl Credentials {
    /// Reads `Basic dXNlcjpwYXNz`.
    pub(super) fn parse(header: &HeaderValue) -> Option<Self> {
        let (scheme, payload) = header.to_str().ok()?.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let bytes = BASE64_STANDARD.decode(payload.trim()).ok()?;
        let text = String::from_utf8(bytes).ok()?;
        let (user, password) = text.split_once(':')?;
        Some(Self {
            user: user.to_owned(),
            password: Secret::new(password),
        })
    }
}

/// What is thought of a request's credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Accepted,
    Refused,
    /// Not checked: too many wait.
    Busy,
}

/// Checks passwords, one at a time and off the async threads, and remembers the good ones: a
/// scrape every few seconds must not cost 70 ms of CPU each.
#[derive(Debug)]
pub(super) struct Verifier {
    turns: Arc<Semaphore>,
    /// Keyed by user, hash and password, so that a changed hash forgets.
    remembered: Mutex<VecDeque<Vec<u8>>>,
    salt: [u8; 32],
}

impl Default for Verifier {
    fn default() -> Self {
        Self {
            turns: Arc::new(Semaphore::new(AT_A_TIME)),
            remembered: Mutex::default(),
            salt: rand::random(),
        }
    }
}

impl Verifier {
    pub(super) async fn verify(&self, users: &Users, credentials: Credentials) -> Verdict {
        let Credentials { user, password } = credentials;
        let (known, hash) = users.hash_of(&user);
        let digest = self.digest(&[&user, &hash, password.expose()]);
        if self.remembered.lock().contains(&digest) {
            return Verdict::Accepted;
        }
        let turn = tokio::time::timeout(PATIENCE, self.turns.clone().acquire_owned());
        let Ok(Ok(turn)) = turn.await else {
            return Verdict::Busy;
        };
        let check = move || {
            // Held to the end even when the client has gone: the CPU is busy all the same.
            let _turn = turn;
            bcrypt::verify(password.expose(), &hash).unwrap_or(false)
        };
        let fits = tokio::task::spawn_blocking(check).await.unwrap_or(false);
        if !(known && fits) {
            return Verdict::Refused;
        }
        let mut remembered = self.remembered.lock();
        if remembered.len() == REMEMBERED {
            remembered.pop_front();
        }
        remembered.push_back(digest);
        Verdict::Accepted
    }

    /// SHA-256 over a secret salt and the parts, each with its length. Passwords are not kept.
    fn digest(&self, parts: &[&str]) -> Vec<u8> {
        let hash = match TLS13_AES_128_GCM_SHA256 {
            SupportedCipherSuite::Tls13(suite) => suite.common.hash_provider,
            SupportedCipherSuite::Tls12(suite) => suite.common.hash_provider,
        };
        let mut context = hash.start();
        context.update(&self.salt);
        for part in parts {
            context.update(&part.len().to_le_bytes());
            context.update(part.as_bytes());
        }
        context.finish().as_ref().to_vec()
    }
}
