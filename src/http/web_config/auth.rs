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
const NOBODY: &str = "NobodyNobodyNobodyNobeStrangerStrangerStrangerStrangu";

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
                    let rule =
                        format!("has a hash of cost {cost}, which is not from 4 to {MOST_COST}");
                    loader.refuse(WebConfigProblem::new(key, rule, HOW_TO_HASH));
                }
                Err(_) => {
                    loader.refuse(WebConfigProblem::new(
                        key,
                        "is not a bcrypt hash",
                        HOW_TO_HASH,
                    ));
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
                let cost = if self.most_cost == 0 {
                    USUAL_COST
                } else {
                    self.most_cost
                };
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
        if self.remembers(&digest) {
            return Verdict::Accepted;
        }
        let turn = tokio::time::timeout(PATIENCE, self.turns.clone().acquire_owned());
        let Ok(Ok(turn)) = turn.await else {
            return Verdict::Busy;
        };
        if self.remembers(&digest) {
            return Verdict::Accepted;
        }
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

    fn remembers(&self, digest: &Vec<u8>) -> bool {
        self.remembered.lock().contains(digest)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn users(pairs: &[(&str, &str, u32)]) -> Users {
        let mut users = Users::default();
        for (user, password, cost) in pairs {
            let hash = bcrypt::hash(password, *cost).unwrap();
            users.hashes.insert((*user).to_owned(), Secret::new(hash));
            users.most_cost = users.most_cost.max(*cost);
        }
        users
    }

    fn credentials(user: &str, password: &str) -> Credentials {
        let header = format!(
            "Basic {}",
            BASE64_STANDARD.encode(format!("{user}:{password}"))
        );
        Credentials::parse(&HeaderValue::try_from(header).unwrap()).unwrap()
    }

    #[test]
    fn a_stranger_costs_as_much_as_the_costliest_user() {
        let users = users(&[("alice", "a", 4), ("bob", "b", 6)]);
        let (known, hash) = users.hash_of("mallory");
        assert!(!known);
        assert_eq!(hash.parse::<HashParts>().unwrap().get_cost(), 6);
        assert_eq!(bcrypt::verify("a", &hash).ok(), Some(false));
    }

    #[tokio::test]
    async fn only_the_right_password_of_the_right_user_is_accepted() {
        let users = users(&[("alice", "open: sesame", 4), ("bob", "b", 4)]);
        let verifier = Verifier::default();
        for (user, password, verdict) in [
            ("alice", "open: sesame", Verdict::Accepted),
            ("alice", "b", Verdict::Refused),
            ("alice", "", Verdict::Refused),
            ("Alice", "open: sesame", Verdict::Refused),
            ("mallory", "b", Verdict::Refused),
        ] {
            let given = credentials(user, password);
            assert_eq!(
                verifier.verify(&users, given).await,
                verdict,
                "{user} {password}"
            );
        }
    }

    #[tokio::test]
    async fn a_good_password_is_remembered_until_the_hash_changes() {
        let old = users(&[("alice", "a", 4)]);
        let verifier = Verifier::default();
        assert_eq!(
            verifier.verify(&old, credentials("alice", "a")).await,
            Verdict::Accepted
        );
        // Nobody can get a turn now: whatever is answered comes from memory.
        let turns = verifier.turns.clone().acquire_owned().await.unwrap();
        assert_eq!(
            verifier.verify(&old, credentials("alice", "a")).await,
            Verdict::Accepted
        );
        drop(turns);
        let new = users(&[("alice", "b", 4)]);
        assert_eq!(
            verifier.verify(&new, credentials("alice", "a")).await,
            Verdict::Refused
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_passwords_is_turned_away() {
        let users = users(&[("alice", "a", 4)]);
        let verifier = Verifier::default();
        let _turns = verifier.turns.clone().acquire_owned().await.unwrap();
        assert_eq!(
            verifier.verify(&users, credentials("alice", "a")).await,
            Verdict::Busy
        );
    }

    #[test]
    fn credentials_are_read_as_clients_write_them() {
        for good in ["Basic YWxpY2U6YQ==", "basic  YWxpY2U6YQ=="] {
            let given = Credentials::parse(&HeaderValue::from_static(good)).unwrap();
            assert_eq!(
                (given.user.as_str(), given.password.expose()),
                ("alice", "a")
            );
        }
        for bad in [
            "",
            "Basic",
            "Basic !",
            "Bearer YWxpY2U6YQ==",
            "Basic YWxpY2U=",
        ] {
            assert!(
                Credentials::parse(&HeaderValue::from_static(bad)).is_none(),
                "{bad}"
            );
        }
    }
}
