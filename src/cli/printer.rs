//! The one place that writes to standard output.

use std::io::{self, Write};

/// Prints a text and a line end. A closed pipe is no error: `sonde … | head` must end quietly.
///
/// # Errors
/// When standard output fails otherwise.
pub(super) fn line(text: impl AsRef<str>) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{}", text.as_ref()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}
