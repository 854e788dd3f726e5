//! Runs over HTTP/2, agreed under TLS and spoken unasked in clear.

use crate::support::{probe, quick, run, scenario, simulate, target};
use sonde::probe::{ConnectionPolicy, Outcome, ScenarioSettings};
use sonde::selftest::{Figure, join};
use sonde::simulate::Character;
use sonde::transport::HttpChoice;

/// How far the kernel's stamps, told by the wall clock, may seem to be before ours.
const CLOCKS_APART: f64 = 0.001;

#[tokio::test]
async fn each_token_is_stamped_behind_its_own_write() {
    for (tls, http) in [
        (false, HttpChoice::Http2),
        (true, HttpChoice::Http2),
        (true, HttpChoice::Auto),
        (true, HttpChoice::Http1),
    ] {
        let server = simulate(Character { tls, ..quick() }).await;
        let scheme = if tls { "https" } else { "http" };
        let mut settings = target("openai", &format!("{scheme}://{}", server.address));
        settings.endpoint.http = http;
        if let Some(tls) = &mut settings.endpoint.tls {
            tls.insecure_skip_verify = true;
        }
        let warm = ScenarioSettings {
            connection: ConnectionPolicy::Warm,
            ..scenario()
        };
        let probe = probe(settings, warm);
        for turn in 0..3 {
            let observation = run(&probe).await;
            let failure = &observation.failure;
            assert_eq!(observation.outcome, Outcome::Success, "{failure:?}");
            // The same connection serves again.
            assert_eq!(observation.phases.connect.is_none(), turn > 0, "{turn}");
            let id = observation.run_id.to_string();
            let log = server.requests.find(&id).unwrap();
            let joined = join(&observation, &log).unwrap();
            let arrivals = joined.errors.iter();
            let arrivals = arrivals.filter(|(figure, _)| *figure == Figure::TokenArrival);
            let errors: Vec<f64> = arrivals.map(|(_, error)| *error).collect();
            assert_eq!(errors.len(), 12);
            assert!(
                errors.iter().all(|error| *error > -CLOCKS_APART),
                "{errors:?}"
            );
        }
    }
}
