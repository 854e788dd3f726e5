//! A verdict in a terminal or in a pipeline's log: the word, then one line per reason.

use crate::slo::{Reason, Verdict};
use std::fmt::Write as _;

/// Renders a verdict with its reasons, in their order, and notes.
pub fn verdict(verdict: Verdict, reasons: &[Reason], notes: &[String]) -> String {
    let mut out = verdict.as_str().to_owned();
    let widest = Verdict::ALL.map(|one| one.as_str().len());
    let widest = widest.into_iter().max().unwrap_or_default();
    for reason in reasons {
        // Texts of other parts may have lines of their own.
        let text = reason.text.replace('\n', "\n    ");
        // Writing to a string cannot fail.
        let _ = write!(out, "\n  {:<widest$}  {text}", reason.verdict.as_str());
    }
    for note in notes {
        let _ = write!(out, "\nnote: {note}");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_has_a_line_per_reason() {
        let reasons = [
            Reason::new(Verdict::NotReady, "nobody answers\nhint: start it"),
            Reason::new(Verdict::Ready, "all is well"),
        ];
        let text = verdict(
            Verdict::NotReady,
            &reasons,
            &["by another clock".to_owned()],
        );
        assert_eq!(
            text,
            "NOT READY\n  NOT READY  nobody answers\n    hint: start it\n  READY      all is well\nnote: by another clock"
        );
    }
}
