//! One token that says "stop" and one tracker that knows who has not stopped yet.

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Handed to everything that runs in the background. Clones share state.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    token: CancellationToken,
    tracker: TaskTracker,
}

impl Shutdown {
    /// A fresh pair.
    pub fn new() -> Self {
        Self::default()
    }

    /// The token that is cancelled when work must end.
    pub fn token(&self) -> &CancellationToken {
        &self.token
    }

    /// Where tasks are spawned, so that shutdown can wait for them.
    pub fn tracker(&self) -> &TaskTracker {
        &self.tracker
    }

    /// Asks everything to end.
    pub fn begin(&self) {
        self.token.cancel();
        self.tracker.close();
    }

    /// Waits until every tracked task has ended. Call [`Shutdown::begin`] first.
    pub async fn drained(&self) {
        self.tracker.wait().await;
    }
}
