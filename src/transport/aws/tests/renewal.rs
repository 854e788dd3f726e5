//! Credentials that expire. The time is an argument.

use super::*;
use crate::transport::lease::{self, Leases as AnyLeases};
use jiff::Timestamp;
use std::cell::Cell;
use std::future::{pending, ready};
use std::time::Duration;
use tokio::sync::oneshot;

type Lease = lease::Lease<AwsCredentials>;
type Leases = AnyLeases<AwsCredentials>;

/// Seconds of a clock that begins with the first lease.
fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

fn until(id: &str, seconds: i64) -> Result<Lease, AwsError> {
    Ok(Lease {
        credentials: credentials(id),
        expires: Some(at(seconds)),
    })
}

fn failure() -> Result<Lease, AwsError> {
    Err(AwsError::Nowhere(Vec::new()))
}

/// Leases of which the first, `a`, holds for an hour.
async fn an_hour() -> Leases {
    let leases = Leases::default();
    assert_eq!(id(&leases, 0, until("a", 3600)).await, "a");
    leases
}

async fn id(leases: &Leases, seconds: i64, renewal: Result<Lease, AwsError>) -> String {
    let found = leases.credentials(at(seconds), ready(renewal)).await;
    found.map_or_else(|_| "none".to_owned(), |found| found.access_key_id)
}

#[tokio::test]
async fn credentials_serve_until_five_minutes_before_their_end() {
    let leases = an_hour().await;
    assert_eq!(id(&leases, 3299, until("b", 7200)).await, "a");
    assert_eq!(id(&leases, 3301, until("b", 7200)).await, "b");
    assert_eq!(id(&leases, 3302, until("c", 7200)).await, "b");
}

#[tokio::test]
async fn a_failed_renewal_keeps_what_still_holds_and_waits_a_minute() {
    let leases = an_hour().await;
    assert_eq!(id(&leases, 3400, failure()).await, "a");
    assert_eq!(id(&leases, 3459, until("b", 7200)).await, "a");
    assert_eq!(id(&leases, 3461, until("b", 7200)).await, "b");
}

#[tokio::test]
async fn a_renewal_that_brings_nothing_newer_is_not_repeated_at_once() {
    let leases = an_hour().await;
    assert_eq!(id(&leases, 3400, until("a", 3600)).await, "a");
    assert_eq!(id(&leases, 3459, until("b", 7200)).await, "a");
    assert_eq!(id(&leases, 3461, until("b", 7200)).await, "b");
}

#[tokio::test]
async fn what_has_ended_is_not_used_and_the_failure_is_told() {
    let leases = an_hour().await;
    assert_eq!(id(&leases, 3400, failure()).await, "a");
    assert_eq!(id(&leases, 3591, failure()).await, "none");
    assert_eq!(id(&leases, 3592, until("b", 7200)).await, "b");
}

#[tokio::test]
async fn without_an_end_they_are_looked_for_each_time() {
    let leases = Leases::default();
    for name in ["a", "b"] {
        let lease = Lease {
            credentials: credentials(name),
            expires: None,
        };
        assert_eq!(id(&leases, 0, Ok(lease)).await, name);
    }
}

#[tokio::test]
async fn who_loses_patience_with_a_renewal_does_not_make_the_next_one_wait() {
    let leases = an_hour().await;
    let endless = leases.credentials(at(3400), pending::<Result<Lease, AwsError>>());
    let patience = Duration::from_millis(1);
    assert!(tokio::time::timeout(patience, endless).await.is_err());
    assert_eq!(id(&leases, 3401, until("b", 7200)).await, "a");
}

#[tokio::test]
async fn many_who_need_them_at_once_ask_once() {
    let leases = Leases::default();
    let asked = Cell::new(0);
    let (give, given) = oneshot::channel::<()>();
    let first = leases.credentials(at(0), async {
        asked.set(asked.get() + 1);
        given.await.unwrap();
        until("a", 3600)
    });
    let others = async {
        let other = || {
            leases.credentials(at(0), async {
                asked.set(asked.get() + 1);
                until("b", 3600)
            })
        };
        let all = async { tokio::join!(other(), other()) };
        let (all, ()) = tokio::join!(all, async { give.send(()).unwrap() });
        [all.0.unwrap(), all.1.unwrap()]
    };
    let (first, others) = tokio::join!(first, others);
    assert_eq!(first.unwrap().access_key_id, "a");
    assert!(others.iter().all(|other| other.access_key_id == "a"));
    assert_eq!(asked.get(), 1);
}

#[tokio::test]
async fn while_one_renews_the_others_use_what_still_holds() {
    let leases = an_hour().await;
    let (give, given) = oneshot::channel::<()>();
    let renewing = leases.credentials(at(3400), async {
        given.await.unwrap();
        until("b", 7200)
    });
    let other = async {
        let other = id(&leases, 3400, until("c", 7200)).await;
        give.send(()).unwrap();
        other
    };
    let (renewed, other) = tokio::join!(renewing, other);
    assert_eq!(renewed.unwrap().access_key_id, "b");
    assert_eq!(other, "a");
}
