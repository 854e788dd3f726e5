//! The log as text that another process can read: one JSON object for each finished request, in
//! order, each on a line of its own.
//!
//! Every instant is a reading of `CLOCK_MONOTONIC` in nanoseconds, which all processes of one
//! machine share. The fields, absent where there is nothing to tell:
//!
//! | field | of [`RequestLog`] |
//! |---|---|
//! | `n` | `number` |
//! | `id` | `request_id` |
//! | `model` | `model` |
//! | `rx` | `received` |
//! | `krx` | `received_kernel` |
//! | `tok` | `token_times`, each as `[at, written, tokens, reasoning]` with reasoning as 0 or 1 |
//! | `last` | `last_frame` and `last_frame_written`, as `[at, written]` |
//! | `end` | `ended` |
//! | `fault` | `fault`, by its name |

use std::borrow::Cow;
use std::time::Instant;

use rustix::time::ClockId;
use serde::{Deserialize, Serialize};

use super::anchor::Anchor;
use super::fault::FaultError;
use super::log::{RequestLog, TokenTime};

/// Why a text is not a log of requests.
#[derive(Debug, thiserror::Error)]
pub enum RequestsError {
    /// Not the JSON that we want.
    #[error("line {line} of the request log is not what a simulated runtime writes: {source}")]
    Json {
        /// Counted from one.
        line: usize,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// A fault that we do not know.
    #[error("line {line} of the request log: {source}")]
    Fault {
        /// Counted from one.
        line: usize,
        /// What is wrong.
        source: FaultError,
    },
    /// Beyond what an [`Instant`] can be.
    #[error("line {line} of the request log: {nanos} ns is no instant here")]
    Instant {
        /// Counted from one.
        line: usize,
        /// The reading.
        nanos: u64,
    },
}

#[derive(Serialize, Deserialize)]
struct Line<'a> {
    n: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<Cow<'a, str>>,
    model: Cow<'a, str>,
    rx: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    krx: Option<u64>,
    tok: Vec<(u64, u64, u32, u8)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last: Option<(u64, u64)>,
    end: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<Cow<'a, str>>,
}

/// Writes the finished ones of these requests.
pub(super) fn write(logs: &[RequestLog]) -> Vec<u8> {
    write_by(Anchor::take(ClockId::Monotonic), logs)
}

fn write_by(anchor: Anchor, logs: &[RequestLog]) -> Vec<u8> {
    let mut out = Vec::new();
    for log in logs {
        let Some(ended) = log.ended else {
            continue;
        };
        let tokens = log.token_times.iter().map(|time| {
            let (at, written) = (anchor.nanos(time.at), anchor.nanos(time.written));
            (at, written, time.tokens, u8::from(time.reasoning))
        });
        let line = Line {
            n: log.number,
            id: log.request_id.as_deref().map(Cow::Borrowed),
            model: Cow::Borrowed(&log.model),
            rx: anchor.nanos(log.received),
            krx: log.received_kernel.map(|at| anchor.nanos(at)),
            tok: tokens.collect(),
            last: log
                .last_frame
                .zip(log.last_frame_written)
                .map(|(at, written)| (anchor.nanos(at), anchor.nanos(written))),
            end: anchor.nanos(ended),
            fault: log.fault.map(|fault| Cow::Borrowed(fault.name())),
        };
        // Our own types have string keys only, so writing them to memory cannot fail.
        let _ = serde_json::to_writer(&mut out, &line);
        out.push(b'\n');
    }
    out
}

/// Reads what `GET /simulate/requests` of a simulated runtime on this machine answered. Instants
/// are off by some 100 ns: half of that on either side.
///
/// # Errors
/// When the text is anything else.
pub fn parse_requests(text: &[u8]) -> Result<Vec<RequestLog>, RequestsError> {
    parse_by(Anchor::take(ClockId::Monotonic), text)
}

fn parse_by(anchor: Anchor, text: &[u8]) -> Result<Vec<RequestLog>, RequestsError> {
    (1..)
        .zip(text.split(|byte| *byte == b'\n'))
        .filter(|(_, bytes)| !bytes.is_empty())
        .map(|(line, bytes)| read(anchor, line, bytes))
        .collect()
}

fn read(anchor: Anchor, line: usize, bytes: &[u8]) -> Result<RequestLog, RequestsError> {
    let instant = |nanos: u64| -> Result<Instant, RequestsError> {
        let at = anchor.instant(nanos);
        at.ok_or(RequestsError::Instant { line, nanos })
    };
    let Line {
        n,
        id,
        model,
        rx,
        krx,
        tok,
        last,
        end,
        fault,
    } = serde_json::from_slice(bytes).map_err(|source| RequestsError::Json { line, source })?;
    let fault = fault.map(|name| name.parse()).transpose();
    let token_times = tok.into_iter().map(|(at, written, tokens, reasoning)| {
        Ok(TokenTime {
            at: instant(at)?,
            written: instant(written)?,
            tokens,
            reasoning: reasoning != 0,
        })
    });
    let token_times = token_times.collect::<Result<Vec<_>, _>>()?;
    Ok(RequestLog {
        number: n,
        request_id: id.map(Cow::into_owned),
        model: model.into_owned(),
        received: instant(rx)?,
        received_kernel: krx.map(instant).transpose()?,
        first_token: token_times.first().map(|time| time.at),
        token_times,
        last_frame: last.map(|(at, _)| instant(at)).transpose()?,
        last_frame_written: last.map(|(_, written)| instant(written)).transpose()?,
        ended: Some(instant(end)?),
        fault: fault.map_err(|source| RequestsError::Fault { line, source })?,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::simulate::Fault;
    use crate::simulate::log::tests::log;

    fn full() -> RequestLog {
        let mut full = log(7);
        let after = |micros| full.received + Duration::from_micros(micros);
        let (kernel, ended) = (after(0), after(90));
        let writes =
            [(10, 1, true), (30, 2, false), (50, 0, false)].map(|(at, tokens, reasoning)| {
                TokenTime {
                    at: after(at),
                    written: after(at + 4),
                    tokens,
                    reasoning,
                }
            });
        for write in writes {
            full.wrote(write);
        }
        full.request_id = Some("run \"7\"".to_owned());
        full.received_kernel = Some(kernel);
        full.ended = Some(ended);
        full.fault = Some(Fault::ServerError);
        full
    }

    #[test]
    fn what_is_written_reads_back_as_it_was() {
        let anchor = Anchor::take(ClockId::Monotonic);
        let bare = RequestLog {
            request_id: None,
            ended: Some(Instant::now()),
            ..log(0)
        };
        let logs = [full(), bare];
        let text = write_by(anchor, &logs);
        assert_eq!(parse_by(anchor, &text).unwrap(), logs);
        assert_eq!(text.iter().filter(|byte| **byte == b'\n').count(), 2);
        let [read, _] = &parse_requests(&write(&logs)).unwrap()[..] else {
            panic!("two lines are two requests");
        };
        let off = |at: Instant, other: Instant| at.max(other) - at.min(other);
        // Far more than two anchors differ.
        assert!(off(read.received, logs[0].received) < Duration::from_micros(100));
    }

    #[test]
    fn requests_under_way_are_left_out() {
        assert_eq!(write(&[log(0)]), b"");
        assert_eq!(parse_requests(b"").unwrap(), []);
    }

    #[test]
    fn instants_are_nanoseconds_and_names_are_short() {
        let anchor = Anchor::take(ClockId::Monotonic);
        let log = full();
        let line = String::from_utf8(write_by(anchor, std::slice::from_ref(&log))).unwrap();
        let rx = anchor.nanos(log.received);
        let at = |micros: u64| rx + micros * 1000;
        let expected = format!(
            r#"{{"n":7,"id":"run \"7\"","model":"m","rx":{rx},"krx":{rx},"tok":[[{},{},1,1],[{},{},2,0]],"last":[{},{}],"end":{},"fault":"5xx"}}"#,
            at(10),
            at(14),
            at(30),
            at(34),
            at(50),
            at(54),
            at(90),
        );
        assert_eq!(line, expected + "\n");
    }

    #[test]
    fn mistakes_are_named_with_their_line() {
        for (text, message) in [
            (
                "\n{\"n\":1}",
                "line 2 of the request log is not what a simulated runtime writes: missing field `model`",
            ),
            (
                r#"{"n":1,"model":"m","rx":1,"tok":[],"end":1,"fault":"fire"}"#,
                "line 1 of the request log: unknown fault `fire`",
            ),
        ] {
            let error = parse_requests(text.as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with(message), "{error}");
        }
    }
}
