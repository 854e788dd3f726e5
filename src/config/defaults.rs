//! Every default of the file by name, with its reason where it is not obvious. Defaults that
//! belong to a lower layer (timeouts, limits, sampling interval) stay there.

/// Loopback, since `/metrics` names models and endpoints and has no password unless told otherwise.
pub const LISTEN: &str = "127.0.0.1:10798";

/// Transitions and problems, no line per run.
pub const LOG_LEVEL: &str = "info";

/// Often enough that a five-minute rate has ten runs in it; at 256 + 64 tokens a run it costs a
/// runtime some 40 000 tokens an hour.
pub const SCHEDULE: &str = "@every 30s";

/// Schedules must not move when a node's own timezone does.
pub const TIMEZONE: &str = "UTC";

/// The scenario that exists where none is configured.
pub const SCENARIO: &str = "chat";

/// A short question with some context; long enough for prefill to be visible in TTFT.
pub const INPUT_TOKENS: u32 = 256;

/// Enough gaps for a stable TPOT, short enough to be no load.
pub const OUTPUT_TOKENS: u32 = 64;

/// Do no harm: a probe never queues behind another one of ours.
pub const MAX_IN_FLIGHT: usize = 1;

/// The usual window of error budgets.
pub const WINDOW: &str = "30d";
