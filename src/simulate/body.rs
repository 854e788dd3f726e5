//! A response body that writes each step of a script when it is due.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use std::vec;

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use super::engine::Ticket;
use super::log::OpenEntry;
use super::pacer::Alarm;
use super::script::{Ending, Script, Step};
use super::stream::{Mark, Wire};

/// The answer ends with the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the simulated runtime cuts the connection")]
pub(super) struct Cut;

/// A script with the slot that it needs.
pub(super) type Prepared = (Script, Ticket);

/// A script that is ready once the request has a slot.
pub(super) type Preparation = Pin<Box<dyn Future<Output = Prepared> + Send>>;

/// What every body of an answer needs besides its script.
#[derive(Debug)]
pub(super) struct Delivery {
    pub(super) received: Instant,
    pub(super) entry: Arc<OpenEntry>,
    pub(super) wire: Wire,
    pub(super) alarm: Alarm,
}

impl Delivery {
    /// Ready so long after the request was received.
    pub(super) fn poll_due(&mut self, at: Duration, context: &mut Context<'_>) -> Poll<()> {
        self.alarm.poll(self.received + at, context)
    }
}

/// A body of a response.
pub(super) enum AnswerBody {
    /// Complete at once.
    Whole(Option<Bytes>),
    /// Written by and by.
    Scripted(Box<ScriptedBody>),
}

/// The body of a generation: it owns the slot, so dropping it frees the slot.
pub(super) struct ScriptedBody {
    delivery: Delivery,
    state: State,
}

enum State {
    Preparing(Preparation),
    Playing(Play),
}

struct Play {
    steps: vec::IntoIter<Step>,
    ending: Ending,
    length: Option<u64>,
    ticket: Option<Ticket>,
}

impl ScriptedBody {
    /// A body whose headers can go out before its script is known.
    pub(super) fn preparing(preparation: Preparation, delivery: Delivery) -> Self {
        Self::new(State::Preparing(preparation), delivery)
    }

    /// A body whose script is known.
    pub(super) fn prepared(prepared: Prepared, delivery: Delivery) -> Self {
        let play = Play::new(prepared, &delivery.entry);
        Self::new(State::Playing(play), delivery)
    }

    fn new(state: State, delivery: Delivery) -> Self {
        Self { delivery, state }
    }

    fn poll_step(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Cut>>> {
        if let State::Preparing(preparation) = &mut self.state {
            let prepared = ready!(preparation.as_mut().poll(context));
            self.state = State::Playing(Play::new(prepared, &self.delivery.entry));
        }
        let State::Playing(play) = &mut self.state else {
            return Poll::Pending;
        };
        if let Some(next) = play.steps.as_slice().first() {
            ready!(self.delivery.poll_due(next.at, context));
        }
        if self.delivery.wire.is_writing(context) {
            // hyper flushes when the body is pending: one frame, one write.
            return Poll::Pending;
        }
        let Some(step) = play.steps.next() else {
            return play.poll_ending(&self.delivery.wire);
        };
        let mark = Mark {
            entry: Arc::clone(&self.delivery.entry),
            tokens: step.tokens,
            reasoning: step.reasoning,
        };
        self.delivery.wire.mark(mark, step.bytes.len());
        if step.tokens > 0
            && let Some(ticket) = &mut play.ticket
        {
            ticket.sent(step.tokens);
        }
        Poll::Ready(Some(Ok(step.bytes)))
    }
}

impl Play {
    fn new((script, ticket): Prepared, entry: &OpenEntry) -> Self {
        let Script {
            steps,
            ending,
            length,
        } = script;
        entry.expect(steps.iter().filter(|step| step.tokens > 0).count());
        Self {
            steps: steps.into_iter(),
            ending,
            length,
            ticket: Some(ticket),
        }
    }

    fn poll_ending(&mut self, wire: &Wire) -> Poll<Option<Result<Bytes, Cut>>> {
        match self.ending {
            Ending::Clean => {
                self.release();
                Poll::Ready(None)
            }
            Ending::Abort => Poll::Ready(Some(Err(Cut))),
            Ending::Reset => {
                wire.reset_on_close();
                Poll::Ready(Some(Err(Cut)))
            }
            // The connection, when it ends, drops the body.
            Ending::Hang => Poll::Pending,
        }
    }

    /// Gives the slot back: the answer is out.
    fn release(&mut self) {
        if let Some(mut ticket) = self.ticket.take() {
            ticket.complete();
        }
    }
}

impl Drop for Play {
    fn drop(&mut self) {
        // With a Content-Length hyper drops the body after its last byte, without asking again.
        if self.ending == Ending::Clean && self.steps.as_slice().is_empty() {
            self.release();
        }
    }
}

impl http_body::Body for AnswerBody {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        match &mut *self {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Scripted(body) => {
                let step = ready!(body.poll_step(context));
                Poll::Ready(step.map(|result| result.map(Frame::data)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => {
                let length = bytes.as_ref().map_or(0, Bytes::len);
                SizeHint::with_exact(length as u64)
            }
            Self::Scripted(body) => match &body.state {
                State::Playing(Play {
                    length: Some(length),
                    ..
                }) => SizeHint::with_exact(*length),
                _ => SizeHint::default(),
            },
        }
    }
}
